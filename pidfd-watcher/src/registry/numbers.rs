//! Maps the number of a descriptor to a token.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::os::fd::RawFd;

use crate::registry::slots::Token;

/// A map that gives memory back when most of its content is gone.
#[derive(Debug, Default)]
pub(crate) struct Numbers {
    map: HashMap<RawFd, Token, BuildHasherDefault<NumberHasher>>,
    /// The largest size since the map was last made smaller.
    peak: usize,
}

/// Below this size, shrinking is not worth the work.
const SMALL: usize = 64;

impl Numbers {
    pub(crate) fn get(&self, number: RawFd) -> Option<Token> {
        self.map.get(&number).copied()
    }

    pub(crate) fn insert(&mut self, number: RawFd, token: Token) {
        self.map.insert(number, token);
        self.peak = self.peak.max(self.map.len());
    }

    pub(crate) fn remove(&mut self, number: RawFd) {
        self.map.remove(&number);
        // An eighth is left, and there is room for twice that. So this costs little compared with
        // the removals before it, and does not repeat if the same number is inserted again.
        if self.peak > SMALL && self.map.len() < self.peak / 8 {
            self.peak = (self.map.len() * 2).max(SMALL);
            self.map.shrink_to(self.peak);
        }
    }
}

/// Descriptor numbers are small and dense, and the kernel assigns them, so nobody can choose them
/// to collide. One multiplication spreads them over the bits that the table uses.
#[derive(Default)]
struct NumberHasher(u64);

impl Hasher for NumberHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(u64::from(byte));
        }
    }

    fn write_i32(&mut self, number: i32) {
        self.write_u64(u64::from(number.cast_unsigned()));
    }

    fn write_u64(&mut self, word: u64) {
        // 2^64 divided by the golden ratio, odd: Fibonacci hashing.
        const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
        self.0 = (self.0 ^ word).wrapping_mul(SPREAD).rotate_left(32);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn room_is_given_back_and_what_is_left_is_found() {
        let mut numbers = Numbers::default();
        let token = |number: RawFd| Token::from_bits(1 << 32 | u64::from(number.unsigned_abs()));
        for number in 0..100_000 {
            numbers.insert(number, token(number).expect("a token"));
        }
        for number in 0..99_990 {
            numbers.remove(number);
        }
        assert!(numbers.map.capacity() < 300, "{}", numbers.map.capacity());
        for number in 0..100_000 {
            let left = (number >= 99_990).then(|| token(number)).flatten();
            assert_eq!(numbers.get(number), left);
        }
    }
}
