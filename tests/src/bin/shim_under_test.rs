//! The program `watchdog-shim`, where Cargo names it to the tests of this package.

#![no_main]

// As the program does it.
#[cfg(all(target_env = "gnu", not(target_feature = "crt-static")))]
#[link(name = "gcc_eh", kind = "static", modifiers = "-bundle")]
// SAFETY: it declares nothing.
unsafe extern "C" {}

/// # Safety
/// The C library calls it once, with the program's arguments.
#[unsafe(no_mangle)]
unsafe extern "C" fn main(count: std::ffi::c_int, arguments: *const *const std::ffi::c_char) -> ! {
    // SAFETY: the C library's promise; no other thread runs yet and nothing was adopted.
    unsafe { watchdog_shim::main(count, arguments) }
}
