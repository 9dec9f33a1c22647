//! What protects the processes of the shim, from COMMAND and from a lack of memory.

use std::fs::OpenOptions;
use std::io::Write;

use rustix::process::{
    DumpableBehavior, Pid, Signal, WaitId, WaitIdOptions, kill_process, set_dumpable_behavior,
    waitid,
};

use crate::sys;

/// Makes this process not dumpable.
///
/// COMMAND may have the same user. It cannot trace a process that is not dumpable, read its memory
/// or open its descriptors, unless it has `CAP_SYS_PTRACE`. The next exec, which is COMMAND's,
/// makes its own process dumpable again.
pub(crate) fn hide() {
    // The kernel accepts every valid value. If a filter refuses, only this protection is missing.
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
}

/// Asks the kernel not to choose this process when memory runs out. Also raises the limit on
/// descriptors, so that a sweep has room for its pidfds. Both may be refused.
pub(crate) fn take_resources() {
    if let Ok(mut file) = OpenOptions::new()
        .write(true)
        .open("/proc/self/oom_score_adj")
    {
        let _ = file.write_all(b"-900");
    }
    sys::raise_descriptor_limit();
}

/// Continues a child that is a process of the shim.
///
/// COMMAND may run as the same user. Then it can stop a process of the shim, to put off its own
/// end. The child has not been reaped, so nobody else has its number.
pub(crate) fn continue_if_stopped(child: Pid) {
    let stopped = WaitIdOptions::STOPPED | WaitIdOptions::NOHANG;
    if let Ok(Some(status)) = waitid(WaitId::Pid(child), stopped)
        && status.stopped()
    {
        let _ = kill_process(child, Signal::CONT);
    }
}
