//! What only the kernel's version can tell.
//!
//! Before Linux 5.17, if a zombie is inspected without being reaped, the kernel shows how its first
//! thread ended, and not how the process did. This is true for waitid(2) with `WNOWAIT` (fixed by
//! commit 907c311f37ba) and for field 52 of /proc/PID/stat (fixed by 2d18f7f45620). The two differ
//! if the first thread ended before the others. On such a kernel only the reap returns the status
//! of the process.

use std::sync::atomic::{AtomicU8, Ordering};

use crate::sys;

/// Returns the status that an inspected zombie showed, if that is certain to be the status of the
/// process.
pub(crate) fn certain(shown: i32) -> Option<i32> {
    (shows_the_process() || is_of_every_thread(shown)).then_some(shown)
}

fn shows_the_process() -> bool {
    const UNKNOWN: u8 = 0;
    const FIRST_THREAD: u8 = 1;
    const PROCESS: u8 = 2;
    static SHOWN: AtomicU8 = AtomicU8::new(UNKNOWN);
    // Relaxed: this word is the only shared data, and every thread that asks the kernel stores the
    // same value.
    let mut shown = SHOWN.load(Ordering::Relaxed);
    if shown == UNKNOWN {
        // If the release cannot be read, or is made to look old (personality(2), UNAME26), the
        // kernel counts as old.
        let mended = sys::release().is_some_and(|release| version(&release) >= Some((5, 17)));
        shown = if mended { PROCESS } else { FIRST_THREAD };
        SHOWN.store(shown, Ordering::Relaxed);
    }
    shown == PROCESS
}

/// The first two numbers of "5.10.0-28-amd64".
fn version(release: &[u8]) -> Option<(u32, u32)> {
    let mut numbers = std::str::from_utf8(release).ok()?.split(['.', '-', '+']);
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// Whether a thread can only end like this together with its process.
///
/// A signal ends all threads, and each of them ends with the signal's number. But three things are
/// a thread's own: the code that it gave to `exit`; `SIGSYS` from a filter that ends a single
/// thread; and whether there was a core dump, which the other threads do not record. The signals
/// that stop are no end.
fn is_of_every_thread(shown: i32) -> bool {
    const DUMPED: i32 = 0x80;
    let own = [
        libc::SIGQUIT,
        libc::SIGILL,
        libc::SIGTRAP,
        libc::SIGABRT,
        libc::SIGBUS,
        libc::SIGFPE,
        libc::SIGSEGV,
        libc::SIGXCPU,
        libc::SIGXFSZ,
        libc::SIGSYS,
        libc::SIGSTOP,
        libc::SIGTSTP,
        libc::SIGTTIN,
        libc::SIGTTOU,
    ];
    let signal = shown & 0x7f;
    signal != 0 && (shown & DUMPED != 0 || !own.contains(&signal))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_is_the_first_two_numbers_of_a_release() {
        for (release, numbers) in [
            ("5.10.0-28-amd64", Some((5, 10))),
            ("6.1.0", Some((6, 1))),
            ("7.2-rc1", Some((7, 2))),
            ("6.6+", Some((6, 6))),
            ("2.6.78", Some((2, 6))),
            ("", None),
            ("6", None),
            ("six.one", None),
        ] {
            assert_eq!(version(release.as_bytes()), numbers, "{release:?}");
        }
        assert!(Some((5, 16)) < Some((5, 17)) && None < Some((5, 17)));
        assert!(Some((6, 0)) >= Some((5, 17)) && Some((5, 9)) < Some((5, 17)));
    }

    #[test]
    fn exit_codes_may_be_a_threads_own_and_plain_signals_may_not() {
        for shown in [
            0,
            7 << 8,
            255 << 8,
            libc::SIGSEGV,
            libc::SIGSYS,
            libc::SIGSTOP,
        ] {
            assert!(!is_of_every_thread(shown), "{shown:#x}");
        }
        for shown in [libc::SIGKILL, libc::SIGTERM, 34, 64, libc::SIGSEGV | 0x80] {
            assert!(is_of_every_thread(shown), "{shown:#x}");
        }
    }
}
