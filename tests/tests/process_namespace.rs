//! `Process` in a PID namespace of its own.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::thread;

use pidfd_watcher::{Error, Pid, Process, Signal};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use shim_spawner::{AdoptError, ShimHandler, ShimIdentity, ShimSpawner, Stdio};
use workspace_tests::fork::Fork;
use workspace_tests::namespace::{few_numbers, kernel, mount_empty_proc};
use workspace_tests::orders::Order;
use workspace_tests::target::{grandchild, sleeper, target};
use workspace_tests::{Guard, alone, alone_in_pid_namespace, proc_fs, seccomp, time_limit, until};

fn ended(process: &Process) -> Option<ExitStatus> {
    process
        .wait_timeout(time_limit())
        .expect("poll")
        .expect("ends before the deadline")
        .status
}

/// The number of a dead process goes to another: nothing of ours hits the newcomer.
#[test]
fn newcomer_with_a_recycled_number_is_never_hit_nor_adopted() {
    alone_in_pid_namespace!({
        if !few_numbers() {
            return;
        }
        // Once round, numbers start again at 300 (RESERVED_PIDS in kernel/pid.c), not at 1.
        until("numbers that come again", || {
            (sleeper().id() > 300).then_some(())
        });

        let (mut dead, mut stranger) = (sleeper(), sleeper());
        let process = Process::from_child(&mut dead).expect("own child");
        let unseen = Process::open(process.pid()).expect("own child");
        let lent = Process::from_child(&mut stranger).expect("own child");
        assert!(lent.try_wait().expect("poll").is_none());
        let saved = ShimIdentity::of(&process).expect("identity");
        dead.stdin = None;
        dead.wait_deadline();
        assert!(matches!(saved.open(), Err(AdoptError::Gone)));

        let mut newcomer = until("number comes round", || {
            let child = sleeper();
            (child.id() == dead.id()).then_some(child)
        });
        let number = newcomer.id().cast_signed();
        for process in [&process, &unseen] {
            let error = process
                .send_signal(Signal::KILL)
                .expect_err("its process is gone");
            assert!(matches!(error, Error::NotFound(_)), "{error}");
            let status = ended(process);
            assert_eq!(
                status.and_then(|status| status.code()),
                (kernel() >= (6, 15)).then_some(7)
            );
        }
        let failed = process.reap().expect_err("its process is gone");
        assert!(matches!(failed.error, Error::NotChild(_)), "{failed}");
        assert!(
            matches!(ShimIdentity::of(&unseen), Err(e) if e.raw_os_error() == Some(libc::ESRCH))
        );
        assert!(
            matches!(saved.open(), Err(AdoptError::PidReused)),
            "a stranger has the number"
        );
        assert!(proc_fs::is_running(number), "the newcomer was left alone");
        newcomer.stdin = None;
        assert_eq!(newcomer.wait_deadline().code(), Some(7));

        // The number goes to one who is no child of ours: then the Child is seen to be outdated.
        let mut odd = false;
        let (_parent, stranger) = until("number comes round", || {
            // A round takes two numbers, or three: not always the odd ones.
            odd = !odd;
            let _one_more = odd.then(sleeper);
            let (parent, process) = grandchild(7);
            (process.pid().as_raw_nonzero().get() == number).then_some((parent, process))
        });
        let error = Process::from_child(&mut dead).expect_err("no child of ours has the number");
        assert!(matches!(error, Error::NotChild(_)), "{error}");
        assert_eq!(error.raw_os_error(), Some(libc::ECHILD));
        assert_eq!(stranger.try_wait().expect("poll"), None);
    });
}

/// An identity counts in the namespace in which it was made.
#[test]
fn identity_of_another_pid_namespace_is_refused() {
    let outer = Process::open(Pid::from_raw(std::process::id().cast_signed()).expect("own pid"));
    let outer = ShimIdentity::of(&outer.expect("this process")).expect("its identity");
    alone_in_pid_namespace!({
        assert!(matches!(outer.open(), Err(AdoptError::OtherNamespace)));
        let own = Process::open(Pid::INIT).expect("own process");
        let inner = ShimIdentity::of(&own).expect("identity");
        assert_eq!(inner.pid(), Pid::INIT);
        inner.open().expect("the same process");
    });
}

/// /proc shows the namespace outside: its numbers are not ours, and what it says of a pidfd names
/// nobody here.
#[test]
fn pidfd_whose_number_only_anothers_proc_tells_is_refused() {
    alone!({
        // SAFETY: a plain number; this process has one thread, and its next child is pid 1 there.
        if unsafe { libc::unshare(libc::CLONE_NEWPID) } != 0 {
            let error = std::io::Error::last_os_error();
            eprintln!("skipped: no PID namespace to be had here: {error}");
            return;
        }
        Fork::run(|| {
            let child = sleeper();
            let process = Process::open(Pid::from_child(&child)).expect("own child");
            let lent = |process: &Process| process.as_fd().try_clone_to_owned().expect("dup");
            if kernel_names_pidfds(&process) {
                let again = Process::from_pidfd(lent(&process)).expect("PIDFD_GET_INFO names it");
                assert_eq!(again.pid(), process.pid());
            } else {
                eprintln!(
                    "skipped: this kernel has no PIDFD_GET_INFO (Linux 6.13) to name a process by"
                );
            }
            seccomp::refuse(&[(libc::SYS_ioctl, libc::ENOTTY)]);
            let error = Process::from_pidfd(lent(&process)).expect_err("nobody names it here");
            assert!(matches!(error, Error::Unsupported(_)), "{error}");
            assert_eq!(process.try_wait().expect("poll"), None);
        })
        .succeeds();
    });
}

