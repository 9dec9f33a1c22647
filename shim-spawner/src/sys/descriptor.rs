//! A descriptor for code that runs between fork and exec.

use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// A descriptor that is closed by the system call itself.
///
/// Async-signal-safe: the C library's close(3) is a point at which a thread may be cancelled, and a
/// child that shares memory would act on the cancellation of its parent's thread.
#[derive(Debug)]
pub(crate) struct Descriptor(ManuallyDrop<OwnedFd>);

impl Descriptor {
    pub(crate) fn new(fd: OwnedFd) -> Descriptor {
        Descriptor(ManuallyDrop::new(fd))
    }
}

impl AsFd for Descriptor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        // SAFETY: `self` owns the number, and the owner inside is never dropped, so that it is
        // closed once.
        unsafe { libc::syscall(libc::SYS_close, self.0.as_raw_fd()) };
    }
}
