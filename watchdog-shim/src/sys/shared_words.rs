//! Memory that this process shares with the processes that it forks.

use std::io;
use std::ptr;
use std::sync::atomic::AtomicU64;

use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous};

/// `N` words, all zero. This process and all that it forks see the same ones.
pub(crate) fn shared_words<const N: usize>() -> io::Result<&'static [AtomicU64; N]> {
    let access = ProtFlags::READ | ProtFlags::WRITE;
    let length = size_of::<[AtomicU64; N]>();
    // SAFETY: a new mapping at an address of the kernel's choice touches no memory of ours.
    let page = unsafe { mmap_anonymous(ptr::null_mut(), length, access, MapFlags::SHARED) }?;
    // SAFETY: the mapping is long enough, and the start of a page is aligned for a word. Zero is a
    // valid word. Nothing unmaps it.
    Ok(unsafe { &*page.cast::<[AtomicU64; N]>() })
}
