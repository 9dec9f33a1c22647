//! Last words: a parent tells its children that it dies, before the kernel writes its core dump.

use crate::sentinel;
use crate::sys::{self, KeptErrno};
use crate::write_ends::WriteEnds;

/// Tells every child of this process that it dies, while it can still speak. The children are told
/// [`ParentExited`](crate::Verdict::ParentExited), as by the death itself.
///
/// The kernel writes a core dump before any thread of the process exits, which takes seconds for a
/// large one, and no mechanism of the kernel tells of the death before that. A crash handler that
/// calls this first does. So does a panic hook of a program that aborts on panic.
///
/// ```
/// extern "C" fn on_crash(signal: libc::c_int) {
///     watchdog_pipe::announce_death();
///     // `SA_RESETHAND` has put the default action back: this time the kernel dumps core.
///     // SAFETY: raise(3) is async-signal-safe.
///     unsafe { libc::raise(signal) };
/// }
///
/// // SAFETY: zeros are a valid action, which is filled in; the handler is async-signal-safe.
/// unsafe {
///     let mut action: libc::sigaction = std::mem::zeroed();
///     action.sa_sigaction = on_crash as *const () as libc::sighandler_t;
///     action.sa_flags = libc::SA_RESETHAND | libc::SA_ONSTACK;
///     for signal in [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE, libc::SIGABRT] {
///         libc::sigaction(signal, &raw const action, std::ptr::null_mut());
///     }
/// }
/// ```
///
/// std gives each of its threads a signal stack (`SA_ONSTACK`), which is large enough. The crate
/// has this example as a program, `examples/crash_handler.rs`.
///
/// # What is told, and to whom
/// - The words of the sentinel first, which wakes the children that sleep on them. Then each pipe:
///   a child that follows the pipe alone is told as well, whoever else holds the write end.
/// - What was said before counts. A child that was released stays released, and one that was handed
///   over is the other process's. A child that adopts later finds that it was told.
/// - A copy made by fork tells nothing of its parent's children. It tells those of its own links.
///   Neither does a child that shares this process's memory, by vfork(2).
/// - A child of an earlier version of this crate is told by the sentinel's word; one that follows
///   the pipe alone does not know this word, and is told when the pipe is closed.
///
/// # If the process lives on
/// It should not. A child that was told stays told: the first verdict is the only one. Its
/// [`release`](crate::Keepalive::release) and [`hand_over`](crate::Keepalive::hand_over) fail with
/// [`BrokenPipe`](std::io::ErrorKind::BrokenPipe). Links that are made later are as good as any.
///
/// # Async-signal-safety
/// It takes no lock, allocates nothing and cannot panic. It may interrupt any function of this
/// crate, may be called by several threads at once, and again. It leaves `errno` as it was. The
/// system calls are `getpid`, `futex`, `pwritev2` and `sched_yield`; before Linux 6.18, which has
/// no `RWF_NOSIGNAL`, also `write`, `rt_sigprocmask`, `rt_sigpending` and `rt_sigtimedwait`. A call
/// that a filter refuses is done without. It needs about a kibibyte of stack.
///
/// # References
/// [core(5)](https://man7.org/linux/man-pages/man5/core.5.html),
/// [signal-safety(7)](https://man7.org/linux/man-pages/man7/signal-safety.7.html),
/// [sigaltstack(2)](https://man7.org/linux/man-pages/man2/sigaltstack.2.html)
pub fn announce_death() {
    let _kept = KeptErrno::keep();
    // Every link of this process has a write end.
    if let Some(ends) = WriteEnds::of_this_process() {
        sentinel::announce();
        ends.announce();
        // Who was woken on this CPU runs now, and not at the next tick of a kernel that dumps core.
        sys::give_way();
    }
}
