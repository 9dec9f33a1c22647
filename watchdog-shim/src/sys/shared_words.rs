//! Memory that this process shares with the processes that it forks.

use std::io;
use std::ptr;
use std::sync::atomic::AtomicU64;

use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous};

/// Maps `N` words, all zero. This process and all that it forks share them.
pub(crate) fn shared_words<const N: usize>() -> io::Result<&'static [AtomicU64; N]> {
    let access = ProtFlags::READ | ProtFlags::WRITE;
    let length = size_of::<[AtomicU64; N]>();
    // SAFETY: the kernel chooses the address, so the mapping replaces no other memory.
    let page = unsafe { mmap_anonymous(ptr::null_mut(), length, access, MapFlags::SHARED) }?;
    // SAFETY: the mapping is long enough, and the start of a page is aligned for a word. Zero is a
    // valid word. Nothing unmaps the words, and every process accesses them atomically.
    Ok(unsafe { &*page.cast::<[AtomicU64; N]>() })
}
