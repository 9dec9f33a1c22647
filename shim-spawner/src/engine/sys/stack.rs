//! The stack of a child that shares this process's memory.

use std::cell::Cell;
use std::ffi::c_void;
use std::io;
use std::ptr::{self, NonNull};

use rustix::mm::{MapFlags, MprotectFlags, ProtFlags, mmap_anonymous, mprotect, munmap};

/// A stack for a child that shares this process's memory, with a guard below it.
///
/// Each thread keeps its stack from one spawn to the next. That needs no lock, and no page fault
/// after the first use. The mapping is private, so a forked copy of this process has its own.
#[derive(Debug)]
pub(in crate::engine) struct Stack(NonNull<c_void>);

/// A whole number of pages on every architecture, and larger than any frame of the routine.
const GUARD: usize = 64 * 1024;

thread_local! {
    static KEPT: Cell<Option<Stack>> = const { Cell::new(None) };
}

impl Stack {
    /// In bytes, without the guard. The routine needs about a tenth of it in a debug build. The
    /// rest is never touched.
    pub(in crate::engine) const SIZE: usize = 64 * 1024;

    /// This thread's stack. `ENOMEM` if there is no room.
    pub(in crate::engine) fn kept() -> io::Result<Stack> {
        match KEPT.try_with(Cell::take) {
            Ok(Some(stack)) => Ok(stack),
            _ => Stack::map(),
        }
    }

    /// Keeps it for the next spawn of this thread.
    pub(in crate::engine) fn keep(self) {
        // Unmapped if the thread is about to end.
        let _ = KEPT.try_with(|kept| kept.set(Some(self)));
    }

    fn map() -> io::Result<Stack> {
        let access = ProtFlags::READ | ProtFlags::WRITE;
        let flags = MapFlags::PRIVATE | MapFlags::STACK | MapFlags::NORESERVE;
        // SAFETY: a new mapping at an address that the kernel chooses touches no memory of ours.
        let base = unsafe { mmap_anonymous(ptr::null_mut(), GUARD + Stack::SIZE, access, flags) }?;
        let stack = NonNull::new(base)
            .map(Stack)
            .ok_or(io::ErrorKind::OutOfMemory)?;
        // SAFETY: the lower end of the new mapping, which nothing refers to.
        unsafe { mprotect(base, GUARD, MprotectFlags::empty()) }?;
        Ok(stack)
    }

    /// The end at which use begins, aligned to a page.
    pub(in crate::engine) fn top(&self) -> *mut c_void {
        self.bottom().wrapping_byte_add(Stack::SIZE)
    }

    /// The other end, just above the guard.
    pub(in crate::engine) fn bottom(&self) -> *mut c_void {
        self.0.as_ptr().wrapping_byte_add(GUARD)
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        // SAFETY: the whole mapping that `map` made. A child that runs on it suspends the thread
        // that owns `self`, so no child does.
        let _ = unsafe { munmap(self.0.as_ptr(), GUARD + Stack::SIZE) };
    }
}
