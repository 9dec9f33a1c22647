//! The promise that this process has one thread.

use std::marker::PhantomData;

/// This process has one thread, and no part of it owns a descriptor that came through the exec.
///
/// What forks takes it by reference: a forked copy of a process with several threads may do next to
/// nothing.
#[derive(Debug)]
pub(crate) struct SoleThread(PhantomData<*const ()>);

impl SoleThread {
    /// # Safety
    /// It is as the type says, and stays so while the value lives.
    pub(crate) unsafe fn assume() -> SoleThread {
        SoleThread(PhantomData)
    }
}
