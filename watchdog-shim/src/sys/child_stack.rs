//! The stack of a child that shares this process's memory.

use std::ffi::c_void;
use std::io;
use std::ptr::{self, NonNull};

use rustix::mm::{MapFlags, MprotectFlags, ProtFlags, mmap_anonymous, mprotect, munmap};

/// A whole number of pages on every architecture.
const GUARD: usize = 64 * 1024;

/// Size in bytes. The child calls a few functions of the C library, none of which needs much.
/// execve(2) needs no room here: the kernel copies the arguments from where they are.
const SIZE: usize = 64 * 1024;

/// A stack with a guard below it: a child that needs more ends by SIGSEGV, and overwrites nothing.
#[derive(Debug)]
pub(crate) struct ChildStack(NonNull<c_void>);

impl ChildStack {
    /// `ENOMEM` if there is no room.
    pub(crate) fn map() -> io::Result<ChildStack> {
        let access = ProtFlags::READ | ProtFlags::WRITE;
        let flags = MapFlags::PRIVATE | MapFlags::STACK | MapFlags::NORESERVE;
        // SAFETY: a new mapping at an address that the kernel chooses touches no memory of ours.
        let base = unsafe { mmap_anonymous(ptr::null_mut(), GUARD + SIZE, access, flags) }?;
        let stack = NonNull::new(base)
            .map(ChildStack)
            .ok_or(io::ErrorKind::OutOfMemory)?;
        // SAFETY: the lower end of the mapping just made, which nothing refers to.
        unsafe { mprotect(base, GUARD, MprotectFlags::empty()) }?;
        Ok(stack)
    }

    /// The end where a child begins to use it, aligned to a page.
    pub(crate) fn top(&self) -> *mut c_void {
        self.0.as_ptr().wrapping_byte_add(GUARD + SIZE)
    }
}

impl Drop for ChildStack {
    fn drop(&mut self) {
        // SAFETY: the whole mapping made in `map`. No child runs on it: a child that did would
        // suspend the thread that owns `self`.
        let _ = unsafe { munmap(self.0.as_ptr(), GUARD + SIZE) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stack_can_be_written_down_to_its_guard_and_the_guard_cannot() {
        let stack = ChildStack::map().expect("a mapping");
        let (top, lowest) = (stack.top(), SIZE);
        // SAFETY: within the mapping, which nobody else refers to.
        unsafe { top.wrapping_byte_sub(lowest).cast::<u8>().write(1) };
        // write(2) reads the byte for us, and returns EFAULT if it cannot.
        let (_read, write) = std::io::pipe().expect("a pipe");
        let guard = top.wrapping_byte_sub(lowest + 1);
        // SAFETY: the kernel checks whether the byte can be read.
        let written = unsafe { libc::write(std::os::fd::AsRawFd::as_raw_fd(&write), guard, 1) };
        let error = io::Error::last_os_error();
        assert_eq!((written, error.raw_os_error()), (-1, Some(libc::EFAULT)));
    }
}
