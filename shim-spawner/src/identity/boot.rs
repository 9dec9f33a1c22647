//! The id of this boot of the system.

use std::{fmt, fs, io};

use super::buffer::Buffer;

/// A boot's id: a UUID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct BootId(u128);

impl BootId {
    /// The id of this boot: random(4).
    pub(super) fn current() -> io::Result<BootId> {
        let text = fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
        BootId::parse(text.trim_end()).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    /// Reads only the notation that the kernel uses.
    pub(super) fn parse(text: &str) -> Option<BootId> {
        let digits: String = text.chars().filter(|&c| c != '-').collect();
        let id = BootId(u128::from_str_radix(&digits, 16).ok()?);
        (id.to_string() == text).then_some(id)
    }

    /// Async-signal-safe.
    pub(super) fn push_to(self, text: &mut Buffer) {
        // The groups of 8, 4, 4, 4 and 12 digits: the distance of each from the lowest bit, and its
        // length.
        for (shift, digits) in [(96, 8), (80, 4), (64, 4), (48, 4), (0, 12)] {
            if shift != 96 {
                text.push(b"-");
            }
            let group = (self.0 >> shift) & ((1 << (4 * digits)) - 1);
            // The mask leaves 48 bits at most.
            text.push_hex(u64::try_from(group).unwrap_or(0), digits);
        }
    }
}

impl fmt::Display for BootId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = Buffer::new();
        self.push_to(&mut text);
        f.write_str(std::str::from_utf8(text.as_bytes()).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boot_id_is_written_as_the_kernel_writes_it() {
        let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
        assert_eq!(BootId::current().unwrap().to_string(), text.trim_end());
        for text in [
            "00000000-0000-0000-0000-00000000000a",
            "ffffffff-ffff-ffff-ffff-ffffffffffff",
        ] {
            assert_eq!(BootId::parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn boot_id_of_another_shape_is_refused() {
        for text in [
            "",
            "268429ef-c8c2-4b1e-b0e1-ed5cf45ddbe",
            "268429ef-c8c2-4b1e-b0e1-ed5cf45ddbe00",
            "268429EF-c8c2-4b1e-b0e1-ed5cf45ddbe0",
            "268429efc8c2-4b1e-b0e1-ed5cf45ddbe0-",
            "+68429ef-c8c2-4b1e-b0e1-ed5cf45ddbe0",
        ] {
            assert_eq!(BootId::parse(text), None, "{text:?}");
        }
    }
}
