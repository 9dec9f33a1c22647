//! The words on the pipe: they say why the parent is about to close its write end.
//!
//! The parent writes the word before the close, so that a late reader never has to guess. A close
//! without a word is a death. One word comes without a close: it announces a death. A word has
//! eight bytes. A write of at most `PIPE_BUF` bytes is atomic. And a stray byte or two from another
//! writer can neither be mistaken for a word of this length nor hide one.

use crate::Verdict;

/// What the parent writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Word {
    /// The keepalive was dropped.
    Dropped,
    /// The child may live on by itself.
    Released,
    /// The write end moves to another process.
    HandedOver,
    /// This process is dying: written by [`announce_death`](crate::announce_death).
    Died,
}

/// The length of every word.
pub(crate) const LENGTH: usize = 8;

impl Word {
    const ALL: [Word; 4] = [Word::Dropped, Word::Released, Word::HandedOver, Word::Died];

    pub(crate) const fn bytes(self) -> &'static [u8; LENGTH] {
        match self {
            Word::Dropped => b"wd:drop\n",
            Word::Released => b"wd:free\n",
            Word::HandedOver => b"wd:hand\n",
            Word::Died => b"wd:died\n",
        }
    }

    /// The verdict that a word means. A hand-over means none: the child keeps following the pipe.
    const fn verdict(self) -> Option<Verdict> {
        match self {
            Word::Dropped => Some(Verdict::KeepaliveDropped),
            Word::Released => Some(Verdict::Released),
            Word::HandedOver => None,
            Word::Died => Some(Verdict::ParentExited),
        }
    }
}

/// Finds words in what was read, whatever comes before or between them.
#[derive(Debug, Default)]
pub(crate) struct Scanner {
    last: [u8; LENGTH],
}

impl Scanner {
    /// Takes what was read. Returns the first verdict in it.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Option<Verdict> {
        bytes.iter().find_map(|&byte| {
            self.last.rotate_left(1);
            self.last[LENGTH - 1] = byte;
            Word::ALL
                .into_iter()
                .find(|word| *word.bytes() == self.last)?
                .verdict()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scan(bytes: &[u8]) -> Option<Verdict> {
        Scanner::default().feed(bytes)
    }

    #[test]
    fn words_are_found_after_stray_bytes_and_across_reads() {
        assert_eq!(scan(b"wd:drop\n"), Some(Verdict::KeepaliveDropped));
        assert_eq!(scan(b"??wd:drwd:free\n"), Some(Verdict::Released));
        assert_eq!(scan(b"?wd:died\n"), Some(Verdict::ParentExited));
        let mut scanner = Scanner::default();
        assert_eq!(scanner.feed(b"xwd:d"), None);
        assert_eq!(scanner.feed(b"rop\n"), Some(Verdict::KeepaliveDropped));
    }

    #[test]
    fn stray_bytes_and_a_hand_over_are_no_verdict() {
        for bytes in [&b""[..], b"\0", b"D", b"wd:drop", b"wd:hand\n", b"drop\n"] {
            assert_eq!(scan(bytes), None, "{bytes:?}");
        }
    }

    #[test]
    fn first_verdict_wins_and_a_hand_over_before_it_does_not_hide_it() {
        assert_eq!(scan(b"wd:hand\nwd:drop\n"), Some(Verdict::KeepaliveDropped));
        assert_eq!(scan(b"wd:free\nwd:drop\n"), Some(Verdict::Released));
    }
}
