//! Text of bounded length, made without allocation.

/// A text that is composed in place.
///
/// Async-signal-safe: it allocates nothing and cannot panic. The child composes its identity with
/// it, between its creation and its exec.
#[derive(Debug)]
pub(crate) struct Buffer {
    bytes: [u8; Buffer::SIZE],
    length: usize,
    overflowed: bool,
}

impl Buffer {
    /// Larger than any identity, and than any name that is made from one.
    pub(crate) const SIZE: usize = 512;

    pub(crate) fn new() -> Buffer {
        Buffer {
            bytes: [0; Buffer::SIZE],
            length: 0,
            overflowed: false,
        }
    }

    pub(crate) fn push(&mut self, text: &[u8]) {
        let free = self.bytes.get_mut(self.length..).unwrap_or_default();
        if text.len() > free.len() {
            self.overflowed = true;
            return;
        }
        for (to, from) in free.iter_mut().zip(text) {
            *to = *from;
        }
        self.length += text.len();
    }

    /// Without leading zeros.
    pub(crate) fn push_decimal(&mut self, number: u64) {
        self.push_digits(number, 10, 1);
    }

    /// At least `width` decimal digits.
    pub(crate) fn push_padded(&mut self, number: u64, width: usize) {
        self.push_digits(number, 10, width);
    }

    /// The `width` lowest hexadecimal digits, or more if the number has more.
    pub(crate) fn push_hex(&mut self, number: u64, width: usize) {
        self.push_digits(number, 16, width);
    }

    fn push_digits(&mut self, number: u64, base: u64, width: usize) {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        // From the last digit to the first. A number of 64 bits has 20 at most.
        let mut reversed = [b'0'; 20];
        let (mut rest, mut length) = (number, 0);
        for place in &mut reversed {
            if rest == 0 && length >= width {
                break;
            }
            let digit = usize::try_from(rest % base).unwrap_or(0);
            *place = DIGITS.get(digit).copied().unwrap_or(b'0');
            rest /= base;
            length += 1;
        }
        for digit in reversed.iter().take(length).rev() {
            self.push(&[*digit]);
        }
    }

    /// The text. Empty if it did not fit.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        if self.overflowed {
            return &[];
        }
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(compose: impl FnOnce(&mut Buffer)) -> String {
        let mut buffer = Buffer::new();
        compose(&mut buffer);
        String::from_utf8(buffer.as_bytes().to_vec()).unwrap()
    }

    #[test]
    fn numbers_are_written_as_the_standard_library_writes_them() {
        for number in [0, 1, 9, 10, 4711, u64::MAX / 10, u64::MAX - 1, u64::MAX] {
            assert_eq!(text(|b| b.push_decimal(number)), number.to_string());
            assert_eq!(text(|b| b.push_padded(number, 9)), format!("{number:09}"));
            assert_eq!(text(|b| b.push_hex(number, 4)), format!("{number:04x}"));
            assert_eq!(text(|b| b.push_hex(number, 16)), format!("{number:016x}"));
        }
    }

    #[test]
    fn text_that_does_not_fit_is_not_cut_off_but_gone() {
        let all = [b'x'; Buffer::SIZE];
        assert_eq!(text(|b| b.push(&all)).len(), Buffer::SIZE);
        let over = |b: &mut Buffer| {
            b.push(&all);
            b.push(b"y");
        };
        assert_eq!(text(over), "");
    }
}
