//! Memory that a forked child shares with its parent.

use std::io;
use std::ptr::{self, NonNull};
use std::sync::atomic::AtomicU32;

/// How many words a [`SharedPage`] has.
const WORDS: usize = 4;

/// A page that a forked child shares with this process; all words start as 0.
#[derive(Debug)]
pub(crate) struct SharedPage(NonNull<[AtomicU32; WORDS]>);

// SAFETY: the page is only accessed through atomics, and it stays mapped until the drop.
unsafe impl Send for SharedPage {}
// SAFETY: as above.
unsafe impl Sync for SharedPage {}

impl SharedPage {
    pub(crate) fn words(&self) -> &Words {
        // SAFETY: mapped readable and writable, zeroed, page-aligned, until the drop. Zero is a
        // valid atomic. Other processes also write it by atomics.
        unsafe { self.0.as_ref() }
    }

    pub(crate) fn map() -> io::Result<SharedPage> {
        // SAFETY: a new anonymous mapping at an address that the kernel chooses touches no memory
        // of ours.
        let address = unsafe {
            libc::mmap(
                ptr::null_mut(),
                size_of::<Words>(),
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        match NonNull::new(address.cast()) {
            Some(page) if address != libc::MAP_FAILED => Ok(SharedPage(page)),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

/// The words of a [`SharedPage`].
pub(crate) type Words = [AtomicU32; WORDS];

impl Drop for SharedPage {
    fn drop(&mut self) {
        // SAFETY: the mapping made in `map`, with the same length; no reference outlives `self`.
        unsafe { libc::munmap(self.0.as_ptr().cast(), size_of::<Words>()) };
    }
}
