//! An adoption in which any one system call is refused.

use std::env;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::mpsc::sync_channel;

use watchdog_pipe::{AdoptError, ENV_VAR, Watchdog};
use workspace_tests::fork::Fork;
use workspace_tests::halt::Halt;
use workspace_tests::{alone, proc_fs, seccomp};

/// What an adoption asks the kernel for.
const CALLS: [libc::c_long; 14] = [
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_fcntl,
    libc::SYS_openat,
    libc::SYS_getdents64,
    libc::SYS_close,
    libc::SYS_epoll_create1,
    libc::SYS_eventfd2,
    libc::SYS_epoll_ctl,
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_madvise,
    libc::SYS_prlimit64,
    libc::SYS_getrlimit,
];

/// The exit code of a process that adopts with fewer calls.
const NONE_LEFT: i32 = 7;

/// Puts what a child needs on numbers that nobody owns, and its variable into the environment.
fn inherit() {
    let (keepalive, setup) = watchdog_pipe::channel().expect("channel");
    let variable = setup.env().1.replace("fd=3,", "fd=903,");
    let variable = variable.replace("sentinel=4:", "sentinel=904:");
    for (fd, number) in setup.fds() {
        // SAFETY: far above what is open here.
        let copied = unsafe { libc::dup2(fd.as_raw_fd(), number + 900) };
        assert_eq!(copied, number + 900);
    }
    drop((keepalive, setup));
    // SAFETY: no other thread of this process reads the environment: the sentinel sleeps.
    unsafe { env::set_var(ENV_VAR, variable) };
}

fn adopt() -> Result<Option<Watchdog>, AdoptError> {
    // SAFETY: nobody owns the numbers, see `inherit`; the other threads leave the environment
    // alone.
    unsafe { Watchdog::from_env() }
}

/// Adopts with the `fatal`th of these calls refused; whether there was one.
fn adopt_with_a_failure(fatal: usize, errno: i32) -> bool {
    /// No call is refused before the adoption, or afterwards.
    const NEVER: usize = 1_000_000;
    static SEEN: AtomicUsize = AtomicUsize::new(NEVER);
    static REFUSED: AtomicI64 = AtomicI64::new(-1);
    inherit();
    let (give, take) = sync_channel::<Halt>(1);
    std::thread::spawn(move || {
        let halt = take.into_iter().next().expect("a halt");
        while let Some(call) = halt.next() {
            if SEEN.fetch_add(1, Ordering::SeqCst) == fatal {
                REFUSED.store(call.number, Ordering::SeqCst);
                call.fail(errno);
            } else {
                call.go_on();
            }
        }
    });
    std::thread::spawn(move || {
        give.send(Halt::at(&CALLS)).expect("give");
        drop(give);
        let before = proc_fs::own_fds();
        SEEN.store(0, Ordering::SeqCst);
        let adopted = adopt();
        let seen = SEEN.swap(NEVER, Ordering::SeqCst);
        let refused = REFUSED.load(Ordering::SeqCst);
        match adopted {
            Ok(watchdog) => assert!(watchdog.is_some(), "{refused}"),
            Err(AdoptError::Io(error)) => {
                assert_eq!(error.raw_os_error(), Some(errno));
                assert!(env::var_os(ENV_VAR).is_some());
                assert_eq!(proc_fs::own_fds(), before, "{refused}");
                // Nothing was claimed.
                assert!(adopt().expect("adopt").is_some());
            }
            Err(error) => panic!("{refused}: {error:?}"),
        }
        seen > fatal
    })
    .join()
    .expect("it is adopted, or an error is told")
}

#[test]
fn whichever_call_of_an_adoption_fails_it_is_an_error_or_done_without() {
    alone!({
        for errno in [libc::ENOMEM, libc::EPERM, libc::EINVAL] {
            let refused = (0..200).take_while(|fatal| {
                let mut process = Fork::run(|| {
                    if !adopt_with_a_failure(*fatal, errno) {
                        // SAFETY: ends this copy.
                        unsafe { libc::_exit(NONE_LEFT) };
                    }
                });
                let code = process.wait().code();
                assert!(
                    matches!(code, Some(0 | NONE_LEFT)),
                    "call {fatal}, errno {errno}: {code:?}"
                );
                code == Some(0)
            });
            let refused = refused.count();
            assert!((15..200).contains(&refused), "{refused}");
        }
    });
}

/// Each time it is asked for, and not just once.
#[test]
fn adoption_does_without_what_a_filter_refuses_for_good() {
    alone!({
        for call in [
            libc::SYS_close,
            libc::SYS_openat,
            libc::SYS_getdents64,
            libc::SYS_prlimit64,
            libc::SYS_madvise,
            libc::SYS_mmap,
        ] {
            Fork::run(|| {
                inherit();
                seccomp::refuse(&[(call, libc::EPERM)]);
                assert!(adopt().expect("adopt").is_some(), "{call}");
            })
            .succeeds();
        }
        // With neither of them, the numbers are gone through up to a bound.
        Fork::run(|| {
            inherit();
            seccomp::refuse(&[
                (libc::SYS_openat, libc::EPERM),
                (libc::SYS_prlimit64, libc::EPERM),
                (libc::SYS_getrlimit, libc::EPERM),
            ]);
            assert!(adopt().expect("adopt").is_some());
        })
        .succeeds();
    });
}
