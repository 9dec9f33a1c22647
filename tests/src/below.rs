//! A shim that a test talks to, and everybody below it. For a test that is pid 1 of a PID namespace
//! of its own ([`alone_in_pid_namespace!`](crate::alone_in_pid_namespace)).

use pidfd_watcher::{Pid, Process, Signal};

use crate::{Dialogue, proc_fs, until};

/// The number of OUTER.
///
/// # Panics
/// Where it is none.
pub fn pid_of(shim: &mut Dialogue) -> i32 {
    i32::try_from(shim.child().id()).expect("a pid")
}

/// A handle on a process that lives.
///
/// # Panics
/// Where it does not.
#[must_use]
pub fn open(pid: i32) -> Process {
    Process::open(Pid::from_raw(pid).expect("a pid")).expect("it lives")
}

/// Asks the shim to end.
///
/// # Panics
/// Where it has ended.
pub fn term(shim: &mut Dialogue) {
    open(pid_of(shim)).send_signal(Signal::TERM).expect("send");
}

/// OUTER, STANDBY and INNER, where COMMAND runs.
///
/// # Panics
/// Where it does not.
pub fn three(shim: &mut Dialogue) -> [i32; 3] {
    let outer = pid_of(shim);
    let below = |pid| proc_fs::children_of(pid)[0].pid;
    let standby = below(outer);
    [outer, standby, below(standby)]
}

/// Everybody but this process, zombies left out.
#[must_use]
pub fn living() -> Vec<i32> {
    let mut all = proc_fs::all();
    all.retain(|stat| stat.pid != 1 && !matches!(stat.state, 'Z' | 'X'));
    all.into_iter().map(|stat| stat.pid).collect()
}

/// Waits until this process is alone.
pub fn nobody_is_left() {
    until("nobody is left", || living().is_empty().then_some(()));
}

/// COMMAND says `ready`, is asked to end, and nobody is left.
///
/// # Panics
/// Where COMMAND says something else, or somebody is left.
pub fn ends(mut shim: Dialogue) {
    assert_eq!(shim.hear(), "ready");
    term(&mut shim);
    shim.child().wait_deadline();
    nobody_is_left();
}
