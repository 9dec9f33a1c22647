//! What `/proc` and the pidfd say about a process, read while the pidfd holds its number.

use std::fmt;
use std::fs;
use std::io;
use std::os::fd::AsRawFd;
use std::os::fd::{AsFd, BorrowedFd};

use pidfd_watcher::Process;
use rustix::fs::{FsWord, fstat, fstatfs, stat};
use rustix::io::Errno;

/// `PIDFS_MAGIC`: since Linux 6.9 pidfds live in a file system of their own, in which each process
/// has an inode number that is never used again. Before, all of them share one anonymous inode.
const PIDFS_MAGIC: FsWord = 0x5049_4446;

/// What tells one process from all others with its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    /// Clock ticks after boot.
    pub(super) start_time: u64,
    pub(super) pidfs_inode: Option<u64>,
}

/// Reads what there is to see of `process`; `ESRCH` when it was reaped meanwhile.
pub(super) fn observe(process: &Process) -> io::Result<Seen> {
    let pidfd = process.as_fd();
    let pid = shown_pid(pidfd)?;
    let line = fs::read(format!("/proc/{pid}/stat"));
    // Still unreaped, hence the folder was its own all the time that we read there. This comes
    // before a look at the line: of a process reaped in between the file may be gone or a stranger's.
    if shown_pid(pidfd)? != pid {
        return Err(Errno::SRCH.into());
    }
    let start_time = start_time(&line?).ok_or(io::ErrorKind::InvalidData)?;
    Ok(Seen {
        start_time,
        pidfs_inode: pidfs_inode(pidfd)?,
    })
}

/// Whether [`observe`] failed since the process is gone.
pub(super) fn is_reaped(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::SRCH.raw_os_error())
}

/// The number of the process in the PID namespace that this `/proc` shows, whatever ours is: the
/// line `Pid:` of the pidfd's fdinfo, which is -1 once the process was reaped.
fn shown_pid(pidfd: BorrowedFd<'_>) -> io::Result<i32> {
    // thread-self, since "self" is the main thread, whose table is empty once that thread ended.
    let path = format!("/proc/thread-self/fdinfo/{}", pidfd.as_raw_fd());
    let fdinfo = fs::read_to_string(path)?;
    let line = fdinfo.lines().find_map(|line| line.strip_prefix("Pid:"));
    match line.and_then(|number| number.trim().parse().ok()) {
        Some(pid) if pid > 0 => Ok(pid),
        Some(-1) => Err(Errno::SRCH.into()),
        // 0: it lives outside the namespace that /proc shows.
        _ => Err(io::ErrorKind::NotFound.into()),
    }
}

/// Field 22 of a line of `/proc/PID/stat`.
fn start_time(line: &[u8]) -> Option<u64> {
    // The command's name may hold anything, brackets and bytes that are no UTF-8 included: the last
    // bracket closes it, and field 3 follows.
    let name_ends = line.iter().rposition(|&byte| byte == b')')?;
    let rest = std::str::from_utf8(line.get(name_ends + 1..)?).ok()?;
    rest.split_ascii_whitespace().nth(22 - 3)?.parse().ok()
}

fn pidfs_inode(pidfd: BorrowedFd<'_>) -> io::Result<Option<u64>> {
    // On a 32-bit kernel st_ino is half of the number, and halves come again.
    if cfg!(target_pointer_width = "64") && fstatfs(pidfd)?.f_type == PIDFS_MAGIC {
        Ok(Some(fstat(pidfd)?.st_ino))
    } else {
        Ok(None)
    }
}

/// The inode of our own PID namespace, in which we count processes.
pub(super) fn own_pid_namespace() -> io::Result<u64> {
    Ok(stat("/proc/thread-self/ns/pid")?.st_ino)
}

/// The id of this boot: random(4).
pub(super) fn boot_id() -> io::Result<BootId> {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    BootId::parse(text.trim_end()).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// A boot's id: a UUID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct BootId(u128);

impl BootId {
    /// Reads the one way of writing it that the kernel uses, and no other.
    pub(super) fn parse(text: &str) -> Option<BootId> {
        let digits: String = text.chars().filter(|&c| c != '-').collect();
        let id = BootId(u128::from_str_radix(&digits, 16).ok()?);
        (id.to_string() == text).then_some(id)
    }
}

impl fmt::Display for BootId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (id, low) = (self.0, |shift: u32, bits: u32| {
            (self.0 >> shift) & ((1 << bits) - 1)
        });
        let head = id >> 96;
        write!(f, "{head:08x}-{:04x}-{:04x}", low(80, 16), low(64, 16))?;
        write!(f, "-{:04x}-{:012x}", low(48, 16), low(0, 48))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn start_time_is_field_22_whatever_the_command_is_called() {
        let fields: Vec<String> = (4..=52).map(|n| n.to_string()).collect();
        for name in ["sh", "a b", "x) Z 1", "((", "", "\u{fffd}"] {
            let line = format!("77 ({name}) S {}\n", fields.join(" "));
            assert_eq!(start_time(line.as_bytes()), Some(22), "{name:?}");
        }
        assert_eq!(start_time(b"77 (sh) S 1 2"), None);
        assert_eq!(start_time(b""), None);
    }

    #[test]
    fn boot_id_is_written_as_the_kernel_writes_it() {
        let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
        assert_eq!(boot_id().unwrap().to_string(), text.trim_end());
        let zeros = "00000000-0000-0000-0000-00000000000a";
        assert_eq!(BootId::parse(zeros).unwrap().to_string(), zeros);
    }

    #[test]
    fn boot_id_of_another_shape_is_refused() {
        for text in [
            "",
            "268429ef-c8c2-4b1e-b0e1-ed5cf45ddbe",
            "268429ef-c8c2-4b1e-b0e1-ed5cf45ddbe00",
            "268429EF-c8c2-4b1e-b0e1-ed5cf45ddbe0",
            "268429efc8c2-4b1e-b0e1-ed5cf45ddbe0-",
            "+68429ef-c8c2-4b1e-b0e1-ed5cf45ddbe0",
        ] {
            assert_eq!(BootId::parse(text), None, "{text:?}");
        }
    }
}
