//! Tells you when any process exits, and how. Also gives you a handle on a process that stays
//! correct when the pid is reused.
//!
//! ```
//! use std::process::Command;
//! use std::sync::mpsc;
//! use pidfd_watcher::{Cancelled, Process, Signal, Watcher};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let watcher = Watcher::new()?; // one thread, for any number of processes
//! let mut child = Command::new("sleep").arg("60").spawn()?;
//! let process = Process::from_child(&mut child)?;
//!
//! let (tell, told) = mpsc::channel();
//! watcher.watch(&process, move |exit| {
//!     let _ = tell.send(exit);
//! })?;
//! let handle = watcher.watch(&process, |_| unreachable!("taken back below"))?;
//! assert_eq!(handle.cancel(), Cancelled::Prevented);
//!
//! process.send_signal(Signal::TERM)?; // this process, or an error: never a stranger
//! let exit = told.recv()?;
//! println!("{} ended: {:?}", exit.pid, exit.status);
//! # use std::os::unix::process::ExitStatusExt;
//! # assert_eq!(exit.status.and_then(|status| status.signal()), Some(15));
//! process.reap()?; // the watcher reaps nothing unless it is asked to
//! # Ok(())
//! # }
//! ```
//!
//! # The tour
//!
//! - [`Process`]: one pidfd, shared by its clones. Use it to signal the process or the group that
//!   it leads, to wait for it, and to reap it.
//! - [`ChildProcess`]: owns a child of std's, and reaps it when it is dropped.
//! - [`Watcher`]: callbacks ([`watch`](Watcher::watch)), futures for any executor
//!   ([`exited`](Watcher::exited)), and taking charge of a child
//!   ([`watch_and_reap`](Watcher::watch_and_reap)). [`shutdown`](Watcher::shutdown) ends its thread
//!   and waits for that. It also has timers ([`sleep`](Watcher::sleep)). Instead of its thread, a
//!   [`Driver`] in the caller's own loop can do the work ([`build_driven`](Builder::build_driven)).
//! - [`WatchHandle::cancel`]: when it returns, the callback has run or never will.
//! - [`Exit`]: which process ended, and how, if that can be known.
//!
//! # Guarantees
//!
//! - **Never a stranger.** Signals and waits use the pidfd, and callbacks use tokens that are never
//!   reused. If the process is gone, they report that, whichever process has its pid now.
//! - **Told once.** Every callback runs exactly once, or is dropped unrun and you are told so: by
//!   [`cancel`](WatchHandle::cancel), by [`shutdown`](Watcher::shutdown), or by dropping the last
//!   [`Watcher`].
//! - **No invented status.** [`Exit::status`] is what the kernel reported, or `None`. A child that
//!   somebody else reaped (`ECHILD`) is not "exit 0". See [where the status comes
//!   from](Process#where-the-status-comes-from).
//! - **Nothing is reaped unless asked.** Waiting and watching leave the zombie to its owner.
//! - **Children and others.** Waiting and watching work for any process that can be opened.
//! - **No lock during a callback.** So a callback may make every call of the crate. A panic in a
//!   callback ends there.
//! - **No spin, no signal handler.** A watcher at rest is never woken. A zombie that a debugger
//!   holds costs no CPU time, and is reported at once.
//! - **No panic** on anything that the kernel answers: every failure is an [`Error`] with the
//!   errno.
//!
//! # What it does not do
//!
//! It does not start programs, and does not kill on drop. It handles one process, not the tree
//! below it. [`Process::open`] takes a pid. A pid can be reused between reading it and opening it.
//!
//! # Kernels
//!
//! | Linux | what |
//! |---|---|
//! | 5.10 | everything except what follows |
//! | 5.17 | exit codes are known before the reap; on older kernels only the reap tells them |
//! | 6.9 | the handle of a reaped leader names its [group](Process::send_signal_to_group) |
//! | 6.13 | [`Process::from_pidfd`] works without `/proc` |
//! | 6.15 | the status of processes that somebody else reaped |
//!
//! What a newer kernel offers is found out by trying, and not by its version. The one exception is
//! 5.17: no call tells whether waiting for a zombie without reaping it shows [the status of the
//! process](Process#where-the-status-comes-from).
//!
//! # Features
//!
//! - `serde`, off by default: [`Exit`] can be written. Its JSON is one of
//!   `{"pid":4711,"status":{"code":3}}`,
//!   `{"pid":4711,"status":{"signal":9,"core_dumped":false}}` and
//!   `{"pid":4711,"status":null}`, for a status that the kernel does not tell.

#![doc(test(attr(deny(warnings))))]

#[cfg(not(target_os = "linux"))]
compile_error!("pidfd-watcher is for Linux: no other system has pidfds");

mod background;
mod cached_status;
mod change;
#[allow(unsafe_code)]
mod child;
mod child_process;
mod contain;
mod driver;
mod error;
mod exit;
mod fork;
mod future;
mod group;
mod handle;
mod identify;
mod inode;
mod kernel;
mod poll;
mod poller;
mod proc_fs;
mod proc_stat;
mod process;
mod reap;
mod registry;
#[cfg(feature = "serde")]
mod serialize;
mod shared;
mod shutdown;
mod sleep;
mod status;
#[allow(unsafe_code)]
mod sys;
mod thread;
mod timers;
mod turn;
mod usage;
mod waiting;
mod watcher;

pub use change::Change;
pub use child_process::{ChildError, ChildProcess};
pub use contain::CallbackPanic;
pub use driver::Driver;
pub use error::Error;
pub use exit::Exit;
pub use future::ExitFuture;
pub use handle::WatchHandle;
pub use proc_stat::proc_stat_field;
pub use process::Process;
pub use reap::ReapError;
pub use registry::Cancelled;
pub use rustix::process::{Pid, Signal};
pub use shutdown::ShutdownError;
pub use sleep::{Sleep, TimedExitFuture};
pub use usage::Usage;
pub use watcher::{Builder, Watcher};
