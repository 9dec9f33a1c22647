//! The sentinel's thread when the system around it refuses something, before it is there or
//! afterwards.

use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};

use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};
use watchdog_pipe::{ENV_VAR, Guarantees, Keepalive, Verdict, Watchdog};
use workspace_tests::fork::{Cue, Fork};
use workspace_tests::halt::Halt;
use workspace_tests::{alone, alone_in_pid_namespace, proc_fs, seccomp, until};

/// Every call by which the thread could sleep, in its order.
#[cfg(target_arch = "x86_64")]
const WAYS: &[libc::c_long] = &[
    libc::SYS_futex,
    libc::SYS_pause,
    libc::SYS_clock_nanosleep,
    libc::SYS_poll,
];
/// Newer architectures have neither pause(2) nor poll(2): the C library calls ppoll(2) for both.
#[cfg(not(target_arch = "x86_64"))]
const WAYS: &[libc::c_long] = &[libc::SYS_futex, libc::SYS_ppoll, libc::SYS_clock_nanosleep];

fn threads(pid: i32) -> Vec<i32> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("tasks");
    tasks
        .filter_map(|task| task.ok()?.file_name().to_str()?.parse().ok())
        .collect()
}

fn threads_are(pid: i32, count: usize) {
    until("threads come or go", || {
        (threads(pid).len() == count).then_some(())
    });
}

/// The one thread of a process beside its first.
fn sentinel_of(pid: i32) -> i32 {
    until("a sentinel", || {
        threads(pid).into_iter().find(|thread| *thread != pid)
    })
}

fn state(pid: i32, thread: i32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/task/{thread}/stat")).ok()?;
    stat[stat.rfind(')')? + 2..].chars().next()
}

fn is_in_state(pid: i32, thread: i32, wanted: char) {
    until(&format!("the thread is in state {wanted}"), || {
        (state(pid, thread)? == wanted).then_some(())
    });
}

/// Processor time of a thread so far, in nanoseconds.
fn cpu(pid: i32, thread: i32) -> u64 {
    let path = format!("/proc/{pid}/task/{thread}/schedstat");
    let times = fs::read_to_string(path).expect("schedstat");
    let first = times.split(' ').next().expect("a field");
    first.parse().expect("a number")
}

/// Stops a process and lets it go on: every thread of it enters its system call again, by the
/// filter of today.
fn stop_and_continue(process: &Fork, thread: i32) {
    process.signal(libc::SIGSTOP);
    is_in_state(process.pid(), thread, 'T');
    process.signal(libc::SIGCONT);
}

/// A copy of this process that has a link, and refuses itself some calls later.
fn parent(refused: &[(libc::c_long, i32)], mut cue: Cue) -> Fork {
    Fork::run(|| {
        let (_keepalive, _setup) = watchdog_pipe::channel().expect("channel");
        cue.give();
        cue.take();
        seccomp::refuse(refused);
        cue.give();
        cue.take();
    })
}

#[test]
fn sentinel_that_may_not_wait_for_a_word_any_more_sleeps_in_another_way() {
    alone!({
        let ways = (1..WAYS.len()).map(|count| &WAYS[..count]);
        // 0 and EINTR: a call that comes back without an error has not slept either.
        for (refused, errno) in
            ways.flat_map(|ways| [libc::ENOSYS, libc::EINTR, 0].map(|errno| (ways, errno)))
        {
            eprintln!("{refused:?}: {errno}");
            let refused: Vec<_> = refused.iter().map(|call| (*call, errno)).collect();
            let (mut ours, theirs) = Cue::pair();
            let process = parent(&refused, theirs);
            ours.take();
            let pid = process.pid();
            let thread = sentinel_of(pid);
            is_in_state(pid, thread, 'S');
            ours.give();
            ours.take();
            let before = cpu(pid, thread);
            for _ in 0..20 {
                stop_and_continue(&process, thread);
                until("the thread sleeps", || {
                    let spent = cpu(pid, thread) - before;
                    assert!(spent < 100_000_000, "busy for {spent} ns");
                    (state(pid, thread)? == 'S').then_some(())
                });
            }
            ours.give();
            process.succeeds();
        }
    });
}

