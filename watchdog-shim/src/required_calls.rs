//! The system calls that the shim cannot do without.

use std::os::fd::AsFd;

use pidfd_watcher::Process;
use rustix::event::{Timespec, poll};
use rustix::io::Errno;
use rustix::process::test_kill_process;

use crate::failure::Failure;
use crate::sys;

/// Tries each call, so that a filter that refuses one is found before anything is started.
///
/// Why each is needed:
/// - The clock, poll(2) and waitid(2): the shim waits only with these. If a wait always failed, its
///   loop would run without a pause.
/// - getpid(2), kill(2) and the two calls on pidfds: they send signals. Without them the shim could
///   not end the tree.
/// - close(2): without it no pipe and no socket would ever report an end, and std would panic after
///   it has listed a folder.
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
    let (read, _write) = sys::pipe().map_err(|error| Failure::io("no pipe can be made", &error))?;
    sys::close(read).map_err(|error| Failure::io("close(2)", &error))
}
