//! The system calls that the shim cannot do without.

use std::os::fd::AsFd;

use pidfd_watcher::Process;
use rustix::event::{Timespec, poll};
use rustix::io::Errno;
use rustix::process::test_kill_process;

use crate::failure::Failure;
use crate::sys;

/// Tries each call. A filter that refuses one is so found before anything was started.
///
/// The first three are all that the shim waits by. A loop over a wait that fails would burn
/// a processor, and a keeper that takes a refusal for an end would end the tree. A shim that cannot
/// signal anybody would never end the tree. If nothing could be closed, no pipe and no socket would
/// ever end, and std would panic after it has listed a folder.
pub(crate) fn check() -> Result<(), Failure> {
    sys::monotonic_nanoseconds().map_err(|error| Failure::io("clock_gettime(2)", &error))?;
    poll(&mut [], Some(&Timespec::default()))
        .map_err(|errno| Failure::io("poll(2)", &errno.into()))?;
    match sys::peek_state_change() {
        Ok(_) | Err(Errno::CHILD) => {}
        Err(errno) => return Err(Failure::io("waitid(2)", &errno.into())),
    }
    let own = sys::own_pid().map_err(|error| Failure::io("getpid(2)", &error))?;
    test_kill_process(own).map_err(|errno| Failure::io("kill(2)", &errno.into()))?;
    let own = Process::open(own).map_err(|error| Failure::io("pidfd_open(2)", &error.into()))?;
    sys::can_signal(own.as_fd()).map_err(|error| Failure::io("pidfd_send_signal(2)", &error))?;
    sys::try_close().map_err(|error| Failure::io("close(2)", &error))
}
