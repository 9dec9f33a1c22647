//! Memory for a process that is to be large.

use std::io;
use std::ptr;

/// So much memory, each 4 KiB page of it written to. It is held until the process ends.
///
/// # Panics
/// If the kernel gives no mapping of this length.
pub fn touch(bytes: u64) -> *mut u8 {
    let length = usize::try_from(bytes).expect("an address space");
    if length == 0 {
        return ptr::null_mut();
    }
    // SAFETY: a new mapping, written to within its length.
    unsafe {
        let memory = libc::mmap(
            ptr::null_mut(),
            length,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        );
        assert_ne!(memory, libc::MAP_FAILED, "{}", io::Error::last_os_error());
        libc::madvise(memory, length, libc::MADV_NOHUGEPAGE);
        let memory: *mut u8 = memory.cast();
        for page in (0..length).step_by(4096) {
            memory.add(page).write_volatile(1);
        }
        memory
    }
}
