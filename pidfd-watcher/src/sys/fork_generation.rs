//! Tells a process from the copies that fork makes of it, without a lock.
//!
//! One page of the process holds a number, its generation. The kernel wipes this page in every
//! process that is forked from this one (`MADV_WIPEONFORK`, Linux 4.14). A value that belongs to a
//! process stores the generation in which it was made, and compares: in a copy, the page holds 0,
//! or a number of the copy's own. `getpid` cannot tell, because parent and child can both be pid 1
//! of a PID namespace.
//!
//! This file has the same text in every crate that has it.

use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::io::Errno;
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous, munmap};

use super::published::Published;

/// The process in which a value was made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ForkGeneration {
    page: &'static AtomicU64,
    /// Never 0. No process that descends from this one by fork, or from which this one descends,
    /// has the same number.
    pub(crate) number: u64,
}

impl ForkGeneration {
    /// The generation of this process.
    ///
    /// # Errors
    /// `ENOMEM` without room for a page; `EINVAL` before Linux 4.14; or what a filter answers.
    pub(crate) fn current() -> Result<ForkGeneration, Errno> {
        static PAGE: Published<WipedPage> = Published::empty();
        /// Lies on a page that fork copies: a copy counts on from its parent's number.
        static LAST: AtomicU64 = AtomicU64::new(0);
        let page = match PAGE.latest() {
            Some(page) => page.generation(),
            None => PAGE.replace(None, WipedPage::map()?).generation(),
        };
        let fresh = LAST.fetch_add(1, Ordering::Relaxed) + 1;
        // The first caller in a process sets the number, and all others take that one. Relaxed,
        // here and in `is_current`: the threads exchange only this one word. A thread that has a
        // generation got it from here, or from a thread that did. Either happened after the store
        // of the number, and no later load of the same word returns an older value.
        let number = page
            .compare_exchange(0, fresh, Ordering::Relaxed, Ordering::Relaxed)
            .map_or_else(|standing| standing, |_| fresh);
        Ok(ForkGeneration { page, number })
    }

    /// Whether the caller runs in that process, and not in a copy. This is one load, so it may be
    /// called between fork and exec.
    pub(crate) fn is_current(self) -> bool {
        self.page.load(Ordering::Relaxed) == self.number
    }
}

/// A page that reads 0 in every process forked from this one.
#[derive(Debug)]
struct WipedPage(NonNull<AtomicU64>);

// SAFETY: a mapping belongs to no thread, and everything in this one is atomic.
unsafe impl Send for WipedPage {}
// SAFETY: as above.
unsafe impl Sync for WipedPage {}

/// The mapped length in bytes. The kernel rounds it up to a page in each call.
const LENGTH: usize = size_of::<AtomicU64>();

impl WipedPage {
    fn map() -> Result<WipedPage, Errno> {
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping at an address that the kernel chooses touches no memory of ours.
        let page = unsafe { mmap_anonymous(ptr::null_mut(), LENGTH, access, MapFlags::PRIVATE) }?;
        let wiped = NonNull::new(page.cast()).map(WipedPage);
        let wiped = wiped.ok_or(Errno::NOMEM)?;
        // SAFETY: our mapping. The advice changes only what a fork copies of it.
        unsafe { madvise(page, LENGTH, Advice::LinuxWipeOnFork) }?;
        Ok(wiped)
    }

    fn generation(&self) -> &AtomicU64 {
        // SAFETY: mapped as long as `self`, aligned to a page, and zero is a valid AtomicU64.
        unsafe { self.0.as_ref() }
    }
}

impl Drop for WipedPage {
    fn drop(&mut self) {
        // SAFETY: our mapping, and no reference into it outlives `self`.
        let _ = unsafe { munmap(self.0.as_ptr().cast(), LENGTH) };
    }
}
