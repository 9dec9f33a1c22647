//! Writes what this process found open to the file that the first argument names: a line for each
//! descriptor with number, device and inode.
//!
//! No `fn main` of Rust: its runtime opens /dev/null on closed standard descriptors before it.
#![no_main]

use std::ffi::{CStr, OsStr, c_char, c_int};
use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt;

use workspace_tests::fd_table::id_of;

/// Above every number that the tests use, the limit of this machine included.
const END: i32 = 70_000;

/// # Safety
/// Called by the C library alone, with the arguments of the process.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn main(argc: c_int, argv: *const *const c_char) -> c_int {
    let mut report = String::new();
    for fd in 0..END {
        if let Some((dev, ino)) = id_of(fd) {
            let _ = writeln!(report, "{fd} {dev} {ino}");
        }
    }
    if argc < 2 {
        return 2;
    }
    // SAFETY: the C library gives `argc` strings, each with its 0, that live as long as the
    // process.
    let path = unsafe { CStr::from_ptr(*argv.add(1)) };
    let written = std::fs::write(OsStr::from_bytes(path.to_bytes()), report);
    c_int::from(written.is_err())
}
