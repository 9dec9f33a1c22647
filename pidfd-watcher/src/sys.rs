//! System calls that rustix does not wrap, and all unsafe code outside `child.rs` and `child/`.

mod errno;
mod fork_generation;
mod published;
mod signals;
mod thread;
mod threads;
mod usage;

use std::mem::{MaybeUninit, offset_of, size_of};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;
use std::time::Duration;

use rustix::io::Errno;
use rustix::ioctl::{Opcode, Updater, ioctl, opcode};

pub(crate) use errno::errno;
pub(crate) use fork_generation::ForkGeneration;
pub(crate) use published::Published;
pub(crate) use signals::BlockedSignals;
pub(crate) use thread::RawThread;
pub(crate) use threads::{gettid, thread_exists};
pub(crate) use usage::{End, RawUsage, collect_with_usage};

/// `struct pidfd_info` as in Linux 6.13 (`PIDFD_INFO_SIZE_VER0`). Its size is part of the ioctl's
/// number, and a newer kernel copies no more than that size.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct PidfdInfo {
    /// On input what is asked for, on output what was answered.
    pub(crate) mask: u64,
    cgroupid: u64,
    pid: u32,
    /// The process id in the caller's PID namespace.
    pub(crate) tgid: u32,
    ppid: u32,
    /// Real, effective, saved and file-system ids: a pair of user and group for each.
    creds: [u32; 8],
    /// The wait status. Named `spare0` before Linux 6.15.
    pub(crate) exit_code: i32,
}

// The layout is shared with the kernel: include/uapi/linux/pidfd.h.
const _: () = {
    assert!(size_of::<PidfdInfo>() == 64);
    assert!(offset_of!(PidfdInfo, cgroupid) == 8);
    assert!(offset_of!(PidfdInfo, pid) == 16);
    assert!(offset_of!(PidfdInfo, tgid) == 20);
    assert!(offset_of!(PidfdInfo, ppid) == 24);
    assert!(offset_of!(PidfdInfo, creds) == 28);
    assert!(offset_of!(PidfdInfo, exit_code) == 60);
};

/// `PIDFD_INFO_PID`: the ids are filled in. A live process always answers this, even if it was not
/// asked for.
pub(crate) const INFO_PID: u64 = 1 << 0;
/// `PIDFD_INFO_EXIT`: the exit status of a reaped process is filled in (Linux 6.15).
pub(crate) const INFO_EXIT: u64 = 1 << 3;

const PIDFD_GET_INFO: Opcode = opcode::read_write::<PidfdInfo>(0xFF, 11);

/// Asks the kernel about the process behind `pidfd`. Check the mask of the answer: what an older
/// kernel does not know, and what is not there yet, is missing there and zero in its field.
///
/// Issue it on pidfds only: the same number means something else to another kind of file.
pub(crate) fn info(pidfd: BorrowedFd<'_>, mask: u64) -> Result<PidfdInfo, Errno> {
    let mut info = PidfdInfo {
        mask,
        ..PidfdInfo::default()
    };
    // SAFETY: PIDFD_GET_INFO reads and writes exactly the structure whose size its number contains.
    // That is `PidfdInfo`, whose layout is asserted above. It consists of plain integers, for which
    // any bytes are valid. A file that does not know the number returns ENOTTY and writes nothing.
    unsafe { ioctl(pidfd, Updater::<PIDFD_GET_INFO, PidfdInfo>::new(&mut info))? };
    Ok(info)
}

/// Our own pid. `None` if a filter refuses the call; rustix would take the error for a pid.
pub(crate) fn own_pid() -> Option<i32> {
    // SAFETY: no argument and no effect.
    let pid = unsafe { libc::getpid() };
    (pid > 0).then_some(pid)
}

/// The time on the monotonic clock. If a filter refuses the call, std's `Instant` panics, and
/// rustix may.
pub(crate) fn monotonic() -> Result<Duration, Errno> {
    let mut now = MaybeUninit::<libc::timespec>::uninit();
    // SAFETY: there is room for the result.
    if unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, now.as_mut_ptr()) } != 0 {
        return Err(errno());
    }
    // SAFETY: the call succeeded and has filled it in.
    let now = unsafe { now.assume_init() };
    let seconds = u64::try_from(now.tv_sec).map_err(|_| Errno::INVAL)?;
    let nanoseconds = u32::try_from(now.tv_nsec).map_err(|_| Errno::INVAL)?;
    Ok(Duration::new(seconds, nanoseconds))
}

/// The kernel's release: "6.1.0-18-amd64". `None` if a filter refuses the call; rustix would return
/// whatever was in memory.
pub(crate) fn release() -> Option<Vec<u8>> {
    let mut name = MaybeUninit::<libc::utsname>::zeroed();
    // SAFETY: there is room for the result.
    if unsafe { libc::uname(name.as_mut_ptr()) } != 0 {
        return None;
    }
    // SAFETY: arrays of bytes, for which zeros are valid.
    let name = unsafe { name.assume_init() };
    let release = name.release.iter().take_while(|&&byte| byte != 0);
    // c_char is signed on some architectures.
    Some(release.map(|&byte| byte.to_ne_bytes()[0]).collect())
}

/// `PIDFD_SIGNAL_PROCESS_GROUP` (Linux 6.9): the signal goes to the process group that the process
/// leads. An older kernel returns `EINVAL`.
pub(crate) const PROCESS_GROUP: libc::c_uint = 1 << 2;

/// Sends a signal; 0 sends nothing, and only checks.
/// [pidfd_send_signal(2)](https://man7.org/linux/man-pages/man2/pidfd_send_signal.2.html)
pub(crate) fn send_signal(
    pidfd: BorrowedFd<'_>,
    signal: i32,
    flags: libc::c_uint,
) -> Result<(), Errno> {
    let (fd, nothing) = (pidfd.as_raw_fd(), ptr::null::<libc::siginfo_t>());
    // SAFETY: a null pointer stands for the information that kill(2) would supply.
    match unsafe { libc::syscall(libc::SYS_pidfd_send_signal, fd, signal, nothing, flags) } {
        0 => Ok(()),
        _ => Err(errno()),
    }
}

/// Sends a signal to a process group by its number.
/// [kill(2)](https://man7.org/linux/man-pages/man2/kill.2.html)
pub(crate) fn kill_group(number: i32, signal: i32) -> Result<(), Errno> {
    // SAFETY: takes no pointer.
    match unsafe { libc::kill(-number, signal) } {
        0 => Ok(()),
        _ => Err(errno()),
    }
}

/// Checks that nobody has reaped the process behind `pidfd`: otherwise `ESRCH`. Sends nothing.
pub(crate) fn check_unreaped(pidfd: BorrowedFd<'_>) -> Result<(), Errno> {
    match send_signal(pidfd, 0, 0) {
        // It exists, but this process may not signal it.
        Err(Errno::PERM) => Ok(()),
        sent => sent,
    }
}
