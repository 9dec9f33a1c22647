//! The line between OUTER and whoever is in charge of the tree.
//!
//! A socket pair. OUTER alone holds one end, so that its death is the end of the line. INNER and STANDBY share the other
//! end, so that OUTER hears the end of the line when both are gone.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socketpair,
};

use crate::sys;

/// One end.
#[derive(Debug)]
pub(crate) struct Line(OwnedFd);

/// What is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Message {
    /// To the keeper: this signal came to OUTER.
    Signal(i32),
    /// To OUTER: COMMAND was executed.
    Started,
    /// To OUTER: COMMAND was stopped, by Ctrl-Z for example.
    Stopped,
}

/// What came of a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    Message(Message),
    Nothing,
    /// Nobody holds the other end any more.
    End,
}

impl Message {
    fn bytes(self) -> [u8; 5] {
        let (kind, number) = match self {
            Message::Signal(signal) => (b's', signal),
            Message::Started => (b'r', 0),
            Message::Stopped => (b't', 0),
        };
        let [a, b, c, d] = number.to_ne_bytes();
        [kind, a, b, c, d]
    }

    fn parse(bytes: &[u8]) -> Option<Message> {
        let (kind, number) = bytes.split_first()?;
        let number = i32::from_ne_bytes(number.try_into().ok()?);
        match kind {
            b's' => Some(Message::Signal(number)),
            b'r' => Some(Message::Started),
            b't' => Some(Message::Stopped),
            _ => None,
        }
    }
}

impl Line {
    /// Both ends: OUTER's, and the one of whoever is in charge.
    pub(crate) fn pair() -> io::Result<(Line, Line)> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (outer, keeper) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        let outer = sys::above_standard_streams(outer)?;
        let keeper = sys::above_standard_streams(keeper)?;
        Ok((Line(outer), Line(keeper)))
    }

    /// Never blocks. A message that cannot be sent is lost: the other side is gone, or stopped with hundreds unread.
    pub(crate) fn say(&self, message: Message) {
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        let _ = send(&self.0, &message.bytes(), flags);
    }

    /// Never blocks.
    pub(crate) fn hear(&self) -> Heard {
        let mut bytes = [0; 5];
        match recv(&self.0, &mut bytes, RecvFlags::DONTWAIT) {
            // An error where it was closed with something unread.
            Ok((_, 0)) | Err(Errno::CONNRESET) => Heard::End,
            // What is no message comes from nobody of ours.
            Ok((_, count)) => {
                let read = bytes.get(..count).and_then(Message::parse);
                read.map_or(Heard::Nothing, Heard::Message)
            }
            // AGAIN: there is nothing. Of any other, the next look may know more; it is no word of the other side's.
            Err(_) => Heard::Nothing,
        }
    }
}

impl AsFd for Line {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_arrive_whole_and_in_order_and_then_the_end() {
        let (outer, keeper) = Line::pair().expect("a socket pair");
        assert_eq!(keeper.hear(), Heard::Nothing);
        let messages = [Message::Signal(15), Message::Started, Message::Stopped];
        for message in messages {
            outer.say(message);
        }
        for message in messages {
            assert_eq!(keeper.hear(), Heard::Message(message));
        }
        drop(outer);
        assert_eq!(keeper.hear(), Heard::End);
        // No SIGPIPE, no error to anybody.
        keeper.say(Message::Started);
    }
}
