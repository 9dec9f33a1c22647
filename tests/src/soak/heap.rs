//! The memory that the allocator has given to this process.

/// Gives what is free back to the kernel, so that what is resident is in use, and says how many
/// bytes are in use; 0 where the C library does not tell.
#[cfg(target_env = "gnu")]
pub(super) fn tidy() -> u64 {
    // SAFETY: nothing is freed that is in use.
    unsafe { libc::malloc_trim(0) };
    // SAFETY: it takes nothing and fills what it returns.
    let all = unsafe { libc::mallinfo() };
    u64::from(all.uordblks.cast_unsigned()) + u64::from(all.hblkhd.cast_unsigned())
}

#[cfg(not(target_env = "gnu"))]
pub(super) fn tidy() -> u64 {
    0
}
