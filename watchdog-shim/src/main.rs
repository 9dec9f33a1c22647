//! The program: see the library.
//!
//! Its `main` is C's, not Rust's. Rust's own ignores SIGPIPE before it runs anything of the
//! program, and COMMAND would inherit that.

#![no_main]

// The unwinder is linked into the program, so that the loader maps one library less. That took a
// third of the time that the shim adds to tini's. `libgcc_eh.a` comes with `libgcc_s.so`, to which
// std would link. A static program gets it from std.
#[cfg(all(target_env = "gnu", not(target_feature = "crt-static")))]
#[link(name = "gcc_eh", kind = "static", modifiers = "-bundle")]
#[allow(unsafe_code)]
// SAFETY: the block declares nothing.
unsafe extern "C" {}

/// # Safety
/// The C library calls it once, with the program's arguments.
#[allow(unsafe_code)]
#[unsafe(no_mangle)]
unsafe extern "C" fn main(count: std::ffi::c_int, arguments: *const *const std::ffi::c_char) -> ! {
    // SAFETY: the C library's promise. No other thread runs yet, and nothing owns an inherited
    // descriptor.
    unsafe { watchdog_shim::main(count, arguments) }
}
