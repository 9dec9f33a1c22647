//! System calls that rustix does not wrap, and everything unsafe outside the child's half of a
//! fork.

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

/// `struct pidfd_info` as Linux 6.13 had it (`PIDFD_INFO_SIZE_VER0`). Its size is part of the
/// ioctl's number, and a newer kernel copies no more than the size that was asked for.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct PidfdInfo {
    /// What was asked for on the way in, what was answered on the way out.
    pub(crate) mask: u64,
    cgroupid: u64,
    pid: u32,
    /// The process id in the caller's PID namespace.
    pub(crate) tgid: u32,
    ppid: u32,
    /// Real, effective, saved and file-system ids: a pair of user and group each.
    creds: [u32; 8],
    /// The wait status; `spare0` until Linux 6.15.
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

/// `PIDFD_INFO_PID`: the ids are filled in. Asked for or not, a live process answers it.
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
    // SAFETY: PIDFD_GET_INFO reads and writes exactly the structure whose size its number carries,
    // and that is `PidfdInfo`, whose layout is asserted above. It is plain integers, for which any
    // bytes are a value. A file that does not know the number answers ENOTTY and writes nothing.
    unsafe { ioctl(pidfd, Updater::<PIDFD_GET_INFO, PidfdInfo>::new(&mut info))? };
    Ok(info)
}

/// Our own number. `None` when a filter refuses: rustix takes the error for a number.
pub(crate) fn own_pid() -> Option<i32> {
    // SAFETY: no argument and no effect.
    let pid = unsafe { libc::getpid() };
    (pid > 0).then_some(pid)
}

/// What the monotonic clock shows. std's `Instant` panics, and rustix may, where a filter refuses.
pub(crate) fn monotonic() -> Result<Duration, Errno> {
    let mut now = MaybeUninit::<libc::timespec>::uninit();
    // SAFETY: there is room for what is written.
    if unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, now.as_mut_ptr()) } != 0 {
        return Err(errno());
    }
    // SAFETY: the call succeeded and has filled it in.
    let now = unsafe { now.assume_init() };
    let seconds = u64::try_from(now.tv_sec).map_err(|_| Errno::INVAL)?;
    let nanoseconds = u32::try_from(now.tv_nsec).map_err(|_| Errno::INVAL)?;
    Ok(Duration::new(seconds, nanoseconds))
}

/// The kernel's release: "6.1.0-18-amd64". `None` when a filter refuses: rustix would give whatever
/// was in memory.
pub(crate) fn release() -> Option<Vec<u8>> {
    let mut name = MaybeUninit::<libc::utsname>::zeroed();
    // SAFETY: there is room for what is written.
    if unsafe { libc::uname(name.as_mut_ptr()) } != 0 {
        return None;
    }
    // SAFETY: arrays of bytes, for which the zeros are a value.
    let name = unsafe { name.assume_init() };
    let release = name.release.iter().take_while(|&&byte| byte != 0);
    // c_char is signed on some architectures.
    Some(release.map(|&byte| byte.to_ne_bytes()[0]).collect())
}

/// `PIDFD_SIGNAL_PROCESS_GROUP` (Linux 6.9): the signal goes to the process group that the process
/// leads. An older kernel says `EINVAL`.
pub(crate) const PROCESS_GROUP: libc::c_uint = 1 << 2;

/// Sends a signal; 0 sends nothing, and only checks.
/// [pidfd_send_signal(2)](https://man7.org/linux/man-pages/man2/pidfd_send_signal.2.html)
pub(crate) fn send_signal(
    pidfd: BorrowedFd<'_>,
    signal: i32,
    flags: libc::c_uint,
) -> Result<(), Errno> {
    let (fd, nothing) = (pidfd.as_raw_fd(), ptr::null::<libc::siginfo_t>());
    // SAFETY: a null pointer stands for the information that kill(2) would give.
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

/// Whether nobody has reaped the process behind `pidfd`: `ESRCH` otherwise. Nothing is sent.
pub(crate) fn check_unreaped(pidfd: BorrowedFd<'_>) -> Result<(), Errno> {
    match send_signal(pidfd, 0, 0) {
        // There, and not ours to signal.
        Err(Errno::PERM) => Ok(()),
        sent => sent,
    }
}
