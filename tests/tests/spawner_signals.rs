//! Signals that a child has blocked and ignored.

use std::fs;

use shim_spawner::{ShimSpawner, Signal};
use workspace_tests::by_every_method;
use workspace_tests::spawn_case::{line_of, output, spawner_of};

/// A set of signals as /proc has it.
fn mask(signals: &[i32]) -> u64 {
    signals.iter().map(|signal| 1 << (signal - 1)).sum()
}

fn set(status: &str, name: &str) -> u64 {
    u64::from_str_radix(&line_of(status, name), 16).expect("a mask")
}

fn status(prepare: impl FnOnce(&mut ShimSpawner)) -> String {
    let mut spawner = spawner_of("/bin/cat");
    spawner.arg("/proc/self/status");
    prepare(&mut spawner);
    output(&mut spawner)
}

fn block(signals: &[i32]) {
    // SAFETY: valid sets; one thread, which ends with this case.
    unsafe {
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        for &signal in signals {
            libc::sigaddset(&raw mut set, signal);
        }
        libc::sigprocmask(libc::SIG_SETMASK, &raw const set, std::ptr::null_mut());
    }
}

fn ignore(signals: &[i32]) {
    for &signal in signals {
        // SAFETY: no handler.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
}

by_every_method!(
    fn mask_of_the_thread_is_kept_if_so_asked() {
        let blocked = [libc::SIGUSR1, libc::SIGRTMAX()];
        block(&blocked);
        let kept = status(|spawner| {
            spawner.keep_signal_mask(true);
        });
        assert_eq!(set(&kept, "SigBlk"), mask(&blocked));
        let emptied = status(|spawner| {
            spawner.keep_signal_mask(false);
        });
        assert_eq!(set(&emptied, "SigBlk"), 0);
        let own = fs::read_to_string("/proc/self/status").expect("own status");
        assert_eq!(set(&own, "SigBlk"), mask(&blocked), "the spawner's own");
    }
);

by_every_method!(
    fn signals_that_were_named_are_ignored_and_no_others() {
        let ignored = [libc::SIGTERM, libc::SIGPIPE, libc::SIGRTMIN()];
        ignore(&ignored);
        let before = fs::read_to_string("/proc/self/status").expect("own status");
        let named = status(|spawner| {
            spawner.ignored_signals([Signal::HUP, Signal::PIPE]);
        });
        assert_eq!(set(&named, "SigIgn"), mask(&[libc::SIGHUP, libc::SIGPIPE]));
        let none = status(|spawner| {
            spawner.ignored_signals([]);
        });
        assert_eq!(set(&none, "SigIgn"), 0);
        let after = fs::read_to_string("/proc/self/status").expect("own status");
        assert_eq!(set(&after, "SigIgn"), set(&before, "SigIgn"));
    }
);

by_every_method!(
    fn ignored_signals_are_inherited_but_sigpipe_unless_some_were_named() {
        ignore(&[libc::SIGTERM, libc::SIGPIPE, libc::SIGRTMIN()]);
        let own = fs::read_to_string("/proc/self/status").expect("own status");
        let status = status(|_| {});
        // Whoever runs the tests may ignore others.
        let expected = set(&own, "SigIgn") & !mask(&[libc::SIGPIPE]);
        assert_eq!(set(&status, "SigIgn"), expected);
        assert_eq!(expected & mask(&[libc::SIGTERM]), mask(&[libc::SIGTERM]));
    }
);

by_every_method!(
    /// The highest number that there is.
    fn every_signal_can_be_ignored() {
        let all = (1..=64).filter(|signal| !matches!(signal, 9 | 19 | 32 | 33));
        let all: Vec<i32> = all
            .filter(|signal| *signal <= 31 || *signal >= libc::SIGRTMIN())
            .collect();
        // SAFETY: real-time signals that the C library leaves to programs, and named ones.
        let signals = all
            .iter()
            .map(|signal| unsafe { Signal::from_raw_unchecked(*signal) });
        let status = status(|spawner| {
            spawner.ignored_signals(signals);
        });
        assert_eq!(set(&status, "SigIgn"), mask(&all));
    }
);
