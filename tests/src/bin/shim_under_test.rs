//! The program `watchdog-shim`, where Cargo names it to the tests of this package.

#![no_main]

/// # Safety
/// The C library calls it once, with the program's arguments.
#[unsafe(no_mangle)]
unsafe extern "C" fn main(count: std::ffi::c_int, arguments: *const *const std::ffi::c_char) -> ! {
    // SAFETY: the C library's promise; no other thread runs yet and nothing was adopted.
    unsafe { watchdog_shim::main(count, arguments) }
}
