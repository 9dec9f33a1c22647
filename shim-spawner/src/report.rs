//! How far the child came: a few words that parent and child both see.
//!
//! It is not a descriptor, because a mapping of the caller could overwrite one. It is more than an
//! errno, because an errno does not tell a missing directory from a missing program.

use std::io;
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};

use crate::Stage;

/// What the child reports. All zeros: it has not run yet.
///
/// The parent reads it when the child runs no code of ours any more. Besides, each Release store of
/// the child pairs with an Acquire load of the parent: the child stores the number before the
/// error, and the parent loads the error before the number. So a parent that sees an error sees its
/// number.
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct Report {
    /// The [`Stage`] the child has entered, as its code.
    stage: AtomicU32,
    /// The number that the stage failed at, plus one.
    number: AtomicI32,
    /// The errno that the stage failed with. 0: it has not failed.
    errno: AtomicI32,
}

impl Report {
    /// Async-signal-safe: one store.
    pub(crate) fn enter(&self, stage: Stage) {
        self.stage.store(stage as u32, Ordering::Release);
    }

    /// The last stage that the child entered. [`Stage::Create`] if it never ran.
    pub(crate) fn stage(&self) -> Stage {
        Stage::from_code(self.stage.load(Ordering::Acquire))
    }

    /// Async-signal-safe: one store. -1: no number.
    pub(crate) fn set_number(&self, number: i32) {
        self.number
            .store(number.saturating_add(1), Ordering::Release);
    }

    pub(crate) fn number(&self) -> Option<i32> {
        match self.number.load(Ordering::Acquire) {
            0 => None,
            number => Some(number - 1),
        }
    }

    /// Async-signal-safe: one store.
    pub(crate) fn fail(&self, errno: i32) {
        self.errno.store(errno, Ordering::Release);
    }

    pub(crate) fn error(&self) -> Option<io::Error> {
        match self.errno.load(Ordering::Acquire) {
            0 => None,
            errno => Some(io::Error::from_raw_os_error(errno)),
        }
    }
}
