//! Reads the line of `/proc/PID/stat` for one process and no other.

use std::fs;
use std::io;
use std::os::fd::BorrowedFd;

use rustix::io::Errno;
use rustix::process::Pid;

use crate::proc_fs::{self, FdPid};
use crate::sys;

/// One field of a line of `/proc/PID/stat`, from the third on: 3 is the state, 22 the start time.
/// See [proc_pid_stat(5)](https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html). `None` if
/// the line has no such field.
///
/// The line comes from [`Process::proc_stat`](crate::Process::proc_stat), or from a process that
/// reads its own.
///
/// Async-signal-safe: it does not allocate, lock or panic.
///
/// ```
/// let line = b"4711 (a name) S 1 4711";
/// assert_eq!(pidfd_watcher::proc_stat_field(line, 3), Some("S"));
/// assert_eq!(pidfd_watcher::proc_stat_field(line, 4), Some("1"));
/// ```
#[must_use]
pub fn proc_stat_field(line: &[u8], number: usize) -> Option<&str> {
    // The command's name may contain anything, including brackets and bytes that are no UTF-8. The
    // last bracket closes it, and field 3 follows.
    let name_ends = line.iter().rposition(|&byte| byte == b')')?;
    let rest = std::str::from_utf8(line.get(name_ends + 1..)?).ok()?;
    rest.split_ascii_whitespace().nth(number.checked_sub(3)?)
}

/// The line of the process behind `pidfd`, whose pid in our PID namespace is `pid`. Errors: see
/// [`Process::proc_stat`](crate::Process::proc_stat).
pub(crate) fn read(pidfd: BorrowedFd<'_>, pid: Pid) -> io::Result<Vec<u8>> {
    let number = || match number(pidfd) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            own_number(pidfd, pid, error)
        }
        number => number,
    };
    while_unreaped(number, |number| fs::read(format!("/proc/{number}/stat")))?
}

/// The wait status of a zombie that this process cannot wait for. `None` if it is not known for
/// certain.
///
/// Call it only once the pidfd is readable. Before that, the status of a first thread that ended
/// early could be mistaken for that of the process.
pub(crate) fn zombie_status(pidfd: BorrowedFd<'_>) -> Option<i32> {
    let look = |number| {
        let status = exit_code(&fs::read(format!("/proc/{number}/stat")).ok()?)?;
        // Without permission to trace the process, field 52 reads 0, and so does an exit with 0.
        // The owner of the process does not decide it: if a process changed its ids, it reads 0
        // even for its own owner. But reading this link asks the kernel for exactly the same
        // permission (PTRACE_MODE_READ_FSCREDS).
        if status == 0 && fs::read_link(format!("/proc/{number}/ns/pid")).is_err() {
            return None;
        }
        Some(status)
    };
    while_unreaped(|| number(pidfd), look).ok()?
}

/// Reads something from the folder of a process in `/proc`, by its pid there. `ESRCH`: the process
/// was reaped meanwhile, so the folder may be gone, or belong to a stranger.
fn while_unreaped<T>(
    number: impl Fn() -> io::Result<i32>,
    look: impl FnOnce(i32) -> T,
) -> io::Result<T> {
    let before = number()?;
    let seen = look(before);
    // The process is still unreaped, so the folder was its own all the time.
    if number()? == before {
        Ok(seen)
    } else {
        Err(Errno::SRCH.into())
    }
}

/// The pid of the process in the PID namespace that this `/proc` shows, whichever namespace ours
/// is. `ESRCH` once it was reaped.
fn number(pidfd: BorrowedFd<'_>) -> io::Result<i32> {
    match proc_fs::fd_pid(pidfd)? {
        FdPid::Held(number) => Ok(number),
        FdPid::Reaped => Err(Errno::SRCH.into()),
        FdPid::Outside => Err(io::ErrorKind::NotFound.into()),
    }
}

/// The same without fdinfo. A process that gave up privileges since its exec is not dumpable. Older
/// kernels then refuse it its own fdinfo, which belongs to root.
fn own_number(pidfd: BorrowedFd<'_>, pid: Pid, denied: io::Error) -> io::Result<i32> {
    if !proc_fs::shows_our_pid_namespace() {
        return Err(denied);
    }
    sys::check_unreaped(pidfd)?;
    Ok(pid.as_raw_nonzero().get())
}

/// Field 52 of a line, if field 3 says that the process is dead.
fn exit_code(line: &[u8]) -> Option<i32> {
    // X: it is being reaped at this moment.
    if !matches!(proc_stat_field(line, 3)?, "Z" | "X") {
        return None;
    }
    proc_stat_field(line, 52)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fields 4 to 51 contain their own number. The state and field 52 come from the caller.
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
    fn field_is_found_whatever_the_command_is_called() {
        let fields: Vec<String> = (4..=52).map(|n| n.to_string()).collect();
        for name in ["sh", "a b", "x) Z 1", "((", "", "\u{fffd}"] {
            let line = format!("77 ({name}) S {}\n", fields.join(" "));
            for number in [4, 9, 22, 52] {
                let found = proc_stat_field(line.as_bytes(), number);
                assert_eq!(found, Some(number.to_string().as_str()), "{name:?}");
            }
        }
        assert_eq!(proc_stat_field(b"77 (sh) S 1 2", 22), None);
        assert_eq!(proc_stat_field(b"", 22), None);
        assert_eq!(proc_stat_field(b"77 (sh) S 1 2", 0), None);
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
