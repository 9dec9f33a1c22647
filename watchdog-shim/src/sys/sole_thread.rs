//! The proof that a caller has promised one thread.

use std::marker::PhantomData;

/// This process has one thread, and no part of it owns a descriptor that came through the exec.
///
/// A function that forks takes it by reference. After a fork of a process with several threads, the
/// copy may call almost nothing.
#[derive(Debug)]
pub(crate) struct SoleThread(PhantomData<*const ()>);

impl SoleThread {
    /// # Safety
    /// The statement above is true, and stays true while the value lives.
    pub(crate) unsafe fn assume() -> SoleThread {
        SoleThread(PhantomData)
    }
}
