//! A descriptor for code that runs between fork and exec.

use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// A descriptor that the system call itself closes.
///
/// Async-signal-safe. The C library's close(3) is a cancellation point, and in a child that shares
/// memory it would act on the cancellation of the parent's thread.
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
        // SAFETY: `self` owns the number. The owner inside is never dropped, so the number is
        // closed once.
        unsafe { libc::syscall(libc::SYS_close, self.0.as_raw_fd()) };
    }
}
