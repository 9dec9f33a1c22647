//! The checksum of an identity's text. It also replaces a file's name in the names of spare files.

/// FNV-1a, 64 bits. Each step is one-to-one, so two texts of the same length that differ in a
/// single byte never have the same sum. It guards against accidents, not against forgery.
///
/// Async-signal-safe.
pub(super) fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |sum, &byte| {
        (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
