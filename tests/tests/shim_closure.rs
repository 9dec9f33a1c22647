//! A closure of the caller's between fork and exec: it finds a C library that knows of the fork.
//!
//! The allocator is usable in the child because fork(3) runs its handlers (`pthread_atfork`), which
//! a bare clone does not. Hanging is a matter of luck, so the handlers are watched as well; and a
//! child that hangs all the same is ended by its own alarm, long before any test's deadline.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use shim_spawner::{ShimSpawner, SpawnError, Stage, Stdio};
use workspace_tests::spawn_case::threads_that_allocate;
use workspace_tests::{alone, reaped};

/// How often the handlers ran, as each process sees it: preparing and parent's here, child's in the
/// copy.
static PREPARED: AtomicU32 = AtomicU32::new(0);

static IN_PARENT: AtomicU32 = AtomicU32::new(0);

static IN_CHILD: AtomicU32 = AtomicU32::new(0);

extern "C" fn prepare() {
    PREPARED.fetch_add(1, Ordering::Relaxed);
}

extern "C" fn parent() {
    IN_PARENT.fetch_add(1, Ordering::Relaxed);
}

extern "C" fn child() {
    IN_CHILD.fetch_add(1, Ordering::Relaxed);
}

/// In a child of this process: whether the handlers have run as fork(3) runs them.
fn forked_by_the_library() -> bool {
    let counts = [&PREPARED, &IN_CHILD, &IN_PARENT].map(|count| count.load(Ordering::Relaxed));
    counts[0] == counts[2] + 1 && counts[1] == 1
}

/// A spawner whose closure is `closure`, under an alarm.
fn with(closure: impl Fn() -> io::Result<()> + Send + Sync + 'static) -> ShimSpawner {
    let mut spawner = ShimSpawner::new("/bin/true");
    // SAFETY: alarm(2), and what the case does.
    unsafe {
        spawner.pre_exec(move || {
            libc::alarm(10);
            closure()
        })
    };
    spawner
}

fn spawned(spawner: &mut ShimSpawner) {
    let shim = spawner.spawn().expect("spawn");
    let exit = reaped(shim.child.process());
    assert!(exit.status.expect("own child").success(), "{exit:?}");
}

fn check(good: bool) -> io::Result<()> {
    if good {
        Ok(())
    } else {
        Err(io::Error::from_raw_os_error(libc::EXDEV))
    }
}

/// One that only counts: each spawn runs the three handlers, each where it belongs.
#[test]
fn closure_runs_in_a_child_that_the_c_library_forked() {
    alone!({
        // SAFETY: the handlers are functions of this program, and only count.
        let registered = unsafe { libc::pthread_atfork(Some(prepare), Some(parent), Some(child)) };
        assert_eq!(registered, 0);
        let mut spawner = with(|| check(forked_by_the_library()));
        for spawns in 1..=3 {
            spawned(&mut spawner);
            assert_eq!(IN_PARENT.load(Ordering::Relaxed), spawns);
            assert_eq!(IN_CHILD.load(Ordering::Relaxed), 0, "memory is not shared");
        }
        // The witness can tell: a clone of the kernel's own runs none of them.
        // SAFETY: no stack and no shared memory: as fork(2). The copy makes system calls alone.
        match unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) } {
            // SAFETY: ends the copy at once.
            0 => unsafe { libc::_exit(i32::from(forked_by_the_library())) },
            pid => {
                assert!(pid > 0, "clone: {}", io::Error::last_os_error());
                let pid = i32::try_from(pid).expect("a pid");
                let mut status = 0;
                // SAFETY: our child, not reaped yet, and a place for its status.
                assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
                assert_eq!(status, 0, "a bare clone passes for a fork");
            }
        }
    });
}

/// One that allocates, while three threads hold the allocator's locks as often as they can.
#[test]
fn closure_that_allocates_is_done_in_each_of_300_spawns() {
    alone!({
        let done = Arc::new(AtomicBool::new(false));
        let threads = threads_that_allocate(&done);
        let mut spawner = with(|| {
            std::hint::black_box(vec![1_u8; 100_000]);
            let pieces: Vec<Vec<u8>> = (1..50).map(|size| vec![1; size * 7]).collect();
            std::hint::black_box(pieces);
            Ok(())
        });
        for _ in 0..300 {
            spawned(&mut spawner);
        }
        done.store(true, Ordering::Relaxed);
        for thread in threads {
            thread.join().expect("an allocating thread");
        }
    });
}

/// One that never returns is ended by the alarm, and is an error of its stage: a hang is seen as
/// what it is.
#[test]
fn closure_that_hangs_is_ended_by_its_alarm_and_told_as_such() {
    alone!({
        let mut spawner = ShimSpawner::new("/bin/true");
        // SAFETY: alarm(2) and pause(2).
        unsafe {
            spawner.pre_exec(|| {
                libc::alarm(1);
                loop {
                    libc::pause();
                }
            })
        };
        let error: SpawnError = spawner.spawn().expect_err("it never got to its exec");
        assert_eq!(error.stage(), Stage::PreExec, "{error}");
        let status = error.exit_status().expect("it died");
        assert_eq!(
            std::os::unix::process::ExitStatusExt::signal(&status),
            Some(libc::SIGALRM),
            "{error}"
        );
    });
}

/// Whether the child is told that it has no write end of its pipe, and need not look for one.
fn is_told_that_nothing_writes(closure: bool) -> bool {
    let mut spawner = ShimSpawner::new("/bin/sh");
    spawner.args(["-c", "echo $WATCHDOG_PIPE"]);
    spawner.stdout(Stdio::piped());
    if closure {
        // SAFETY: nothing is done in the child.
        unsafe { spawner.pre_exec(|| Ok(())) };
    }
    let mut shim = spawner.spawn().expect("spawn");
    let mut said = String::new();
    let mut pipe = shim.child.stdout.take().expect("a pipe");
    pipe.read_to_string(&mut said).expect("read");
    said.trim_end().ends_with(",clean=1")
}

#[test]
fn child_whose_closure_can_open_what_it_likes_is_promised_no_clean_table() {
    alone!({
        assert!(is_told_that_nothing_writes(false));
        assert!(!is_told_that_nothing_writes(true));
    });
}
