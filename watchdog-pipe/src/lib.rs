//! A child learns at once, from the kernel, that its parent died or let go of it, and shuts itself
//! down.
//!
//! The parent holds the write end of a pipe, the child the read end. The kernel closes the write
//! end whatever kills the parent, SIGKILL included, and no code of the parent needs to run for it.
//! That close comes late, though: after the kernel has taken down the memory of the dying process.
//! So the parent has a *sentinel* besides: a parked thread that owns a robust futex for each child.
//! The kernel marks those at the very start of an exit, and wakes the children that sleep on them.
//!
//! ```rust,standalone_crate
//! use std::os::fd::AsFd;
//! use std::process::{Command, ExitStatus};
//! use watchdog_pipe::{StopPolicy, Verdict, Watchdog};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // The child: first thing in main, and no error in a program that nobody supervises, whoever
//! // started it.
//! // SAFETY: no inherited descriptor was adopted before, and no other thread runs.
//! if let Some(watchdog) = unsafe { Watchdog::from_env() }? {
//!     let _monitor = watchdog.enforce_inherited()?;
//!     loop {
//!         std::thread::park(); // the real work
//!     }
//! }
//!
//! // The parent. The read end alone travels, as standard input, which needs no other crate: the
//! // child follows the pipe. With all of `fds()` passed on, it hears the sentinel too.
//! let (keepalive, mut setup) =
//!     watchdog_pipe::Builder::new().stop_policy(StopPolicy::new()).channel()?;
//! setup.renumber(0);
//! let (name, value) = setup.env();
//! let (read_end, _) = setup.fds().next().ok_or("one descriptor")?;
//! let mut child = Command::new(std::env::current_exe()?)
//!     .env(name, value)
//!     .stdin(read_end.try_clone_to_owned()?)
//!     .spawn()?;
//! drop(setup);
//!
//! drop(keepalive); // or die: the child is gone either way
//! let status: ExitStatus = child.wait()?;
//! assert!(!status.success()); // by SIGTERM, which it sent to itself
//! # Ok(())
//! # }
//! ```
//!
//! # The tour
//! - Parent: [`channel`] or [`Builder`] gives a [`Keepalive`] and a [`ChildSetup`]. Hand the
//!   setup's [`fds`](ChildSetup::fds), all of them, and [`env`](ChildSetup::env) to whatever spawns
//!   the child, then drop it. [`Keepalive::release`] lets the child live on;
//!   [`Keepalive::hand_over`] moves the parent's role to another process, or to this one's next
//!   version. [`announce_death`] in a crash handler tells of the death before the core dump.
//! - Child: [`Watchdog::from_env`] first in `main`, then [`enforce`](Watchdog::enforce),
//!   [`enforce_inherited`](Watchdog::enforce_inherited), [`on_verdict`](Watchdog::on_verdict), or a
//!   [`wait`](Watchdog::wait) of your own.
//! - Child of a child: adoption takes the variable out of the environment. A supervised program
//!   that starts another one by a plain `Command` leaves it unsupervised: `from_env` answers
//!   `Ok(None)` there. To supervise it, make a channel of your own for it.
//! - Other languages: what parent and child tell each other is specified in `docs/protocol.md`. The
//!   folder `examples/protocol` has children in Python, Node, shell and C, and a parent in Python.
//!
//! # Guarantees
//! - The death of the parent is seen whatever killed it, before or after the child reached `main`,
//!   across user, mount and PID namespaces, and by a child that is a setuid program or was started
//!   through others.
//! - Nothing else is taken for it: not a signal, not stray bytes on the pipe, not the end of the
//!   thread that spawned the child, not a parent that is stopped.
//! - "Dropped", "released" and "died" are told apart, however late the child looks.
//! - With a sentinel, the death is told before the parent's memory is taken down, in about a tenth
//!   of a millisecond whatever its size, and whoever else holds the write end. [`Guarantees`] says
//!   whether that holds.
//! - If the sentinel cannot be started, or the parent wrote over its memory, or a filter that came
//!   later lets it sleep in no way, detection falls back to the pipe.
//! - What the child gets is no handle on the parent: the read end of a pipe, and a sealed page that
//!   it can only read.
//! - The parent never gets SIGPIPE from this crate and never blocks on a child.
//!
//! # Limits
//! - A core dump comes before everything: a parent of 1 GiB that aborts was told of after 2 s. A
//!   crash handler that calls [`announce_death`] tells before the dump. `RLIMIT_CORE` of 0,
//!   `MADV_DONTDUMP` on what is large, or `PR_SET_DUMPABLE` makes the dump short.
//! - A child that last ran on the CPU on which its parent dies may wait for it there, up to 4 ms.
//!   The watchdog's threads inherit the policy and the CPU set of the thread that starts them: a
//!   real-time policy, or a set without the parent's CPU, leaves a fifth of a millisecond. Under a
//!   seccomp filter the child asks for no short time slice, and waits so more often.
//! - Without a sentinel, the kernel closes the pipe after it tore down the dying parent's memory:
//!   about 65 ms for each GiB of touched 4 KiB pages; and a process that was forked from the parent
//!   and never exec'd holds the write end too: the child is told when that process is gone as well.
//! - A sentinel is a thread: the kernel refuses a process that has one `setns` and `unshare` of a
//!   user namespace, and one whose `main` ends by `pthread_exit` lives on. [`Builder::sentinel`]
//!   switches it off. After `unshare(CLONE_NEWPID)` none can be started any more.
//! - The sentinel keeps one descriptor open, its page, for the life of the process (another for
//!   each 2,000 links that exist at once). Who closes every descriptor does it before the first
//!   link.
//! - All children of a parent share the page. What one sees of the others is how many links there
//!   were; a hostile one can sleep on another's word before it does, or move its sleeper elsewhere
//!   (`FUTEX_REQUEUE`), and so leave that one to the pipe.
//! - Make the channel after daemonizing: the daemon's parent dies, and that is a death.
//! - Adoption sets `O_NONBLOCK` on the pipe's open file description. A process that was given the
//!   same read end, such as a shell between the parent and the child, shares that flag. Two
//!   processes that read one pipe would take each other's words in any case: one child a channel.
//! - A child stopped by SIGSTOP is frozen with its watchdog.
//! - It is the process that adopted which is watched: not what it forks, and no more once it calls
//!   `execve`, which ends the thread and closes the pipe.
//!
//! # System calls after adoption
//! A program may install a seccomp filter after [`Watchdog::from_env`], before it starts its
//! protection or afterwards. Descriptors are opened and the process's own number is read at
//! adoption. [`Watchdog::enforce`] returns when its threads have started. From then on a filter
//! needs to allow the first row alone, if nothing of what the others name happens.
//!
//! | when | system calls, x86-64 | on aarch64 |
//! |---|---|---|
//! | the protection waits, and stops the process | `poll`, `read`, `futex`, `kill` | `ppoll` for `poll` |
//! | SIGKILL did not end it: pid 1, or `kill` is refused | `exit_group` | same |
//! | `futex` is refused with an error | `clock_nanosleep` | same |
//! | the clock is not in the vDSO | `clock_gettime` | same |
//! | the process is stopped and goes on (SIGSTOP, a debugger) | `restart_syscall`, which the kernel puts in for `poll` and `futex` | same, for `futex` |
//! | the protection starts: `enforce`, `on_verdict`, the first `wait` under a sentinel | what the C library starts a thread and gives memory with: `clone3`, or `clone` where that is refused with `ENOSYS`, `mmap`, `mprotect`, `munmap`, `brk`, `rseq`, `set_robust_list`, `rt_sigaction`, `rt_sigprocmask` | same |
//! | it ends without the process: released, cancelled | `write`, `rt_sigprocmask`, `madvise`, `mmap`, `mprotect`, `munmap`, `close`, `exit` | same |
//! | [`AsFd`](std::os::fd::AsFd) was asked for, or `wait` under a sentinel | `write` | same |
//! | pid 1 that had no /proc at adoption | `rt_sigaction`, `rt_sigpending` | same |
//! | a copy made by fork starts a protection | `getpid`, `eventfd2`, and `openat` of /proc | same |
//!
//! A name and short time slices for the threads are asked for (`prctl`, `sched_getattr`,
//! `sched_setattr`) where they can do no harm: the name if no filter was added to the adopting
//! thread since adoption, the slices if there is no filter at all. A `read` of a /proc file that
//! was opened at adoption tells. Rust's standard library asks `fcntl` before each `close` in a
//! build with debug assertions. The list is that of the GNU C library.
//!
//! What is refused with an error, and not by a signal, costs promptness at most. Without `poll` the
//! pipe is looked at every 50 ms; without `kill` the process ends by `exit_group` after the grace;
//! without `read` it is stopped at once, as nobody would know of its parent's end. No grace is cut
//! short as long as one of `futex` and `clock_nanosleep` is there.
//!
//! # Kernel versions
//! Linux 5.4 or newer; nothing here depends on a newer one (the sentinel needs
//! `F_SEAL_FUTURE_WRITE`, of 5.1). Where there is `RWF_NOSIGNAL` (6.18), a word is said without
//! touching the signal mask. There are no features.

#[cfg(not(target_os = "linux"))]
compile_error!("watchdog-pipe is for Linux: other kernels tell a child differently, or not at all");

mod adopt;
mod announce;
mod cancel;
mod channel;
mod descriptor;
mod enforce;
mod error;
mod events;
mod guarantees;
mod keepalive;
mod monitor;
mod payload;
mod policy;
mod poll;
mod readiness;
mod reserve;
mod sentinel;
#[cfg(feature = "serde")]
mod serialize;
mod setup;
mod status;
mod stop;
#[allow(unsafe_code)]
mod sys;
mod thread;
mod variable;
mod verdict;
mod watchdog;
mod word;
mod write_ends;

pub use announce::announce_death;
pub use channel::{Builder, channel};
pub use error::AdoptError;
pub use guarantees::Guarantees;
pub use keepalive::{Keepalive, ReleaseError};
pub use monitor::Monitor;
pub use policy::StopPolicy;
pub use rustix::process::Signal;
pub use setup::{ChildSetup, PAGE_FD, PIPE_FD};
pub use variable::ENV_VAR;
pub use verdict::Verdict;
pub use watchdog::Watchdog;
