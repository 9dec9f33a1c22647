//! What `/proc` says of the process behind a pidfd.
//!
//! `/proc` may be missing, hide other users' processes (`hidepid`), or show another PID namespace
//! than ours.

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd};

use pidfd_watcher::Process;
use rustix::io::Errno;

use crate::sys;

/// The line of `/proc/PID/stat` of `process` and no other. It needs no permission to trace or to
/// signal it.
///
/// # Errors
/// `ESRCH`: the process was reaped. `NotFound`, `PermissionDenied`: `/proc` is missing or hides the
/// process.
pub(crate) fn stat_line(process: &Process) -> io::Result<Vec<u8>> {
    let pid = number(process)?;
    let line = fs::read(format!("/proc/{pid}/stat"));
    // Still unreaped, hence the folder was its own all the time that we read there. This comes
    // before a look at the line: of a process reaped in between the file may be gone or a
    // stranger's.
    if number(process)? != pid {
        return Err(Errno::SRCH.into());
    }
    line
}

/// A numeric field of a line of `/proc/PID/stat`, from the fourth on; see
/// [proc_pid_stat(5)](https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html).
///
/// Async-signal-safe.
pub(crate) fn field(line: &[u8], number: usize) -> Option<u64> {
    // The command's name may hold anything, brackets and bytes that are no UTF-8 included: the last
    // bracket closes it, and field 3 follows.
    let name_ends = line.iter().rposition(|&byte| byte == b')')?;
    let rest = std::str::from_utf8(line.get(name_ends + 1..)?).ok()?;
    let mut fields = rest.split_ascii_whitespace();
    fields.nth(number.checked_sub(3)?)?.parse().ok()
}

/// The number of the process in the PID namespace that this `/proc` shows, whatever ours is;
/// `ESRCH` once it was reaped.
fn number(process: &Process) -> io::Result<i32> {
    // thread-self, since "self" is the main thread, whose table is empty once that thread ended.
    let path = format!("/proc/thread-self/fdinfo/{}", process.as_fd().as_raw_fd());
    let fdinfo = match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            return own_number(process, error);
        }
        read => read?,
    };
    let line = fdinfo.lines().find_map(|line| line.strip_prefix("Pid:"));
    match line.and_then(|number| number.trim().parse().ok()) {
        Some(pid) if pid > 0 => Ok(pid),
        Some(-1) => Err(Errno::SRCH.into()),
        // 0: it lives outside the namespace that /proc shows.
        _ => Err(io::ErrorKind::NotFound.into()),
    }
}

/// The same without fdinfo. A process that gave up privileges since its exec is not dumpable, and
/// older kernels refuse it its own fdinfo then, which belongs to root.
fn own_number(process: &Process, denied: io::Error) -> io::Result<i32> {
    // That handle's number counts in our namespace, so /proc has to show the same one.
    let own = sys::own_pid()?.as_raw_nonzero().to_string();
    if fs::read_link("/proc/self")?.as_os_str() != own.as_str() {
        return Err(denied);
    }
    sys::check_unreaped(process.as_fd())?;
    Ok(process.pid().as_raw_nonzero().get())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn field_is_found_whatever_the_command_is_called() {
        let fields: Vec<String> = (4..=52).map(|n| n.to_string()).collect();
        for name in ["sh", "a b", "x) Z 1", "((", "", "\u{fffd}"] {
            let line = format!("77 ({name}) S {}\n", fields.join(" "));
            for number in [4, 9, 22, 52] {
                let found = field(line.as_bytes(), number);
                assert_eq!(found, u64::try_from(number).ok(), "{name:?}");
            }
        }
        assert_eq!(field(b"77 (sh) S 1 2", 22), None);
        assert_eq!(field(b"", 22), None);
        assert_eq!(field(b"77 (sh) S 1 2", 0), None);
    }
}
