//! The number that distinguishes one process from all others.

use std::num::NonZeroU64;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::fstat;

use crate::identify::is_on_pidfs;

/// The inode of a pidfd, if it belongs to one process only. It is looked up once, so that it never
/// changes. One word and no lock, as for a [status](crate::cached_status).
#[derive(Debug, Default)]
pub(crate) struct CachedInode(AtomicU64);

/// No inode has this number. It means that there is none, or that it could not be read.
const NONE: u64 = u64::MAX;

impl CachedInode {
    pub(crate) fn get(&self, pidfd: BorrowedFd<'_>) -> Option<NonZeroU64> {
        // Relaxed: this word is the only shared data; nothing else is published by it.
        let known = match self.0.load(Ordering::Relaxed) {
            0 => {
                let found = look_up(pidfd).map_or(NONE, NonZeroU64::get);
                let set = self
                    .0
                    .compare_exchange(0, found, Ordering::Relaxed, Ordering::Relaxed);
                // The first answer wins, because the answer must stay the same.
                set.map_or_else(|first| first, |_| found)
            }
            known => known,
        };
        NonZeroU64::new(known).filter(|known| known.get() != NONE)
    }
}

fn look_up(pidfd: BorrowedFd<'_>) -> Option<NonZeroU64> {
    // On a 32-bit kernel the number is half of the inode, and halves repeat. Before Linux 6.9 all
    // pidfds share one inode.
    if cfg!(not(target_pointer_width = "64")) || !is_on_pidfs(pidfd) {
        return None;
    }
    NonZeroU64::new(fstat(pidfd).ok()?.st_ino)
}
