//! Last words: a parent tells its children that it is dying, before the kernel writes its core
//! dump.

use crate::sentinel;
use crate::sys::{self, KeptErrno};
use crate::write_ends::WriteEnds;

/// Tells every child of this process that it is dying. The children get the verdict
/// [`ParentExited`](crate::Verdict::ParentExited), as they do from the death itself.
///
/// The kernel writes a core dump before any thread of the process exits. That takes seconds for a
/// large process, and no mechanism of the kernel reports the death earlier. A crash handler can:
/// let it call this function first. A program that aborts on panic can call it in a panic hook.
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
/// std gives each of its threads a signal stack (`SA_ONSTACK`), which is large enough. The crate's
/// `examples/crash_handler.rs` is this example as a program.
///
/// # Who learns what
/// - First the sentinel's words are marked, which wakes the children that sleep on them. Then a
///   word is written to each pipe: this tells the children that follow the pipe alone, whoever else
///   holds the write end.
/// - What the parent said earlier still counts. A released child stays released. A child that was
///   handed over belongs to the other process. A child that adopts later finds out that its parent
///   announced its death.
/// - A copy made by fork does not tell its parent's children. It tells the children of its own
///   links. A child that shares this process's memory, by vfork(2), tells nobody.
/// - A child that uses an earlier version of this crate learns it from the sentinel's word. If it
///   follows the pipe alone, it does not know this word on the pipe, and learns of the death when
///   the pipe is closed.
///
/// # If the process lives on
/// It should not. A child that was told cannot be told otherwise: its first verdict is final. For
/// such a child, [`release`](crate::Keepalive::release) and
/// [`hand_over`](crate::Keepalive::hand_over) fail with
/// [`BrokenPipe`](std::io::ErrorKind::BrokenPipe). Links that are made later work as usual.
///
/// # Async-signal-safety
/// The function takes no lock, allocates nothing and cannot panic. It may interrupt any function of
/// this crate. Several threads may call it at once, and it may be called again. It preserves
/// `errno`. The system calls are `getpid`, `futex`, `pwritev2` and `sched_yield`; before Linux
/// 6.18, which has no `RWF_NOSIGNAL`, also `write`, `rt_sigprocmask`, `rt_sigpending` and
/// `rt_sigtimedwait`. If a filter refuses one of them, the function goes on without it. It needs
/// about a kibibyte of stack.
///
/// # References
/// [core(5)](https://man7.org/linux/man-pages/man5/core.5.html),
/// [signal-safety(7)](https://man7.org/linux/man-pages/man7/signal-safety.7.html),
/// [sigaltstack(2)](https://man7.org/linux/man-pages/man2/sigaltstack.2.html)
pub fn announce_death() {
    let _kept = KeptErrno::keep();
    // Every link of this process has a write end, so this finds all of them.
    if let Some(ends) = WriteEnds::of_this_process() {
        sentinel::announce();
        ends.announce();
        // Children that were woken on this CPU run now, instead of at the next tick of a kernel
        // that dumps core.
        sys::give_way();
    }
}
