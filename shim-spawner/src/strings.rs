//! Strings in the form that the kernel takes.

use std::ffi::c_char;

/// The bytes of a common string with its NUL. A generous guess.
const COMMON_LENGTH: usize = 64;

/// Strings one after the other in one piece of memory, each with a NUL at its end.
#[derive(Debug, Default)]
pub(crate) struct CStrings {
    bytes: Vec<u8>,
    starts: Vec<usize>,
}

impl CStrings {
    /// Reserves room for `strings` more strings of common length. Without it, growth by doubling
    /// copies everything several times.
    pub(crate) fn reserve(&mut self, strings: usize) {
        self.starts.reserve(strings);
        self.bytes.reserve(strings.saturating_mul(COMMON_LENGTH));
    }

    /// Adds one string made of `parts`. Returns the whole string without its NUL. The caller has
    /// checked that no part has a NUL, which would end the string early.
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

    /// The address of each string. The addresses are valid while `self` exists, moved or not, and
    /// nothing is added.
    pub(crate) fn pointers(&self) -> impl Iterator<Item = *const c_char> {
        let base = self.bytes.as_ptr();
        self.starts
            .iter()
            .map(move |start| base.wrapping_add(*start).cast())
    }
}
