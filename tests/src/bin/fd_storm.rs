//! Threads that open and spawn at random: every child has its plan, and nothing else.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use fd_preserve::{Applied, ChildFdsError, PreserveFds};
use workspace_tests::fd_table::{self, Table, Witness, file, id, stdio};

fn main() -> ExitCode {
    fd_table::run(&[("storm", storm)])
}

/// How long it blows. Enough for a few hundred children on two busy cores.
const STORM: Duration = Duration::from_secs(4);

static OVER: AtomicBool = AtomicBool::new(false);
static CHILDREN: AtomicU32 = AtomicU32::new(0);
static COLLISIONS: AtomicU32 = AtomicU32::new(0);

/// cases: threads opening and spawning at random for a while: no unplanned descriptor ever seen in any child.
fn storm() {
    std::thread::scope(|scope| {
        for seed in 0..3 {
            scope.spawn(move || open_and_close(seed));
        }
        let spawners: Vec<_> = (0..3)
            .map(|seed| scope.spawn(move || spawn(seed)))
            .collect();
        // Whatever happens to a spawner, the others are told to end; the scope then passes on its panic.
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
}

/// Low numbers come and go, without close-on-exec, sockets like the error socket among them.
fn open_and_close(seed: u64) {
    let mut dice = Dice(seed);
    let mut open: Vec<OwnedFd> = Vec::new();
    while !OVER.load(Ordering::Relaxed) {
        match dice.roll(4) {
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
            _ if !open.is_empty() => drop(open.swap_remove(dice.index(open.len()))),
            _ => {}
        }
        if open.len() > 30 {
            open.drain(..dice.index(30));
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
    let mut dice = Dice(seed + 100);
    let end = Instant::now() + STORM;
    while Instant::now() < end {
        let mut expected = stdio();
        let mut fds = PreserveFds::new();
        for target in 3..40 {
            let file = file();
            match dice.roll(6) {
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

/// A number that another thread had during `apply`, and gave back since, may be the error socket's: that
/// is a typed error, after which another try is worthwhile.
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

/// Numbers that look random (splitmix64).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % sides
    }

    fn index(&mut self, length: usize) -> usize {
        usize::try_from(self.roll(u64::try_from(length).expect("a length"))).expect("an index")
    }
}
