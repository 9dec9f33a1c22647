//! Memory that is mapped as long as its owner lives.

use std::ffi::c_void;
use std::io;
use std::os::fd::BorrowedFd;
use std::ptr::{self, NonNull};

use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags, mmap, mmap_anonymous, munmap};

/// A mapping. Dropping this value unmaps it.
#[derive(Debug)]
pub(super) struct Mapping {
    pub(super) start: NonNull<c_void>,
    pub(super) length: usize,
}

// SAFETY: a mapping belongs to no thread.
unsafe impl Send for Mapping {}
// SAFETY: as above. Whoever makes references to the mapped memory is responsible for them.
unsafe impl Sync for Mapping {}

impl Mapping {
    pub(super) fn file(
        memfd: BorrowedFd<'_>,
        offset: u64,
        length: usize,
        access: ProtFlags,
    ) -> io::Result<Mapping> {
        // Populated, so that the kernel does not have to find memory while the process dies.
        let how = MapFlags::SHARED | MapFlags::POPULATE;
        // SAFETY: a new mapping at an address that the kernel chooses touches no memory of ours.
        let start = unsafe { mmap(ptr::null_mut(), length, access, how, memfd, offset) }?;
        Mapping::at(start, length)
    }

    pub(super) fn anonymous(length: usize) -> io::Result<Mapping> {
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: as above.
        let start = unsafe { mmap_anonymous(ptr::null_mut(), length, access, MapFlags::PRIVATE) }?;
        Mapping::at(start, length)
    }

    fn at(start: *mut c_void, length: usize) -> io::Result<Mapping> {
        let start = NonNull::new(start).ok_or(Errno::FAULT)?;
        Ok(Mapping { start, length })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: this is our mapping. References into it borrow this value; a reference that
        // outlives it exists only if the value was forgotten.
        let _ = unsafe { munmap(self.start.as_ptr(), self.length) };
    }
}
