//! Signals in the middle of a spawn: to the parent, to its group, and to the child before it is the
//! program. Each has a handler here; in a child of ours, which has the memory that the handler
//! works on, none may ever run.

use std::os::unix::process::ExitStatusExt;
use std::sync::atomic::{AtomicI32, AtomicPtr, AtomicUsize, Ordering};
use std::sync::mpsc::sync_channel;
use std::{ptr, thread};

use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous};
use shim_spawner::Stage;
use workspace_tests::fork::Fork;
use workspace_tests::halt::Halt;
use workspace_tests::{by_every_method, fd_table};

use super::child::ends_well;
use super::snapshot::{full, own_pid, pid_of_the_kernel, spawner_of};

/// How often a handler ran. A child sees the same page, whether it shares the memory or has a copy.
#[repr(C)]
struct Runs {
    here: [AtomicUsize; 65],
    in_a_child: AtomicUsize,
}

static PARENT: AtomicI32 = AtomicI32::new(0);

static RUNS: AtomicPtr<Runs> = AtomicPtr::new(ptr::null_mut());

fn runs() -> &'static Runs {
    // SAFETY: mapped by `handle` before any handler is there, for good, zeroed and written to by
    // atomics alone.
    unsafe { &*RUNS.load(Ordering::Acquire) }
}

fn handled(signal: i32) -> usize {
    runs().here[signal.unsigned_abs() as usize].load(Ordering::Relaxed)
}

extern "C" fn handler(signal: libc::c_int) {
    let counter = if pid_of_the_kernel() == PARENT.load(Ordering::Relaxed) {
        &runs().here[signal.unsigned_abs() as usize]
    } else {
        &runs().in_a_child
    };
    counter.fetch_add(1, Ordering::Relaxed);
}

/// This process handles these signals, without SA_RESTART.
fn handle(signals: &[i32]) {
    let access = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: a new mapping at an address of the kernel's choice.
    let page =
        unsafe { mmap_anonymous(ptr::null_mut(), size_of::<Runs>(), access, MapFlags::SHARED) };
    RUNS.store(page.expect("mmap").cast(), Ordering::Release);
    PARENT.store(own_pid(), Ordering::Relaxed);
    // The kernel's `struct sigaction`, and no smaller; it differs from the C library's, which also
    // keeps two signals from everybody: what it does for one signal is read back and done for the
    // others.
    let mut action = [0_usize; 20];
    // SAFETY: the handler makes atomic stores and a system call; the actions are valid, and there
    // is room for one.
    unsafe {
        let mut first: libc::sigaction = std::mem::zeroed();
        first.sa_sigaction = handler as *const () as usize;
        let done = libc::sigaction(signals[0], &raw const first, ptr::null_mut());
        assert_eq!(done, 0, "sigaction");
        let nothing = ptr::null_mut::<usize>();
        let raw = |signal: i32, new: *const usize, old: *mut usize| {
            libc::syscall(libc::SYS_rt_sigaction, signal, new, old, 8)
        };
        assert_eq!(raw(signals[0], nothing, action.as_mut_ptr()), 0);
        for &signal in signals {
            assert_eq!(raw(signal, action.as_ptr(), nothing), 0, "signal {signal}");
        }
    }
}

fn no_handler_ran_in_a_child() {
    assert_eq!(runs().in_a_child.load(Ordering::Relaxed), 0);
}

