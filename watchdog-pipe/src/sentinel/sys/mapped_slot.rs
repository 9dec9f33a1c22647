//! One slot of the parent's page, in the child.

use std::io;
use std::ops::Deref;
use std::os::fd::BorrowedFd;

use rustix::io::Errno;
use rustix::mm::ProtFlags;

use super::mapping::Mapping;
use crate::sentinel::slot::Slot;

/// One slot of the parent's page, mapped read-only.
#[derive(Debug)]
pub(in crate::sentinel) struct MappedSlot {
    page: Mapping,
    within: usize,
}

impl MappedSlot {
    /// The slot at `offset` of a file. The caller has checked that the file cannot shrink and is
    /// long enough.
    pub(in crate::sentinel) fn of(memfd: BorrowedFd<'_>, offset: u64) -> io::Result<MappedSlot> {
        let length = crate::sys::page_size()?;
        let within = usize::try_from(offset % length as u64).map_err(|_| Errno::INVAL)?;
        let page = Mapping::file(memfd, offset - within as u64, length, ProtFlags::READ)?;
        Ok(MappedSlot { page, within })
    }
}

impl Deref for MappedSlot {
    type Target = Slot;

    fn deref(&self) -> &Slot {
        // SAFETY: the slot is within the mapping, which lives as long as this value and is never
        // cut short. It is aligned: the caller of `of` has checked that. It consists of atomics,
        // and this side only ever loads them.
        unsafe { self.page.start.byte_add(self.within).cast().as_ref() }
    }
}
