//! The child process gets exactly the file descriptors it should have, on the numbers it expects,
//! and no others.
//!
//! ```
//! use std::io::{self, Read};
//! use std::process::Command;
//! use fd_preserve::PreserveFds;
//!
//! let (mut reader, writer) = io::pipe()?;
//! let mut command = Command::new("sh");
//! command.args(["-c", "echo ready >&3"]);
//!
//! let mut fds = PreserveFds::new();
//! fds.map_fd(writer, 3)?; // the child finds it on 3
//! fds.apply(&mut command)?; // and nothing else above 2
//!
//! assert!(command.status()?.success());
//! drop(command); // closes our copy of the writer
//! let mut said = String::new();
//! reader.read_to_string(&mut said)?;
//! assert_eq!(said, "ready\n");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Tour
//!
//! - [`PreserveFds`] describes what a child gets ([`preserve_fd`](PreserveFds::preserve_fd),
//!   [`map_fd`](PreserveFds::map_fd), [`next_fd`](PreserveFds::next_fd)).
//!   [`apply`](PreserveFds::apply) sets up a [`std::process::Command`] for it. The returned
//!   [`Applied`] explains why a child did not get its descriptors.
//! - [`CommandFdExt`] does the same in one call on the command.
//! - [`inherited_fd`] claims a descriptor in the child.
//! - [`FdPlan`] is the pure part: the steps that turn (source, number) pairs into a descriptor
//!   table.
//! - [`PreserveFds::prepare`] and [`ChildFds::install`] are the two halves, for other spawners.
//!
//! # Guarantees
//!
//! - The child has the planned descriptors and its standard streams, and no others. This holds
//!   whatever other threads open meanwhile, and for descriptors opened without `O_CLOEXEC`
//!   ([`OtherFds::CloseOnExec`]).
//! - Any plan works: swaps, cycles, one source on many numbers, targets 0 to 2.
//! - A failed exec is reported as such. The error socket of `Command` is neither closed nor
//!   overwritten: targets are reserved in the parent, and checked again in the child.
//! - The parent's descriptors and their flags are the same before and after a spawn.
//! - Between fork and exec nothing allocates, locks or panics. The plan can run any number of
//!   times.
//! - Whatever can be refused before the fork is refused there, by an [`Error`] that names the
//!   number.
//!
//! # Not promised
//!
//! - `Command` controls 0, 1 and 2, unless they are targets. They are never marked close-on-exec.
//!   An inherited one arrives even if this process has marked it. If a standard descriptor is
//!   closed *after* the plan was applied, any new descriptor can get its number, for example one of
//!   `Command`'s pipes.
//! - `CommandExt::exec`, which replaces this process, is refused: [`ChildFdsError::NotForked`].
//! - The spawner controls the signal mask, the environment and the ids. `Command` sets SIGPIPE to
//!   its default and leaves the mask as it is.
//! - A closure given to `pre_exec` after the plan can open whatever it likes.
//! - A plan is itself such a closure. With a closure, `Command` forks, and calls execvp(3). If the
//!   kernel does not know how to execute a file (`ENOEXEC`), the GNU C library's execvp runs it
//!   with `/bin/sh`, even a damaged program. Without a closure, `Command` reports that error.
//! - If another thread has a socket of type `SOCK_SEQPACKET` on a target at the wrong moment, it
//!   looks like the error socket. The spawn then fails with [`ChildFdsError::TargetCollision`], and
//!   can be repeated.
//!
//! # Kernels
//!
//! Linux 5.10 and later. `close_range(2)` with `CLOSE_RANGE_CLOEXEC` is Linux 5.11; where it is
//! missing, or a seccomp filter refuses it, `/proc/self/fd` is read. Without /proc, select(2) tells
//! how large the child's table of descriptors is, whatever the limits say now, and every number in
//! it is marked: up to 65,536 of them. Beyond that the spawn fails with
//! [`ChildFdsError::NoCloseMethod`].
//!
//! # Features
//!
//! - `tokio`: [`CommandFdExt`] for `tokio::process::Command`. [`PreserveFds::apply`] needs no
//!   feature: give it `command.as_std_mut()`.

#[cfg(not(target_os = "linux"))]
compile_error!("fd-preserve supports Linux only: it relies on close_range(2) and /proc/self/fd");

mod applied;
mod builder;
#[allow(unsafe_code)]
mod child;
mod command;
mod error;
mod error_page;
mod inherit;
mod numbers;
mod other_fds;
mod plan;
mod registry;
#[allow(unsafe_code)]
mod sys;

pub use applied::Applied;
pub use builder::{ErrorChannel, PreserveFds};
pub use child::ChildFds;
pub use command::{CommandFdExt, FdMapping};
pub use error::{ChildFdsError, Error};
pub use inherit::{InheritError, inherited_fd};
pub use other_fds::OtherFds;
pub use plan::{FdPlan, Origin, Step};
