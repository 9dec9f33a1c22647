//! A child learns at once, from the kernel, that its parent died or let go of it. It then shuts
//! itself down.
//!
//! The parent holds the write end of a pipe, the child the read end. The kernel closes the write
//! end whatever kills the parent, SIGKILL included. No code of the parent has to run for that. But
//! the kernel closes it late: only after it has torn down the memory of the dying process. So the
//! parent also has a *sentinel*: a parked thread that owns one robust futex for each child. At the
//! very start of an exit, the kernel marks these futexes and wakes the children that sleep on them.
//!
//! ```rust,standalone_crate
//! use std::os::fd::AsFd;
//! use std::process::{Command, ExitStatus};
//! use watchdog_pipe::{StopPolicy, Verdict, Watchdog};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // The child. This comes first in main. A program that nobody supervises gets `None` here, even
//! // if its parent is supervised.
//! // SAFETY: no inherited descriptor was adopted before, and no other thread runs.
//! if let Some(watchdog) = unsafe { Watchdog::from_env() }? {
//!     let _monitor = watchdog.enforce_inherited()?;
//!     loop {
//!         std::thread::park(); // the real work
//!     }
//! }
//!
//! // The parent. This example passes on only the read end, as standard input, so that it needs no
//! // other crate. The child then follows the pipe alone. Pass on all of `fds()`, and the child
//! // follows the sentinel too.
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
//! drop(keepalive); // the child ends now; it would also end if this process died
//! let status: ExitStatus = child.wait()?;
//! assert!(!status.success()); // it ended by SIGTERM, which it sent to itself
//! # Ok(())
//! # }
//! ```
//!
//! # The tour
//! - Parent: [`channel`] or [`Builder`] makes a [`Keepalive`] and a [`ChildSetup`]. Pass all of the
//!   setup's [`fds`](ChildSetup::fds) and its [`env`](ChildSetup::env) to whatever spawns the
//!   child, then drop the setup. [`Keepalive::release`] lets the child live on.
//!   [`Keepalive::hand_over`] moves the parent's role to another process, or to the next version of
//!   this one. A crash handler can call [`announce_death`] to tell the children before the core
//!   dump.
//! - Child: call [`Watchdog::from_env`] first in `main`. Then call [`enforce`](Watchdog::enforce),
//!   [`enforce_inherited`](Watchdog::enforce_inherited) or [`on_verdict`](Watchdog::on_verdict), or
//!   [`wait`](Watchdog::wait) yourself.
//! - Child of a child: adoption removes the variable from the environment. So if a supervised
//!   program starts another one by a plain `Command`, that one is not supervised: `from_env`
//!   returns `Ok(None)` there. To supervise it, make another channel for it.
//! - Other languages: `docs/protocol.md` specifies what parent and child tell each other. The
//!   folder `examples/protocol` has children in Python, Node, shell and C, and a parent in Python.
//! # Guarantees
//! - The child sees the parent's death whatever caused it, and whether it came before or after the
//!   child reached `main`. This holds across user, mount and PID namespaces. It also holds for a
//!   setuid program, and for a child that was started through other programs.
//! - The child takes nothing else for a death: not a signal, not stray bytes on the pipe, not the
//!   end of the thread that spawned the child, not a stopped parent.
//! - The child can tell "dropped", "released" and "died" apart, however late it looks.
//! - With a sentinel, the child learns of the death before the parent's memory is torn down. This
//!   takes about a tenth of a millisecond, however large that memory is and whoever else holds the
//!   write end. [`Guarantees`] says whether this holds.
//! - Detection falls back to the pipe in three cases: the sentinel cannot be started; the parent
//!   wrote over the sentinel's memory; a filter that was installed later refuses every call by
//!   which the sentinel could sleep.
//! - The child gets no handle on the parent. It gets the read end of a pipe, and a sealed page that
//!   it can only read.
//! - The parent never gets SIGPIPE from this crate and never blocks on a child.
//!
//! # Limits
//! - The kernel writes a core dump before anything else. When a parent of 1 GiB aborted, its child
//!   learned of it after 2 s. A crash handler that calls [`announce_death`] tells the children
//!   before the dump. These make the dump short: `RLIMIT_CORE` of 0, `MADV_DONTDUMP` on large
//!   memory, `PR_SET_DUMPABLE`.
//! - A child that last ran on the CPU on which its parent dies may wait for that CPU, up to 4 ms.
//!   The watchdog's threads inherit the scheduling policy and the CPU set of the thread that starts
//!   them. A real-time policy, or a CPU set without the parent's CPU, reduces the delay to a fifth
//!   of a millisecond. Under a seccomp filter the child does not ask for short time slices, so it
//!   has to wait more often.
//! - Without a sentinel, two things delay the child. The kernel closes the pipe only after it tore
//!   down the dying parent's memory: about 65 ms for each GiB of touched 4 KiB pages. And a process
//!   that was forked from the parent and never exec'd holds the write end too: the child learns of
//!   the death only when that process is gone as well.
//! - A sentinel is a thread. The kernel refuses `setns` and `unshare` of a user namespace to a
//!   process that has one. If `main` ends by `pthread_exit`, the process lives on.
//!   [`Builder::sentinel`] switches the sentinel off. After `unshare(CLONE_NEWPID)` none can be
//!   started any more.
//! - The sentinel keeps one descriptor, its page, open for the life of the process, and another for
//!   each 2,000 links that exist at once. Close inherited descriptors before you create the first
//!   channel.
//! - All children of a parent share the page. A child can see there how many links its parent has
//!   made. A hostile child can sleep on a sibling's word before the sibling does, or move the
//!   sibling's sleeping thread to another futex (`FUTEX_REQUEUE`). The sibling then learns of the
//!   death from the pipe alone.
//! - A process that daemonizes must do so before it makes the channel. Otherwise the process that
//!   made the channel exits, and that is a death.
//! - Adoption sets `O_NONBLOCK` on the pipe's open file description. Another process that holds the
//!   same read end, such as a shell between the parent and the child, shares that flag. Use one
//!   channel for each child in any case: two processes that read one pipe would take each other's
//!   words.
//! - A child stopped by SIGSTOP is frozen together with its watchdog.
//! - The watchdog protects the process that adopted it. It does not protect what that process
//!   forks. It ends when that process calls `execve`, which ends the thread and closes the pipe.
//!
//! # System calls after adoption
//! A program may install a seccomp filter after [`Watchdog::from_env`], before it starts its
//! protection or afterwards. Adoption opens the descriptors and reads the process's own number.
//! [`Watchdog::enforce`] returns when its threads have started. From then on a filter has to allow
//! only the first row of this table, unless one of the cases in the other rows occurs.
//!
//! | when | system calls, x86-64 | on aarch64 |
//! |---|---|---|
//! | the protection waits, and stops the process | `poll`, `read`, `futex`, `kill` | `ppoll` for `poll` |
//! | SIGKILL did not end it: pid 1, or `kill` is refused | `exit_group` | same |
//! | `futex` is refused with an error | `clock_nanosleep` | same |
//! | the vDSO does not provide the clock | `clock_gettime` | same |
//! | the process is stopped and goes on (SIGSTOP, a debugger) | `restart_syscall`, which the kernel substitutes for `poll` and `futex` | same, for `futex` |
//! | the protection starts: `enforce`, `on_verdict`, the first `wait` under a sentinel | what the C library uses to start a thread and to allocate: `clone3`, or `clone` where that is refused with `ENOSYS`, `mmap`, `mprotect`, `munmap`, `brk`, `rseq`, `set_robust_list`, `rt_sigaction`, `rt_sigprocmask` | same |
//! | it ends without the process: released, cancelled | `write`, `rt_sigprocmask`, `madvise`, `mmap`, `mprotect`, `munmap`, `close`, `exit` | same |
//! | [`AsFd`](std::os::fd::AsFd) was asked for, or `wait` under a sentinel | `write` | same |
//! | pid 1 that had no /proc at adoption | `rt_sigaction`, `rt_sigpending` | same |
//! | a copy made by fork starts a protection | `getpid`, `eventfd2`, and `openat` of /proc | same |
//!
//! The threads also ask for a name and for short time slices (`prctl`, `sched_getattr`,
//! `sched_setattr`), but only where that can do no harm. They ask for the name only if no filter
//! was added to the adopting thread since adoption, and for the slices only if there is no filter
//! at all. They learn this by a `read` of a /proc file that was opened at adoption. In a build with
//! debug assertions, Rust's standard library calls `fcntl` before each `close`. The list is for the
//! GNU C library.
//!
//! If a filter refuses a call with an error, and not with a signal, the child is still supervised,
//! but may react later. Without `poll` it looks at the pipe every 50 ms. Without `kill` the process
//! ends by `exit_group` after the grace period. Without `read` it is stopped at once, because it
//! could no longer learn of its parent's end. No grace period is cut short as long as `futex` or
//! `clock_nanosleep` works.
//!
//! # Kernel versions
//! Linux 5.10 or newer; nothing here depends on a newer one (the sentinel needs
//! `F_SEAL_FUTURE_WRITE`, of 5.1). Where there is `RWF_NOSIGNAL` (6.18), a word is said without
//! touching the signal mask.
//!
//! # Features
//! Both are off by default. A feature that is off adds no dependency and no code.
//!
//! ## `tracing`
//! Events for a subscriber of the `tracing` crate. Their target is `watchdog_pipe`.
//!
//! | where | level | message | fields |
//! |---|---|---|---|
//! | [`channel`], [`Builder::channel`] | debug | `link made` | `fd`: the write end; `sentinel` |
//! | drop of a [`Keepalive`], if the child could be told | debug | `link dropped` | `fd` |
//! | [`Keepalive::release`] | debug | `link released` | `fd` |
//! | [`Keepalive::hand_over`] | debug | `link handed over` | `fd` |
//! | `release` or `hand_over` fails | warn | `link not let go` | `error` |
//! | [`Watchdog::from_env`], [`Watchdog::from_fd`] | debug | `adopted` | `fd`: the read end; `sentinel` |
//! | one of these two fails | warn | `not adopted` | `error` |
//! | the call of `wait`, `wait_timeout` or `try_wait` that learns the verdict; before a callback of [`Watchdog::on_verdict`] | info | `verdict` | `verdict` |
//!
//! - **[`Watchdog::enforce`] has no event for the verdict.** Nothing may come between the death of
//!   the parent and the stop of this process. A subscriber that blocks, on a full pipe of logs for
//!   example, would keep the process alive.
//! - [`Watchdog::on_verdict`] does call the subscriber before the callback, in a thread that blocks
//!   all signals. If the subscriber blocks, the callback does not run.
//! - `from_env` comes first in `main`. A program that wants the event of the adoption installs its
//!   subscriber before it. That is sound if the subscriber starts no thread and takes no inherited
//!   descriptor.
//! - A panic of the subscriber ends inside this crate and changes nothing. A copy made by fork
//!   reports no drop. [`announce_death`] reports nothing.
//! - Without a subscriber an event makes no system call. With one, it makes the calls of the
//!   subscriber: see [the list for filters](crate#system-calls-after-adoption).
//!
//! ## `serde`
//! | type | JSON | |
//! |---|---|---|
//! | [`StopPolicy`] | `{"signal":15,"grace_ms":5000}` | written and read |
//! | [`Verdict`] | `"parent-exited"`, `"keepalive-dropped"`, `"released"` | written and read |
//!
//! A number that is no signal is refused, as is one that the C library keeps for itself. A grace
//! period is rounded up to whole milliseconds, as in the environment variable.

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