/// A child, which lives on when its parent dies.
fn child_of(keepalive: &mut Option<Keepalive>, setup: &watchdog_pipe::ChildSetup, mut cue: Cue) {
    let fds: Vec<(OwnedFd, i32)> = setup
        .fds()
        .map(|(fd, number)| (fd.try_clone_to_owned().expect("dup"), number + 900))
        .collect();
    let variable = setup.env().1.replace("fd=3,", "fd=903,");
    let variable = variable.replace("sentinel=4:", "sentinel=904:");
    // A copy: it tells nothing, and the child holds no writer.
    drop(keepalive.take());
    for (fd, number) in &fds {
        // SAFETY: nothing lies on these numbers in this process.
        assert_eq!(unsafe { libc::dup2(fd.as_raw_fd(), *number) }, *number);
    }
    // SAFETY: a copy with one thread, in which nobody owns the numbers; prctl(2) of this kind has
    // no memory effect.
    let watchdog = unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, 0);
        std::env::set_var(ENV_VAR, variable);
        Watchdog::from_env()
    };
    let mut watchdog = watchdog.expect("adopt").expect("supervised");
    assert_eq!(watchdog.guarantees(), Guarantees::all());
    cue.give();
    cue.take();
    assert_eq!(watchdog.try_wait().expect("look"), None);
    assert_eq!(watchdog.guarantees(), Guarantees::END_IS_TOLD);
    cue.give();
    assert_eq!(watchdog.wait().expect("wait"), Verdict::ParentExited);
    cue.give();
}

#[test]
fn sentinel_that_can_sleep_in_no_way_ends_and_its_end_is_no_death() {
    alone!({
        for errno in [libc::EPERM, libc::EINTR, 0] {
            let (mut ours, mut theirs) = Cue::pair();
            let (mut child_ours, child_theirs) = Cue::pair();
            let mut child_theirs = Some(child_theirs);
            let process = Fork::run(|| {
                let (keepalive, setup) = watchdog_pipe::channel().expect("channel");
                let mut keepalive = Some(keepalive);
                let cue = child_theirs.take().expect("the copy");
                let child = Fork::run(|| child_of(&mut keepalive, &setup, cue));
                std::mem::forget(child);
                drop(setup);
                theirs.give();
                theirs.take();
                let refused: Vec<_> = WAYS.iter().map(|call| (*call, errno)).collect();
                seccomp::refuse(&refused);
                theirs.give();
                theirs.take();
                let keepalive = keepalive.expect("the original");
                assert_eq!(keepalive.guarantees(), Guarantees::END_IS_TOLD);
                // Neither is there another one for a later link, nor does an old place come back.
                for _ in 0..3 {
                    let (later, setup) = watchdog_pipe::channel().expect("the pipe alone");
                    assert_eq!(later.guarantees(), Guarantees::END_IS_TOLD);
                    assert_eq!(setup.fds().count(), 1);
                }
                theirs.give();
                theirs.take();
            });
            drop(child_theirs);
            ours.take();
            child_ours.take();
            let thread = sentinel_of(process.pid());
            is_in_state(process.pid(), thread, 'S');
            ours.give();
            ours.take();
            stop_and_continue(&process, thread);
            threads_are(process.pid(), 1);
            ours.give();
            ours.take();
            child_ours.give();
            child_ours.take();
            process.signal(libc::SIGKILL);
            child_ours.take();
        }
    });
}

/// A word that is put back into the charge of a thread that is gone would be nobody's to give back.
#[test]
fn release_that_fails_after_the_end_of_the_sentinel_leaves_the_word_to_nobody() {
    alone!({
        let (mut ours, mut theirs) = Cue::pair();
        let process = Fork::run(|| {
            let (keepalive, setup) = watchdog_pipe::channel().expect("channel");
            let variable = setup.env().1;
            let place = variable
                .split(',')
                .find_map(|field| field.strip_prefix("sentinel="));
            let offset = place
                .and_then(|place| place.split(':').nth(3))
                .expect("an offset");
            let offset = offset.parse().expect("a number");
            let (page, _) = setup.fds().nth(1).expect("the page");
            let page = page.try_clone_to_owned().expect("dup");
            let is_held = || {
                let mut word = [0; 4];
                assert_eq!(
                    rustix::io::pread(&page, &mut word, offset).expect("pread"),
                    4
                );
                u32::from_ne_bytes(word) & libc::FUTEX_TID_MASK != 0
            };
            assert!(is_held());
            // The child is gone: a release fails, and the keepalive comes back.
            drop(setup);
            theirs.give();
            theirs.take();
            let refused: Vec<_> = WAYS.iter().map(|call| (*call, libc::EPERM)).collect();
            seccomp::refuse(&refused);
            theirs.give();
            theirs.take();
            assert!(!is_held());
            let released = keepalive.release();
            assert!(released.is_err());
            assert!(!is_held());
            drop(released);
        });
        ours.take();
        let thread = sentinel_of(process.pid());
        is_in_state(process.pid(), thread, 'S');
        ours.give();
        ours.take();
        stop_and_continue(&process, thread);
        threads_are(process.pid(), 1);
        ours.give();
        process.succeeds();
    });
}

