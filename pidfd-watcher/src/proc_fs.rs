//! What `/proc` says about the process behind a pidfd.
//!
//! `/proc` may be missing, hide other people's processes (`hidepid`), or show another PID namespace
//! than ours. The number in a pidfd's fdinfo is that of the namespace this `/proc` shows, so it names
//! the right folder there whatever our own namespace calls the process.

use std::ffi::OsStr;
use std::fs;
use std::os::fd::{AsRawFd, BorrowedFd};

use crate::sys;

/// The line `Pid:` of a pidfd's fdinfo.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FdPid {
    /// Alive or a zombie: the number is taken by this process and no other.
    Held(i32),
    /// Reaped.
    Reaped,
    /// Lives outside the PID namespace that `/proc` shows.
    Outside,
}

/// Reads the number of the process behind `pidfd`; `None` when `/proc` is not there, or the
/// descriptor is no pidfd: no other kind of file has that line.
///
/// See [proc_pid_fdinfo(5)](https://man7.org/linux/man-pages/man5/proc_pid_fdinfo.5.html).
pub(crate) fn fd_pid(pidfd: BorrowedFd<'_>) -> Option<FdPid> {
    // thread-self, since "self" is the main thread, whose table is empty once that thread ended.
    let path = format!("/proc/thread-self/fdinfo/{}", pidfd.as_raw_fd());
    let fdinfo = fs::read_to_string(path).ok()?;
    let number = fdinfo.lines().find_map(|line| line.strip_prefix("Pid:"))?;
    Some(match number.trim().parse().ok()? {
        -1 => FdPid::Reaped,
        pid if pid > 0 => FdPid::Held(pid),
        _ => FdPid::Outside,
    })
}

/// Whether `/proc` counts as we do: it shows our own PID namespace. No, where our own number is not to be had.
pub(crate) fn counts_as_we_do() -> bool {
    let shown = fs::read_link("/proc/self").ok();
    let ours = sys::own_pid().map(|pid| pid.to_string());
    shown.is_some_and(|shown| Some(shown.as_os_str()) == ours.as_deref().map(OsStr::new))
}

/// The wait status of a zombie that is not ours to wait for; `None` when it is not known for certain.
///
/// Call it only once the pidfd is readable: before that, the status of a leading thread that ended
/// early could be taken for that of the process.
pub(crate) fn zombie_status(pidfd: BorrowedFd<'_>) -> Option<i32> {
    let FdPid::Held(pid) = fd_pid(pidfd)? else {
        return None;
    };
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    let status = exit_code(&stat)?;
    // Without permission to trace the process, field 52 reads 0, and so does an exit with 0. Who
    // owns the process does not settle it (a process that changed its ids reads 0 for its own
    // owner); this link asks the kernel for the very same permission (PTRACE_MODE_READ_FSCREDS).
    if status == 0 && fs::read_link(format!("/proc/{pid}/ns/pid")).is_err() {
        return None;
    }
    // Still unreaped, hence all that was read in between was read of this process.
    (fd_pid(pidfd)? == FdPid::Held(pid)).then_some(status)
}

/// Field 52 of a line of `/proc/PID/stat`, when field 3 says that the process is dead.
///
/// See [proc_pid_stat(5)](https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html).
fn exit_code(stat: &[u8]) -> Option<i32> {
    // The command's name may hold spaces, brackets and bytes that are no UTF-8: the last bracket
    // closes it, and field 3 follows.
    let name_ends = stat.iter().rposition(|&byte| byte == b')')?;
    let rest = std::str::from_utf8(stat.get(name_ends + 1..)?).ok()?;
    let mut fields = rest.split_ascii_whitespace();
    // X: being reaped at this moment.
    if !matches!(fields.next()?, "Z" | "X") {
        return None;
    }
    fields.nth(52 - 4)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fields 4 to 51 count from 4; the state and field 52 are the caller's.
    fn line(name: &str, state: char, last: &str) -> Vec<u8> {
        let middle: Vec<String> = (4..52).map(|n| n.to_string()).collect();
        format!("77 ({name}) {state} {} {last}\n", middle.join(" ")).into_bytes()
    }

    #[test]
    fn exit_code_is_field_52_whatever_the_command_is_called() {
        for name in ["sh", "a b", "x) Z 1", "((", ""] {
            assert_eq!(exit_code(&line(name, 'Z', "1792")), Some(1792), "{name:?}");
        }
        let mut odd = b"77 (\xff\xfe)".to_vec();
        odd.extend_from_slice(&line("", 'X', "9")[5..]);
        assert_eq!(exit_code(&odd), Some(9));
    }

    #[test]
    fn exit_code_of_a_process_that_runs_is_not_read() {
        for state in ['R', 'S', 'D', 'T', 't', 'I'] {
            assert_eq!(exit_code(&line("sh", state, "0")), None);
        }
    }

    #[test]
    fn damaged_lines_give_nothing() {
        let whole = line("sh", 'Z', "256");
        for cut in 0..whole.len() - 5 {
            assert_eq!(exit_code(&whole[..cut]), None, "cut at {cut}");
        }
        assert_eq!(exit_code(&line("sh", 'Z', "x")), None);
        assert_eq!(exit_code(&line("sh", 'Z', "99999999999")), None);
    }
}
