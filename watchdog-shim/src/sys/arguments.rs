//! The arguments of C's `main`.

use std::ffi::{CStr, OsString, c_char, c_int};
use std::os::unix::ffi::OsStringExt;

/// Copies the arguments of C's `main`.
///
/// # Safety
/// `arguments` points to `count` pointers, each to a string that ends with a null byte.
pub(crate) unsafe fn arguments(count: c_int, arguments: *const *const c_char) -> Vec<OsString> {
    let count = usize::try_from(count).unwrap_or(0);
    let argument = |index| {
        // SAFETY: the caller promises that this pointer exists and points to a string.
        let text = unsafe { CStr::from_ptr(*arguments.add(index)) };
        OsString::from_vec(text.to_bytes().to_vec())
    };
    (0..count).map(argument).collect()
}
