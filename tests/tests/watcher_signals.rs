//! The threads of the library and the signal handlers of the program.

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};

use pidfd_watcher::{Error, Process, Signal, Watcher};
use workspace_tests::fork::Fork;
use workspace_tests::{alone, seccomp, until};

/// Handlers that ran on a thread of the program, and on one of the library.
static ON_OURS: AtomicUsize = AtomicUsize::new(0);
static ON_THEIRS: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static IS_OURS: Cell<bool> = const { Cell::new(false) };
}

extern "C" fn count(_signal: libc::c_int) {
    let counter = if IS_OURS.get() { &ON_OURS } else { &ON_THEIRS };
    counter.fetch_add(1, Ordering::Relaxed);
}

/// The signals of the flood. Several, because one that is pending already is not sent again.
const FLOOD: [Signal; 4] = [Signal::USR1, Signal::USR2, Signal::HUP, Signal::WINCH];

/// A copy of this process that sends it signals until it is dropped.
fn flood() -> Fork {
    let own = Process::open(rustix::process::getpid()).expect("own process");
    for signal in FLOOD {
        // SAFETY: the handler reads a thread-local without a destructor and adds to a counter.
        unsafe { libc::signal(signal.as_raw(), count as *const () as libc::sighandler_t) };
    }
    let flood = Fork::run(|| {
        loop {
            for signal in FLOOD {
                own.send_signal(signal).expect("the test's process");
            }
            // Without a pause the handlers leave the test no time of its own.
            std::thread::sleep(std::time::Duration::from_micros(20));
        }
    });
    until("the flood has come", || {
        (ON_OURS.load(Ordering::Relaxed) > 1000).then_some(())
    });
    flood
}

#[test]
fn handler_of_the_program_never_runs_on_a_thread_that_starts() {
    alone!({
        IS_OURS.set(true);
        let _flood = flood();
        for _ in 0..100 {
            drop(Watcher::new().expect("watcher"));
        }
        let ours = ON_OURS.load(Ordering::Relaxed);
        assert_eq!(ON_THEIRS.load(Ordering::Relaxed), 0, "{ours} on our own");
    });
}

#[test]
fn mask_of_the_thread_that_makes_a_watcher_is_as_it_was() {
    alone!({
        let mask = || {
            let status = std::fs::read_to_string("/proc/thread-self/status").expect("/proc");
            let line = status.lines().find(|line| line.starts_with("SigBlk:"));
            line.expect("a mask").to_owned()
        };
        // SAFETY: a valid set; the old mask is not asked for.
        unsafe {
            let mut set = std::mem::zeroed();
            libc::sigemptyset(&raw mut set);
            libc::sigaddset(&raw mut set, libc::SIGUSR2);
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const set, std::ptr::null_mut());
        }
        let before = mask();
        drop(Watcher::new().expect("watcher"));
        assert_eq!(mask(), before);
        // A watcher that cannot be made leaves it alone as well.
        seccomp::refuse(&[
            (libc::SYS_clone, libc::EAGAIN),
            (libc::SYS_clone3, libc::EAGAIN),
        ]);
        let error = Watcher::new().expect_err("no thread");
        assert!(matches!(error, Error::TooManyProcesses(_)), "{error}");
        assert_eq!(mask(), before);
    });
}

#[test]
fn without_a_way_to_block_signals_there_is_no_watcher() {
    alone!({
        for errno in [libc::EPERM, libc::ENOSYS] {
            seccomp::refuse(&[(libc::SYS_rt_sigprocmask, errno)]);
            let error = Watcher::new().expect_err("refused");
            assert_eq!(error.raw_os_error(), Some(errno), "{error}");
        }
        let threads = std::fs::read_dir("/proc/self/task").expect("tasks").count();
        assert_eq!(threads, 1);
    });
}
