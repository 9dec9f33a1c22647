//! A handle on a process that the reuse of its number cannot fool, and how that process ended.
//!
//! ```
//! use std::process::Command;
//! use std::time::Duration;
//! use pidfd_watcher::{Process, Signal};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut child = Command::new("sleep").arg("60").spawn()?;
//! let process = Process::from_child(&mut child)?;
//!
//! process.send_signal(Signal::TERM)?;
//! match process.wait_timeout(Duration::from_secs(5))? {
//!     Some(exit) => println!("{} ended: {:?}", exit.pid, exit.status),
//!     None => process.send_signal(Signal::KILL)?,
//! }
//! process.wait()?;
//! let exit = process.reap()?;
//! # use std::os::unix::process::ExitStatusExt;
//! # assert_eq!(exit.status.and_then(|status| status.signal()), Some(15));
//! # Ok(())
//! # }
//! ```
//!
//! # What a [`Process`] gives
//!
//! - **Never a stranger.** Signals and waits go by pidfd. When the process is gone they say so,
//!   whoever has its number now.
//! - **No invented status.** [`Exit::status`] is what the kernel said, or `None`. A child reaped by
//!   someone else (`ECHILD`) is not "exit 0".
//! - **Nothing is reaped unless asked.** Waiting leaves the zombie to its owner; [`Process::reap`]
//!   is the only call that takes it.
//! - **Children and others.** Waiting works for any process that can be opened. See
//!   [where the status comes from](Process#where-the-status-comes-from).
//! - **No spin, no thread, no signal handler.** A wait is one `poll` on one descriptor, which every
//!   clone shares.
//! - **No panic** on anything that the kernel answers: every failure is an [`Error`] with the errno.
//!
//! # What it does not
//!
//! It does not spawn, it does not kill on drop, and it knows one process, not the tree below it.
//! Opening by number ([`Process::open`]) is as good as the number.
//!
//! # Kernels
//!
//! | Linux | what |
//! |---|---|
//! | 5.4 | everything: `pidfd_open`, `waitid(P_PIDFD)` |
//! | 6.13 | [`Process::from_pidfd`] works without `/proc` |
//! | 6.15 | the status of processes that somebody else reaped |
//!
//! What a newer kernel has is found out by asking it, never by its version.
//!
//! # Features
//!
//! None.

#![doc(test(attr(deny(warnings))))]

#[cfg(not(target_os = "linux"))]
compile_error!("pidfd-watcher is for Linux: no other system has pidfds");

mod error;
mod exit;
mod identify;
mod known;
mod poll;
mod proc_fs;
mod process;
mod status;
#[allow(unsafe_code)]
mod sys;

pub use error::{Error, ReapError};
pub use exit::Exit;
pub use process::Process;
pub use rustix::process::{Pid, Signal};