/// Whether the kernel has PIDFD_GET_INFO: asked, since a version says nothing of what was ported
/// back.
fn kernel_names_pidfds(process: &Process) -> bool {
    const PIDFD_INFO_PID: u64 = 1;
    // `struct pidfd_info` as Linux 6.13 had it: 64 bytes, of which the first eight are the mask.
    let mut info = [0_u64; 8];
    info[0] = PIDFD_INFO_PID;
    // _IOWR(0xFF, 11, struct pidfd_info)
    let number = (3 << 30) | (64 << 16) | (0xFF << 8) | 11;
    // SAFETY: the kernel reads and writes the 64 bytes that the number of the call stands for.
    let answer = unsafe { libc::ioctl(process.as_fd().as_raw_fd(), number, info.as_mut_ptr()) };
    answer == 0
}

/// A child that ends with 7 when its standard input closes, in the process group with this number;
/// 0: its own.
fn sleeper_in(group: i32) -> Guard {
    Guard::spawn(target(&Order::ExitAtEof { code: 7 }).process_group(group))
}

/// No signal has come: one that waits to be taken would end it before it can see the end of its
/// input.
#[track_caller]
fn is_unharmed(mut child: Guard) {
    child.stdin = None;
    assert_eq!(child.wait_deadline().code(), Some(7));
}

/// A shim that leads a process group of its own, and ends when its standard input closes.
fn leader() -> ShimHandler {
    let mut spawner = ShimSpawner::new(env!("CARGO_BIN_EXE_proc_target"));
    spawner
        .arg(Order::ExitAtEof { code: 7 }.argument())
        .stdin(Stdio::piped());
    ShimHandler::new(spawner.spawn().expect("spawn"))
}

/// Everything that signals, of a shim that is no more.
fn stop_in_every_way(mut shim: ShimHandler) {
    shim.kill().expect("gone, which is no error");
    let _ = shim.stop().expect("gone, which is no error");
    shim.try_wait().expect("poll").expect("gone");
    for signal in [Signal::TERM, Signal::KILL] {
        let error = shim.process().send_signal(signal).expect_err("reaped");
        assert!(matches!(error, Error::NotFound(_)), "{error}");
    }
    drop(shim);
}

/// The leader was reaped, and its number came round: the group of a stranger is not signalled.
#[test]
fn group_with_the_number_of_a_reaped_leader_is_not_signalled() {
    alone_in_pid_namespace!({
        if !few_numbers() {
            return;
        }
        until("numbers that come again", || {
            (sleeper().id() > 300).then_some(())
        });
        let mut shim = leader();
        let number = shim.pid().as_raw_nonzero().get();
        drop(shim.take_stdin());
        // By another handle: that of the shim has not learned of it.
        let other = Process::open(shim.pid()).expect("own child");
        ended(&other);
        other.reap().expect("own child");
        let newcomer = until("number comes round", || {
            let child = sleeper_in(0);
            (child.id().cast_signed() == number).then_some(child)
        });
        let member = sleeper_in(number);
        stop_in_every_way(shim);
        is_unharmed(newcomer);
        is_unharmed(member);
    });
}

/// Waits until somebody reads the FIFO, and tells him this once it was reaped.
fn say(fifo: &Path, reaped: Option<&mut Guard>, text: &str) {
    let mut fifo = OpenOptions::new().write(true).open(fifo).expect("a FIFO");
    if let Some(child) = reaped {
        child.wait_deadline();
    }
    fifo.write_all(text.as_bytes()).expect("somebody reads");
}

fn fifo(path: PathBuf) -> PathBuf {
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("tmpfs");
    mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("mknod");
    path
}

/// A zombie is reaped between two looks at it. /proc is a stand-in of FIFOs, whose reader waits for
/// what it is told, so that the reaping comes at the moment that is meant.
#[test]
fn status_of_a_zombie_that_is_reaped_while_it_is_looked_at_is_its_own() {
    alone_in_pid_namespace!({
        let (mut first, mut second) = (sleeper(), sleeper());
        let process = Process::from_child(&mut first).expect("own child");
        let later = Process::from_child(&mut second).expect("own child");
        mount_empty_proc();
        // Nobody asks /proc about an own child, unless waitid is refused; wait4, by which it is
        // reaped here, is not.
        seccomp::refuse(&[(libc::SYS_waitid, libc::EPERM)]);
        let code = (kernel() >= (6, 15)).then_some(7);
        let fdinfo = |process: &Process| {
            let number = process.as_fd().as_raw_fd();
            fifo(format!("/proc/thread-self/fdinfo/{number}").into())
        };

        // The pidfd knew no status yet, and /proc knows none any more: the pidfd is asked once
        // more.
        let link = fdinfo(&process);
        first.stdin = None;
        let teller = thread::spawn(move || say(&link, Some(&mut first), "Pid:\t-1\n"));
        assert_eq!(ended(&process).and_then(|status| status.code()), code);
        teller.join().expect("told");

        // The number, once read, has gone to another, who is dead as well.
        let pid = later.pid().as_raw_nonzero();
        let (link, stat) = (fdinfo(&later), fifo(format!("/proc/{pid}/stat").into()));
        second.stdin = None;
        let teller = thread::spawn(move || {
            say(&link, None, &format!("Pid:\t{pid}\n"));
            let middle = " 1".repeat(48);
            let newcomer = format!("{pid} (newcomer) Z{middle} {}\n", 9 << 8);
            say(&stat, Some(&mut second), &newcomer);
            say(&link, None, "Pid:\t-1\n");
        });
        assert_eq!(ended(&later).and_then(|status| status.code()), code);
        teller.join().expect("told");
    });
}
