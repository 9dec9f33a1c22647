//! "Am I a forked copy?", answered without a lock and without getpid.
//!
//! One page of the process is wiped by the kernel in every process made by fork (`MADV_WIPEONFORK`). A
//! value remembers the generation it found there; a copy of it finds another one. `getpid` cannot answer:
//! parent and child are both 1 where the child was born into a new PID namespace.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::sys;

/// Lies on an ordinary page, which a fork copies: never gives a generation of an ancestor again.
static GENERATIONS: AtomicU64 = AtomicU64::new(0);

/// The process that made a value.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Home {
    /// 0 in a copy until that copy makes something of its own.
    page: &'static AtomicU64,
    generation: u64,
}

impl Home {
    /// This process. Fails where the kernel refuses a page of its own (`ENOMEM`), or has no
    /// `MADV_WIPEONFORK` (`EINVAL`, before Linux 4.14).
    pub(crate) fn here() -> io::Result<Home> {
        let page = sys::page_wiped_on_fork()?;
        let fresh = GENERATIONS.fetch_add(1, Ordering::Relaxed) + 1;
        let generation = match page.compare_exchange(0, fresh, Ordering::Relaxed, Ordering::Relaxed)
        {
            Ok(_) => fresh,
            Err(current) => current,
        };
        Ok(Home { page, generation })
    }

    /// Whether both values are of one process.
    pub(crate) fn is(&self, other: Home) -> bool {
        self.generation == other.generation
    }

    /// Whether the process that asks is the one that made the value.
    pub(crate) fn is_here(&self) -> bool {
        self.page.load(Ordering::Relaxed) == self.generation
    }
}
