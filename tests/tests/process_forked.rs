//! What works in a child of `Process::fork`, and what becomes of one that its parent cannot open.

use std::io::Read;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use pidfd_watcher::{Error, Process};
use workspace_tests::fork::Fork;
use workspace_tests::reaped;
use workspace_tests::{alone, proc_fs, seccomp, time_limit, until};

fn code(process: &Process) -> Option<i32> {
    let exit = reaped(process);
    exit.status.and_then(|status| status.code())
}

/// The CPUs on which the calling thread may run.
fn own_cpus() -> Vec<usize> {
    let cpus = rustix::thread::sched_getaffinity(None).expect("sched_getaffinity");
    (0..rustix::thread::CpuSet::MAX_CPU)
        .filter(|cpu| cpus.is_set(*cpu))
        .collect()
}

#[test]
fn affinity_that_a_child_gives_itself_leaves_the_parents_alone() {
    alone!({
        let before = own_cpus();
        let Some(&[first, _, ..]) = before
            .get(..2)
            .map(|two| <&[usize; 2]>::try_from(two).expect("two"))
        else {
            eprintln!("skipped: this machine has one CPU");
            return;
        };
        // SAFETY: this process has one thread.
        let child = unsafe {
            Process::fork(|| {
                let mut one: libc::cpu_set_t = std::mem::zeroed();
                libc::CPU_SET(first, &mut one);
                let size = size_of::<libc::cpu_set_t>();
                // The C library passes on the thread id that stands in its own structure.
                let failed =
                    libc::pthread_setaffinity_np(libc::pthread_self(), size, &raw const one);
                i32::from(failed != 0 || own_cpus() != [first])
            })
        };
        assert_eq!(code(&child.expect("fork")), Some(0), "the child's own");
        assert_eq!(own_cpus(), before);
    });
}

#[test]
fn child_that_allocates_hangs_on_no_lock_of_a_thread_that_allocated() {
    alone!({
        // One arena for all threads, and pieces that no thread's own cache holds: its lock is taken
        // all the time.
        #[cfg(target_env = "gnu")]
        // SAFETY: a setting of the allocator, made while there is one thread.
        assert_eq!(unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) }, 1);
        let allocate = || std::hint::black_box(vec![1_u8; 5000]).len();
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    while !done.load(Ordering::Relaxed) {
                        allocate();
                    }
                });
            }
            for _ in 0..300 {
                let allocates = || (0..10).all(|_| allocate() == 5000);
                // SAFETY: the child uses the allocator alone, whose locks the C library's fork
                // cares for.
                let child = unsafe { Process::fork(|| i32::from(!allocates())) };
                let child = child.expect("fork");
                assert_eq!(code(&child), Some(0));
                child.reap().expect("own child");
            }
            done.store(true, Ordering::Relaxed);
        });
    });
}

#[test]
fn handlers_of_pthread_atfork_run() {
    static RAN: AtomicUsize = AtomicUsize::new(0);
    extern "C" fn count() {
        RAN.fetch_add(1, Ordering::Relaxed);
    }
    alone!({
        // SAFETY: the function lives as long as the program, and is async-signal-safe.
        let failed = unsafe { libc::pthread_atfork(Some(count), Some(count), Some(count)) };
        assert_eq!(failed, 0);
        // SAFETY: this process has one thread.
        let child =
            unsafe { Process::fork(|| i32::try_from(RAN.load(Ordering::Relaxed)).expect("a few")) };
        assert_eq!(
            code(&child.expect("fork")),
            Some(2),
            "before, and in the child"
        );
        assert_eq!(RAN.load(Ordering::Relaxed), 2, "before, and in the parent");
    });
}

/// The kernel, and a thread that collects whatever child it finds: nobody takes the child before
/// the handle is open.
#[test]
fn child_that_ends_at_once_is_the_one_in_the_handle_whoever_reaps_it() {
    alone!({
        // SAFETY: sets a disposition, installs no handler.
        unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    // SAFETY: no status is asked for; all children of this process are this test's.
                    unsafe { libc::waitpid(-1, std::ptr::null_mut(), 0) };
                }
            });
            for code_given in (0..500).map(|round| round % 256) {
                // SAFETY: the child ends at once.
                let child = unsafe { Process::fork(|| code_given) }.expect("fork");
                let exit = child
                    .wait_timeout(time_limit())
                    .expect("poll")
                    .expect("ends");
                let status = exit.status.and_then(|status| status.code());
                // None: before Linux 6.15.
                assert!(status.is_none_or(|code| code == code_given), "{status:?}");
            }
            done.store(true, Ordering::Relaxed);
        });
    });
}

