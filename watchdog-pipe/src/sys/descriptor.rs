//! Descriptor numbers, looked at without owning them.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

/// What the kernel says of a descriptor number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Inspected {
    pub(crate) device: u64,
    pub(crate) inode: u64,
    pub(crate) is_fifo: bool,
    /// Whether read(2) and write(2) may be called on it. Neither, on an `O_PATH` descriptor.
    pub(crate) readable: bool,
    pub(crate) writable: bool,
}

/// The device and the inode of a number, which nobody needs to own. `EBADF` when it is not open.
pub(crate) fn file(number: RawFd) -> io::Result<(u64, u64)> {
    status(number).map(|stat| (stat.st_dev, stat.st_ino))
}

fn status(number: RawFd) -> io::Result<libc::stat64> {
    // The large variant: on 32-bit architectures the other one has inodes of 32 bits.
    let mut stat = MaybeUninit::<libc::stat64>::uninit();
    // SAFETY: `stat` has room for what fstat writes; a number that is not open is only an error.
    if unsafe { libc::fstat64(number, stat.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: fstat answered 0, so it has filled the structure.
    Ok(unsafe { stat.assume_init() })
}

/// Looks at a number without owning it. `EBADF` when it is not open.
pub(crate) fn inspect(number: RawFd) -> io::Result<Inspected> {
    let stat = status(number)?;
    // SAFETY: F_GETFL takes no argument and changes nothing.
    let flags = unsafe { libc::fcntl(number, libc::F_GETFL) };
    if flags < 0 {
        return Err(io::Error::last_os_error());
    }
    // O_PATH is looked at as well: such a descriptor has the access mode of a read end.
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

/// The number of a descriptor that somebody owns, for [`inspect`].
pub(crate) fn number(fd: &OwnedFd) -> RawFd {
    fd.as_raw_fd()
}

/// The first number that no descriptor of this process can have from now on; `None` if it cannot be
/// had, or is larger than any number. Not by rustix, which makes up an answer where a filter
/// refuses one.
pub(crate) fn descriptor_limit() -> Option<RawFd> {
    let mut limit = MaybeUninit::<libc::rlimit>::uninit();
    // SAFETY: `limit` has room for the answer, and is read if the call has filled it alone.
    let limit = unsafe {
        match libc::getrlimit(libc::RLIMIT_NOFILE, limit.as_mut_ptr()) {
            0 => limit.assume_init(),
            _ => return None,
        }
    };
    RawFd::try_from(limit.rlim_cur).ok()
}
