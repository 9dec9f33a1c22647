//! Whom a signal would reach, looked at while its sender waits.

use std::fs;

use crate::notify::Notified;

/// Why a call may signal somebody who is none of the subject's; `None` where it does not. `first`
/// is the subject: all that it has made has a higher number, as no number comes again within a
/// case.
#[must_use]
pub fn reaches_strangers(call: &Notified, first: i32) -> Option<String> {
    let argument = |index: usize| call.arguments[index] as u32 as i32;
    let (target, signal) = match call.number {
        libc::SYS_kill | libc::SYS_rt_sigqueueinfo | libc::SYS_tkill => (argument(0), argument(1)),
        libc::SYS_tgkill | libc::SYS_rt_tgsigqueueinfo => (argument(1), argument(2)),
        libc::SYS_pidfd_send_signal => (pid_behind(call.thread, argument(0))?, argument(1)),
        _ => return None,
    };
    // A question, and no signal.
    if signal == 0 {
        return None;
    }
    // Numbers of a PID namespace below this one name nobody outside of it.
    if namespace_of(call.thread) != namespace_of(1) {
        return None;
    }
    let who = match target {
        0 => return Some("kill(0): the group of its caller".to_owned()),
        -1 => return Some("kill(-1): everybody".to_owned()),
        group @ ..0 => -group,
        pid => pid,
    };
    if who < first {
        return Some(format!("a signal to {target}, a stranger"));
    }
    let by_number = call.number != libc::SYS_pidfd_send_signal;
    let nobody = by_number && target > 0 && fs::metadata(format!("/proc/{who}")).is_err();
    nobody.then(|| format!("a signal to the number {target}, which is nobody's"))
}

/// The process that a pidfd of another process names; `None` once it was reaped.
fn pid_behind(thread: i32, number: i32) -> Option<i32> {
    let info = fs::read_to_string(format!("/proc/{thread}/fdinfo/{number}")).ok()?;
    let line = info.lines().find_map(|line| line.strip_prefix("Pid:"))?;
    line.trim().parse().ok().filter(|pid| *pid > 0)
}

fn namespace_of(pid: i32) -> Option<std::path::PathBuf> {
    fs::read_link(format!("/proc/{pid}/ns/pid")).ok()
}