#[test]
fn child_that_cannot_be_opened_runs_nothing_and_leaves_nothing() {
    alone!({
        let before = proc_fs::own_fds();
        let maps = || {
            std::fs::read_to_string("/proc/self/maps")
                .expect("/proc")
                .lines()
                .count()
        };
        let (mut reader, writer) = std::io::pipe().expect("pipe");
        let mut mapped = None;
        for errno in [libc::EMFILE, libc::EPERM, libc::ENOSYS, libc::ENOMEM] {
            seccomp::refuse(&[(libc::SYS_pidfd_open, errno)]);
            // SAFETY: this process has one thread; the child makes one system call.
            let error = unsafe {
                Process::fork(|| {
                    let _ = rustix::io::write(&writer, b"ran");
                    0
                })
            };
            let error = error.expect_err("refused");
            assert_eq!(error.raw_os_error(), Some(errno), "{error}");
            // SAFETY: no status is asked for.
            let none = unsafe { libc::waitpid(-1, std::ptr::null_mut(), libc::WNOHANG) };
            assert_eq!(none, -1, "no child is left");
            assert_eq!(*mapped.get_or_insert_with(maps), maps());
        }
        drop(writer);
        let mut said = String::new();
        reader.read_to_string(&mut said).expect("read");
        assert_eq!(said, "");
        drop(reader);
        assert_eq!(proc_fs::own_fds(), before);
    });
}

/// As after any fork. A child that was held back by a parent that is gone would wait for ever.
#[test]
fn child_whose_parent_dies_before_it_has_opened_it_runs() {
    alone!({
        let (mut reader, writer) = std::io::pipe().expect("pipe");
        let mut parent = Fork::run(|| {
            // A sibling that holds whatever the parent has open.
            let sibling = Fork::run(|| until("the test ends", || None));
            std::mem::forget(sibling);
            die_at(libc::SYS_pidfd_open);
            // SAFETY: this process has one thread; the child makes one system call.
            let _ = unsafe {
                Process::fork(|| {
                    let _ = rustix::io::write(&writer, b"ran");
                    0
                })
            };
        });
        let status = parent.wait();
        assert!(!status.success(), "{status}");
        drop(writer);
        let (tell, told) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let mut said = [0; 3];
            let _ = tell.send(reader.read_exact(&mut said).map(|()| said));
        });
        let said = told.recv_timeout(time_limit()).expect("in time");
        assert_eq!(&said.expect("three bytes"), b"ran");
    });
}

/// From now on that system call ends this process.
fn die_at(call: libc::c_long) {
    let filter = seccompiler::SeccompFilter::new(
        [(call, Vec::new())].into(),
        seccompiler::SeccompAction::Allow,
        seccompiler::SeccompAction::KillProcess,
        std::env::consts::ARCH.try_into().expect("an architecture"),
    );
    let program: seccompiler::BpfProgram = filter.expect("a filter").try_into().expect("a program");
    seccompiler::apply_filter(&program).expect("seccomp");
}

#[test]
fn child_that_a_filter_hides_from_waitid_is_not_handed_out() {
    alone!({
        // It cannot be shown that the pidfd is the child's: it may be a stranger's who got the
        // number.
        seccomp::refuse(&[(libc::SYS_waitid, libc::ECHILD)]);
        // SAFETY: this process has one thread.
        let error = unsafe { Process::fork(|| 0) }.expect_err("not ours");
        assert!(matches!(error, Error::NotChild(_)), "{error:?}");
        // SAFETY: no status is asked for.
        let none = unsafe { libc::waitpid(-1, std::ptr::null_mut(), libc::WNOHANG) };
        assert_eq!(none, -1, "no child is left");
    });
}
