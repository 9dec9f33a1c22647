//! Descriptors that other threads open at the wrong moment.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use fd_preserve::{Applied, ChildFdsError, PreserveFds};
use workspace_tests::alone;
use workspace_tests::fd_table::{Table, Witness, file, id, stdio};

/// How long it blows. Enough for a few hundred children on two busy cores.
const STORM: Duration = Duration::from_secs(4);

static OVER: AtomicBool = AtomicBool::new(false);

static CHILDREN: AtomicU32 = AtomicU32::new(0);

static COLLISIONS: AtomicU32 = AtomicU32::new(0);

/// Threads opening and spawning at random for a while: no unplanned descriptor ever seen in any
/// child.
#[test]
fn no_child_sees_what_other_threads_open_meanwhile() {
    alone!({
        std::thread::scope(|scope| {
            for seed in 0..3 {
                scope.spawn(move || open_and_close(seed));
            }
            let spawners: Vec<_> = (0..3)
                .map(|seed| scope.spawn(move || spawn(seed)))
                .collect();
            // Whatever happens to a spawner, the others are told to end; the scope then passes on
            // its panic.
            for spawner in spawners {
                let ended = spawner.join();
                OVER.store(true, Ordering::Relaxed);
                if let Err(panic) = ended {
                    std::panic::resume_unwind(panic);
                }
            }
        });
        let children = CHILDREN.load(Ordering::Relaxed);
        eprintln!(
            "{children} children, {} collisions",
            COLLISIONS.load(Ordering::Relaxed)
        );
        assert!(children >= 20, "only {children} children");
    });
}

/// Low numbers come and go, without close-on-exec, sockets like the error socket among them.
fn open_and_close(seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut open: Vec<OwnedFd> = Vec::new();
    while !OVER.load(Ordering::Relaxed) {
        match random.usize(..4) {
            0 => open.extend(leaky(|fds| {
                // SAFETY: socketpair(2) fills two numbers.
                unsafe {
                    libc::socketpair(libc::AF_UNIX, libc::SOCK_SEQPACKET, 0, fds.as_mut_ptr())
                }
            })),
            1 => open.extend(leaky(|fds| {
                // SAFETY: pipe(2) fills two numbers.
                unsafe { libc::pipe(fds.as_mut_ptr()) }
            })),
            2 => open.push(File::open("/dev/null").expect("/dev/null").into()),
            _ if !open.is_empty() => drop(open.swap_remove(random.usize(..open.len()))),
            _ => {}
        }
        if open.len() > 30 {
            open.drain(..random.usize(..30));
        }
        std::thread::yield_now();
    }
}

fn leaky(call: impl FnOnce(&mut [RawFd; 2]) -> i32) -> [OwnedFd; 2] {
    let mut fds = [-1; 2];
    assert_eq!(call(&mut fds), 0, "{}", io::Error::last_os_error());
    // SAFETY: new descriptors, known to nobody else.
    fds.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) })
}

fn spawn(seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed + 100);
    let end = Instant::now() + STORM;
    while Instant::now() < end {
        let mut expected = stdio();
        let mut fds = PreserveFds::new();
        for target in 3..40 {
            let file = file();
            match random.usize(..6) {
                0 => {
                    expected.insert(target, id(&file));
                    fds.map_fd(file, target).expect("planned once");
                }
                1 => {
                    let number = file.as_raw_fd();
                    if number >= 40 && !expected.contains_key(&number) {
                        expected.insert(number, id(&file));
                        fds.preserve_fd(file).expect("not planned yet");
                    }
                }
                _ => {}
            }
        }
        let mut witness = Witness::new();
        let applied = fds.apply(&mut witness.command).expect("apply");
        let found = patiently(&mut witness, &applied);
        assert_eq!(found, expected);
        CHILDREN.fetch_add(1, Ordering::Relaxed);
    }
}

/// A number that another thread had during `apply`, and gave back since, may be the error socket's:
/// that is a typed error, after which another try is worthwhile.
fn patiently(witness: &mut Witness, applied: &Applied) -> Table {
    for _ in 0..1_000 {
        match witness.run() {
            Ok(table) => return table,
            Err(error) => match applied.explain(&error) {
                Some(ChildFdsError::TargetCollision { .. }) => {
                    COLLISIONS.fetch_add(1, Ordering::Relaxed);
                }
                other => panic!("spawn: {error}, {other:?}"),
            },
        }
    }
    panic!("collisions without end");
}
