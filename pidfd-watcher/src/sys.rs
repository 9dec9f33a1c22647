//! The one system call that rustix does not wrap: `ioctl(PIDFD_GET_INFO)`.

use std::mem::{offset_of, size_of};
use std::os::fd::BorrowedFd;

use rustix::io::Errno;
use rustix::ioctl::{Opcode, Updater, ioctl, opcode};

/// `struct pidfd_info` as Linux 6.13 had it (`PIDFD_INFO_SIZE_VER0`). Its size is part of the ioctl's
/// number, and a newer kernel copies no more than the size that was asked for.
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
