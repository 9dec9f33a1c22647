//! Inspects descriptor numbers without owning them.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

/// What the kernel says about a descriptor number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Inspected {
    pub(crate) device: u64,
    pub(crate) inode: u64,
    pub(crate) is_fifo: bool,
    /// Whether read(2) and write(2) may be called on it. On an `O_PATH` descriptor neither may.
    pub(crate) readable: bool,
    pub(crate) writable: bool,
}

/// The device and the inode of the file behind a number. The caller need not own the number.
/// `EBADF` if it is not open.
pub(crate) fn file(number: RawFd) -> io::Result<(u64, u64)> {
    status(number).map(|stat| (stat.st_dev, stat.st_ino))
}

fn status(number: RawFd) -> io::Result<libc::stat64> {
    // The 64-bit variant: on 32-bit architectures the other one has 32-bit inodes.
    let mut stat = MaybeUninit::<libc::stat64>::uninit();
    // SAFETY: `stat` has room for what fstat writes; a number that is not open is only an error.
    if unsafe { libc::fstat64(number, stat.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: fstat answered 0, so it has filled the structure.
    Ok(unsafe { stat.assume_init() })
}

/// Inspects a number without owning it. `EBADF` if it is not open.
pub(crate) fn inspect(number: RawFd) -> io::Result<Inspected> {
    let stat = status(number)?;
    // SAFETY: F_GETFL takes no argument and changes nothing.
    let flags = unsafe { libc::fcntl(number, libc::F_GETFL) };
    if flags < 0 {
        return Err(io::Error::last_os_error());
    }
    // O_PATH is checked as well: such a descriptor has the same access mode as a read end.
    let (readable, writable) = match flags & (libc::O_ACCMODE | libc::O_PATH) {
        libc::O_RDONLY => (true, false),
        libc::O_WRONLY => (false, true),
        libc::O_RDWR => (true, true),
        _ => (false, false),
    };
    Ok(Inspected {
        device: stat.st_dev,
        inode: stat.st_ino,
        is_fifo: stat.st_mode & libc::S_IFMT == libc::S_IFIFO,
        readable,
        writable,
    })
}

/// The number of a descriptor that the caller owns, for [`inspect`].
pub(crate) fn number(fd: &OwnedFd) -> RawFd {
    fd.as_raw_fd()
}

/// The first number that no descriptor of this process can get from now on. `None` if a filter
/// refuses the call, or if the limit is larger than any number. Not rustix's function: that one
/// makes up an answer if the call is refused.
pub(crate) fn descriptor_limit() -> Option<RawFd> {
    let mut limit = MaybeUninit::<libc::rlimit>::uninit();
    // SAFETY: `limit` has room for the answer, and is read only if the call has filled it.
    let limit = unsafe {
        match libc::getrlimit(libc::RLIMIT_NOFILE, limit.as_mut_ptr()) {
            0 => limit.assume_init(),
            _ => return None,
        }
    };
    RawFd::try_from(limit.rlim_cur).ok()
}
