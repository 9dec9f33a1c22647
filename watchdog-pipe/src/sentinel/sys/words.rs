//! The page of words, in the parent.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use rustix::io::Errno;
use rustix::mm::{Advice, ProtFlags, madvise};

use super::mapping::Mapping;
use crate::descriptor::above_stdio;
use crate::sentinel::slot::Slot;

/// `ROBUST_LIST_LIMIT` of include/linux/futex.h: the kernel walks no further.
pub(in crate::sentinel) const SLOTS: usize = 2048;

/// Without these seals a child could write to the words, or cut the file and so kill every process
/// that reads them.
pub(in crate::sentinel) const SEALS: SealFlags = SealFlags::FUTURE_WRITE
    .union(SealFlags::SHRINK)
    .union(SealFlags::GROW)
    .union(SealFlags::SEAL);

/// The words of one sentinel, writable in this process alone.
#[derive(Debug)]
pub(in crate::sentinel) struct Words(Mapping);

impl Words {
    /// The words, and the file that a child maps read-only.
    ///
    /// # References
    /// [memfd_create(2)](https://man7.org/linux/man-pages/man2/memfd_create.2.html),
    /// [fcntl(2)](https://man7.org/linux/man-pages/man2/fcntl.2.html): `F_SEAL_FUTURE_WRITE` (Linux
    /// `F_SEAL_FUTURE_WRITE` (Linux 5.1) refuses write(2) and every later writable mapping, and
    /// leaves the mapping made before.
    pub(in crate::sentinel) fn new() -> io::Result<(OwnedFd, Words)> {
        let length = size_of::<[Slot; SLOTS]>();
        let memfd = memfd()?;
        rustix::fs::ftruncate(&memfd, length as u64)?;
        let mapping = Mapping::file(memfd.as_fd(), 0, length, ProtFlags::READ | ProtFlags::WRITE)?;
        fcntl_add_seals(&memfd, SEALS)?;
        // A copy made by fork has no reason to write there, and must not do so by mistake.
        // SAFETY: this is our mapping; the advice changes only what a fork copies of it.
        unsafe { madvise(mapping.start.as_ptr(), length, Advice::LinuxDontFork) }?;
        Ok((memfd, Words(mapping)))
    }

    /// Leaks the mapping: it must outlive the sentinel's thread.
    pub(in crate::sentinel) fn leak(self) -> &'static [Slot; SLOTS] {
        let words = self.0.start.cast();
        std::mem::forget(self.0);
        // SAFETY: large and aligned enough; zero is a valid slot; never unmapped. In a copy made by
        // fork it is not mapped, and nobody follows the reference there: `SlotLease` checks first.
        unsafe { words.as_ref() }
    }

    /// The address of the first word.
    pub(super) fn address(&self) -> usize {
        self.0.start.addr().get()
    }
}

/// Not executable on kernels that know this flag (6.3), because `vm.memfd_noexec` may demand it.
fn memfd() -> io::Result<OwnedFd> {
    let name = "watchdog-sentinel";
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let memfd = match memfd_create(name, flags | MemfdFlags::NOEXEC_SEAL) {
        Err(Errno::INVAL) => memfd_create(name, flags),
        made => made,
    }?;
    above_stdio(memfd)
}
