//! "Am I a copy made by fork?", asked before any lock is taken.
//!
//! The kernel wipes one page of this process in every process forked from it (`MADV_WIPEONFORK`). Whatever must
//! know its own process remembers the number that stood on the page; in a copy another one stands there. `getpid`
//! cannot tell: across `CLONE_NEWPID` parent and child can both be 1.

use std::sync::atomic::{AtomicU64, Ordering};

use rustix::io::Errno;

use crate::sys;

/// On an ordinary page, which a fork copies: no descendant ever draws an ancestor's number again.
static DRAWN: AtomicU64 = AtomicU64::new(0);

/// The process in which a value was made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Home {
    page: &'static AtomicU64,
    number: u64,
}

impl Home {
    /// This process. `ENOMEM` when there is no page to be had, `EINVAL` before Linux 4.14.
    pub(crate) fn here() -> Result<Home, Errno> {
        let page = sys::page_wiped_on_fork()?;
        let drawn = DRAWN.fetch_add(1, Ordering::Relaxed) + 1;
        // Zero: this is the first time since the process was made.
        let number = page
            .compare_exchange(0, drawn, Ordering::Relaxed, Ordering::Relaxed)
            .map_or_else(|standing| standing, |_| drawn);
        Ok(Home { page, number })
    }

    /// Never zero, and no other process's of those that descend from one another by fork.
    pub(crate) fn number(self) -> u64 {
        self.number
    }

    /// Whether the caller runs in that process.
    pub(crate) fn is_here(self) -> bool {
        self.page.load(Ordering::Relaxed) == self.number
    }
    /// As a copy made by fork has it of its parent.
    #[cfg(test)]
    pub(crate) fn elsewhere(self) -> Home {
        let number = self.number + (1 << 40);
        Home { number, ..self }
    }
}
