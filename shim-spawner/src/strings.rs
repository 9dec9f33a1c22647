//! Strings as the kernel takes them.

use std::ffi::c_char;

/// Of a string with its NUL, in bytes, and a generous guess.
const COMMON_LENGTH: usize = 64;

/// Strings one after the other in one piece of memory, each ended by a NUL.
#[derive(Debug, Default)]
pub(crate) struct CStrings {
    bytes: Vec<u8>,
    starts: Vec<usize>,
}

impl CStrings {
    /// Makes room for so many more of common length: growing by doubling copies it all several
    /// times.
    pub(crate) fn reserve(&mut self, strings: usize) {
        self.starts.reserve(strings);
        self.bytes.reserve(strings.saturating_mul(COMMON_LENGTH));
    }

    /// Adds one string made of `parts`, and gives it back in one piece, without its NUL. A NUL in a
    /// part would end it early: the caller has looked.
    pub(crate) fn push(&mut self, parts: &[&[u8]]) -> &[u8] {
        let start = self.bytes.len();
        self.starts.push(start);
        for part in parts {
            self.bytes.extend_from_slice(part);
        }
        self.bytes.push(0);
        self.bytes
            .get(start..self.bytes.len().saturating_sub(1))
            .unwrap_or_default()
    }

    /// Where each string begins. Good as long as nothing is added and `self` is there, moved or
    /// not.
    pub(crate) fn pointers(&self) -> impl Iterator<Item = *const c_char> {
        let base = self.bytes.as_ptr();
        self.starts
            .iter()
            .map(move |start| base.wrapping_add(*start).cast())
    }
}
