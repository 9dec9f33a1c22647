//! Cases of `Process` in a PID namespace of its own. Each runs in a process of its own.

use std::os::fd::AsFd;
use std::process::{Command, ExitCode, ExitStatus};

use pidfd_watcher::{Error, Pid, Process, Signal};
use shim_spawner::{AdoptError, ShimIdentity};
use workspace_tests::namespace::{few_numbers, kernel, mount_proc, run_inside};
use workspace_tests::scenario::{self, Scenario};
use workspace_tests::target::{grandchild, sleeper};
use workspace_tests::{DEADLINE, proc_fs, seccomp, until};

const SCENARIOS: &[Scenario] = &[
    ("pid-reuse", || inside("pid-reuse-inside")),
    ("pid-reuse-inside", pid_reuse),
    ("other-namespace", || inside("other-namespace-inside")),
    ("other-namespace-inside", other_namespace),
    ("others-proc", || inside("others-proc-inside")),
    ("others-proc-inside", others_proc),
];

fn main() -> ExitCode {
    scenario::run(SCENARIOS)
}

/// Runs `case` as pid 1, and tells it the identity of this process.
fn inside(case: &str) {
    let outer = Process::open(Pid::from_raw(std::process::id().cast_signed()).expect("own pid"))
        .and_then(|own| {
            ShimIdentity::of(&own).map_err(|_| Error::Io(std::io::ErrorKind::Other.into()))
        })
        .expect("identity of this process");
    let mut command = Command::new(std::env::current_exe().expect("own path"));
    run_inside(command.arg(case).env("OUTER_IDENTITY", outer.to_string()));
}

fn ended(process: &Process) -> Option<ExitStatus> {
    process
        .wait_timeout(DEADLINE)
        .expect("poll")
        .expect("ends before the deadline")
        .status
}

/// The number of a dead process goes to another: nothing of ours hits the newcomer.
fn pid_reuse() {
    mount_proc();
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
    assert!(matches!(ShimIdentity::of(&unseen), Err(e) if e.raw_os_error() == Some(libc::ESRCH)));
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
}

/// An identity counts in the namespace in which it was made.
fn other_namespace() {
    mount_proc();
    let outer: ShimIdentity = std::env::var("OUTER_IDENTITY")
        .expect("set")
        .parse()
        .expect("an identity");
    assert!(matches!(outer.open(), Err(AdoptError::OtherNamespace)));
    let own = Process::open(Pid::INIT).expect("own process");
    let inner = ShimIdentity::of(&own).expect("identity");
    assert_eq!(inner.pid(), Pid::INIT);
    inner.open().expect("the same process");
}

/// /proc shows the namespace outside: its numbers are not ours, and what it says of a pidfd names nobody here.
fn others_proc() {
    let child = sleeper();
    let process = Process::open(Pid::from_child(&child)).expect("own child");
    let lent = |process: &Process| process.as_fd().try_clone_to_owned().expect("dup");
    let again = Process::from_pidfd(lent(&process)).expect("PIDFD_GET_INFO names it");
    assert_eq!(again.pid(), process.pid());
    seccomp::refuse(&[(libc::SYS_ioctl, libc::ENOTTY)]);
    let error = Process::from_pidfd(lent(&process)).expect_err("nobody names it here");
    assert!(matches!(error, Error::Unsupported(_)), "{error}");
    assert_eq!(process.try_wait().expect("poll"), None);
}
