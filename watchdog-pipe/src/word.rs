//! The words on the pipe: why the write end is about to be closed.
//!
//! A word is said before the close, so that a late reader never guesses; a close without a word is
//! a death. One word is said without a close: that a death is about to come. Eight bytes, because a
//! write of at most `PIPE_BUF` bytes is atomic, and because a stray byte or two of somebody else's
//! can then neither be taken for a word nor hide one.

use crate::Verdict;

/// What the parent says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Word {
    /// The keepalive was dropped.
    Dropped,
    /// The child may live on by itself.
    Released,
    /// The write end moves to another process.
    HandedOver,
    /// This process dies: by [`announce_death`](crate::announce_death).
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

    /// The verdict a word is; handing over is none, the child goes on following the pipe.
    const fn verdict(self) -> Option<Verdict> {
        match self {
            Word::Dropped => Some(Verdict::KeepaliveDropped),
            Word::Released => Some(Verdict::Released),
            Word::HandedOver => None,
            Word::Died => Some(Verdict::ParentExited),
        }
    }
}

/// Finds words in what was read, whatever lies before or between them.
#[derive(Debug, Default)]
pub(crate) struct Scanner {
    last: [u8; LENGTH],
}

impl Scanner {
    /// Takes what was read; answers with the first word in it that is a verdict.
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