/// What the first link asks the kernel for, and what its sentinel does: all but what the C library
/// insists on itself.
const CALLS: [libc::c_long; 18] = [
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mprotect,
    libc::SYS_madvise,
    libc::SYS_memfd_create,
    libc::SYS_ftruncate,
    libc::SYS_fcntl,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_pipe2,
    libc::SYS_rt_sigprocmask,
    libc::SYS_clone3,
    libc::SYS_set_robust_list,
    libc::SYS_gettid,
    libc::SYS_prctl,
    libc::SYS_sigaltstack,
    libc::SYS_sched_getattr,
    libc::SYS_sched_setattr,
];

/// The exit code of a process that makes its first link with fewer calls.
const NONE_LEFT: i32 = 7;

/// Makes the first link with the `fatal`th of these calls refused; whether there was one.
fn link_with_a_failure(fatal: usize, errno: i32) -> bool {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc::sync_channel;
    /// No call is refused before the link is made, or afterwards.
    const NEVER: usize = 1_000_000;
    static SEEN: AtomicUsize = AtomicUsize::new(NEVER);
    let (give, take) = sync_channel::<Halt>(1);
    std::thread::spawn(move || {
        let halt = take.into_iter().next().expect("a halt");
        while let Some(call) = halt.next() {
            if SEEN.fetch_add(1, Ordering::SeqCst) == fatal {
                call.fail(errno);
            } else {
                call.go_on();
            }
        }
    });
    std::thread::spawn(move || {
        give.send(Halt::at(&CALLS)).expect("give");
        drop(give);
        let before = proc_fs::own_fds().len();
        SEEN.store(0, Ordering::SeqCst);
        let made = watchdog_pipe::channel();
        let seen = SEEN.swap(NEVER, Ordering::SeqCst);
        let whole = match made {
            Ok((keepalive, setup)) => {
                let whole = keepalive.guarantees() == Guarantees::all();
                assert_eq!(setup.fds().count(), 1 + usize::from(whole));
                whole
            }
            Err(error) => {
                assert_eq!(error.raw_os_error(), Some(errno), "{error}");
                false
            }
        };
        // This one, the one that answers, the first one of the process, and the sentinel.
        let own = proc_fs::stat(i32::try_from(std::process::id()).expect("a pid")).expect("stat");
        threads_are(own.pid, 3 + usize::from(whole));
        assert_eq!(proc_fs::own_fds().len(), before + usize::from(whole));
        seen > fatal
    })
    .join()
    .expect("the link is made, or an error is told")
}

#[test]
fn whichever_call_of_the_first_link_fails_its_process_lives_and_nothing_is_left() {
    alone_in_pid_namespace!({
        for errno in [libc::ENOMEM, libc::EPERM, libc::EINVAL] {
            let refused = (0..200).take_while(|fatal| {
                let mut process = Fork::run(|| {
                    if !link_with_a_failure(*fatal, errno) {
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
            eprintln!("{refused} calls refused with {errno}");
            assert!((20..200).contains(&refused), "{refused}");
        }
    });
}

#[test]
fn sentinel_that_is_not_told_its_number_leaves_the_pipe() {
    alone!({
        seccomp::refuse(&[(libc::SYS_gettid, libc::EPERM)]);
        for _ in 0..3 {
            let (keepalive, setup) = watchdog_pipe::channel().expect("the pipe alone");
            assert_eq!(keepalive.guarantees(), Guarantees::END_IS_TOLD);
            assert_eq!(setup.fds().count(), 1);
        }
        threads_are(i32::try_from(std::process::id()).expect("a pid"), 1);
    });
}

/// Its death in the middle of its start is not waited out.
#[test]
fn sentinel_whose_thread_a_filter_kills_leaves_the_pipe() {
    alone!({
        let filter = SeccompFilter::new(
            [(libc::SYS_gettid, Vec::new())].into(),
            SeccompAction::Allow,
            SeccompAction::KillThread,
            std::env::consts::ARCH.try_into().expect("an architecture"),
        );
        let program: BpfProgram = filter.and_then(TryInto::try_into).expect("a filter");
        seccompiler::apply_filter(&program).expect("install the filter");
        for _ in 0..3 {
            let (keepalive, setup) = watchdog_pipe::channel().expect("the pipe alone");
            assert_eq!(keepalive.guarantees(), Guarantees::END_IS_TOLD);
            assert_eq!(setup.fds().count(), 1);
        }
    });
}
