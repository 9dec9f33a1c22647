//! The program: see the library.
//!
//! Its `main` is C's, not Rust's. Rust's own ignores SIGPIPE before it runs anything of the
//! program, and COMMAND would inherit that.

#![no_main]

/// # Safety
/// The C library calls it once, with the program's arguments.
#[allow(unsafe_code)]
#[unsafe(no_mangle)]
unsafe extern "C" fn main(count: std::ffi::c_int, arguments: *const *const std::ffi::c_char) -> ! {
    // SAFETY: the C library's promise. No other thread runs yet, and nothing owns an inherited
    // descriptor.
    unsafe { watchdog_shim::main(count, arguments) }
}