by_every_method!(
    /// Queued signals to the spawning thread, each of which counts; others to the whole group, to
    /// which the children belong from their first instant on. None may be lost, none handled by a
    /// child.
    fn storm_of_signals_reaches_the_parent_whole_and_no_child() {
        const SPAWNS: usize = 2_000;
        /// Sent to the thread during one spawn; 100,000 in all.
        const AT_ONCE: usize = 50;
        /// What does nothing where no handler is: to the program, and to a child that has none any
        /// more.
        const TO_THE_GROUP: [i32; 2] = [libc::SIGURG, libc::SIGWINCH];
        let queued = libc::SIGRTMIN() + 1;
        handle(&[&TO_THE_GROUP[..], &[queued]].concat());
        // SAFETY: setpgid(2) has no memory effect.
        assert_eq!(unsafe { libc::setpgid(0, 0) }, 0, "a group of its own");
        let group = own_pid();
        let _sender = Fork::run(|| {
            // SAFETY: calls without memory effect. The one whom a stray signal would hit is not in
            // the group, and ends with the storm.
            unsafe {
                libc::setpgid(0, 0);
                loop {
                    for signal in TO_THE_GROUP {
                        libc::kill(-group, signal);
                    }
                    libc::usleep(10);
                }
            }
        });
        // SAFETY: no argument.
        let thread = unsafe { libc::pthread_self() } as usize;
        let spawns = AtomicUsize::new(0);
        thread::scope(|scope| {
            scope.spawn(|| {
                for sent in 0..SPAWNS * AT_ONCE {
                    while sent >= (spawns.load(Ordering::Relaxed) + 1) * AT_ONCE {
                        thread::yield_now();
                    }
                    let value = libc::sigval {
                        sival_ptr: ptr::null_mut(),
                    };
                    // SAFETY: the spawning thread waits for this one before it ends.
                    let done =
                        unsafe { libc::pthread_sigqueue(thread as libc::pthread_t, queued, value) };
                    assert_eq!(done, 0, "pthread_sigqueue");
                }
            });
            let mut spawner = spawner_of("/bin/true");
            spawner.map_fd(fd_table::file(), 9).process_group(group);
            for _ in 0..SPAWNS {
                ends_well(&spawner.spawn().expect("spawn"));
                spawns.fetch_add(1, Ordering::Relaxed);
            }
        });
        workspace_tests::until("every signal is handled", || {
            (handled(queued) == SPAWNS * AT_ONCE).then_some(())
        });
        // These do not queue: how many there were is not known.
        assert!(TO_THE_GROUP.iter().all(|signal| handled(*signal) > 0));
        no_handler_ran_in_a_child();
    }
);

/// Runs `spawn` in a thread whose child is held at each of its calls of rt_sigaction(2), the first
/// of which comes before it has touched the handlers; `meanwhile` is given its pid then. How often
/// it was held.
fn held_before_its_exec(meanwhile: impl Fn(i32) + Sync, spawn: impl FnOnce() + Send) -> usize {
    thread::scope(|scope| {
        let (give, take) = sync_channel(1);
        let holds = scope.spawn(|| {
            let halt: Halt = take.into_iter().next().expect("a halt");
            let mut held = 0;
            while let Some(call) = halt.next() {
                held += 1;
                meanwhile(call.thread);
                call.go_on();
            }
            held
        });
        scope.spawn(move || {
            give.send(Halt::at(&[libc::SYS_rt_sigaction]))
                .expect("give");
            spawn();
        });
        holds.join().expect("the thread that holds")
    })
}

fn send(pid: i32, signal: i32) {
    // SAFETY: kill(2) has no memory effect. The child is held, so that the number is its own.
    assert_eq!(unsafe { libc::kill(pid, signal) }, 0, "kill {pid}");
}

by_every_method!(
    /// What is ignored by default changes nothing, whenever it comes.
    fn signal_that_is_ignored_changes_nothing_before_the_exec_either() {
        const IGNORED: [i32; 4] = [libc::SIGURG, libc::SIGWINCH, libc::SIGCHLD, libc::SIGCONT];
        handle(&IGNORED);
        // A thread of the link's own that inherits the filter would be one more who could be held.
        drop(watchdog_pipe::channel().expect("channel"));
        let held = held_before_its_exec(
            |pid| IGNORED.iter().for_each(|signal| send(pid, *signal)),
            || {
                for _ in 0..20 {
                    ends_well(&spawner_of("/bin/true").spawn().expect("spawn"));
                }
            },
        );
        assert!(held >= 20, "{held}");
        no_handler_ran_in_a_child();
    }
);

by_every_method!(
    /// What ends a process by default ends the child, and not before its mask is the one that the
    /// program is to have: until then all are blocked, those that the C library keeps for itself
    /// included.
    fn signal_that_ends_the_child_does_so_once_its_mask_is_its_own() {
        let signals = [libc::SIGTERM, libc::SIGRTMAX(), 32, 33];
        handle(&signals);
        drop(watchdog_pipe::channel().expect("channel"));
        for signal in signals {
            let held = held_before_its_exec(
                |pid| send(pid, signal),
                || {
                    let error = full("/bin/true").spawn().expect_err("it was ended");
                    assert_eq!(error.stage(), Stage::PreExec, "{error}");
                    assert_eq!(error.raw_os_error(), None, "{error}");
                    let by = error.exit_status().and_then(|status| status.signal());
                    assert_eq!(by, Some(signal), "{error}");
                },
            );
            assert!(held >= 1, "{held}");
            no_handler_ran_in_a_child();
        }
    }
);
