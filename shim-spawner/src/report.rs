//! How far the child came: one page that parent and child share.
//!
//! Not a descriptor, which a mapping of the caller's could hit, and not the error number alone, which does
//! not tell a missing directory from a missing program.

use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};

use crate::Stage;

/// What the child has to say. All zeros: it has not run yet.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Report {
    /// The [`Stage`] the child has entered, as its code.
    stage: AtomicU32,
    /// What went wrong in [`Stage::InstallFds`]: an error code of fd-preserve's, and the number.
    detail: [AtomicI32; 2],
}

impl Report {
    /// Async-signal-safe: one store.
    pub(crate) fn enter(&self, stage: Stage) {
        self.stage.store(stage as u32, Ordering::Release);
    }

    /// Where the child was last. [`Stage::Fork`] if it never ran, or before the fork.
    pub(crate) fn stage(&self) -> Stage {
        Stage::from_code(self.stage.load(Ordering::Acquire))
    }

    /// Async-signal-safe: two stores.
    pub(crate) fn set_detail(&self, detail: [i32; 2]) {
        self.detail[0].store(detail[0], Ordering::Relaxed);
        self.detail[1].store(detail[1], Ordering::Release);
    }

    pub(crate) fn detail(&self) -> [i32; 2] {
        [self.detail[0].load(Ordering::Acquire), self.detail[1].load(Ordering::Acquire)]
    }
}
