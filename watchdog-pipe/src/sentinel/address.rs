//! Where a child finds its word.

use std::fmt;
use std::os::fd::RawFd;

/// How the variable names a word: `FD:device:inode:offset:link`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    /// The number of the page's descriptor in the child.
    pub(crate) fd: RawFd,
    pub(crate) device: u64,
    pub(crate) inode: u64,
    /// Offset of the slot, in bytes.
    pub(crate) offset: u64,
    /// The slot serves one link after another: this says which one.
    pub(crate) link: u32,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Address {
            fd,
            device,
            inode,
            offset,
            link,
        } = self;
        write!(f, "{fd}:{device}:{inode}:{offset}:{link}")
    }
}
