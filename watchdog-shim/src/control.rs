//! The socket pair between OUTER and the process in charge of the tree.
//!
//! OUTER alone has one end: the other processes see end of file when OUTER dies. INNER and STANDBY
//! share the other end: OUTER sees end of file when both are gone.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socketpair,
};

use crate::sys;

/// How many signals or messages are received before anything else is checked. A flood of them must
/// not delay the end of the tree.
pub(crate) const RECEIVED_AT_ONCE: usize = 256;

/// One end of the pair.
#[derive(Debug)]
pub(crate) struct ControlSocket(OwnedFd);

/// A message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Message {
    /// To the keeper: this signal came to OUTER.
    Signal(i32),
    /// To OUTER: COMMAND was executed.
    Started,
    /// To OUTER: COMMAND was stopped, by Ctrl-Z for example.
    Stopped,
}

/// The result of a receive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Received {
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

impl ControlSocket {
    /// Both ends: OUTER's, and that of the process in charge.
    pub(crate) fn pair() -> io::Result<(ControlSocket, ControlSocket)> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (outer, keeper) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        let outer = sys::above_standard_streams(outer)?;
        let keeper = sys::above_standard_streams(keeper)?;
        Ok((ControlSocket(outer), ControlSocket(keeper)))
    }

    /// Never blocks. A message that cannot be sent is lost: the other side is gone, or is stopped
    /// with hundreds of messages unread.
    pub(crate) fn send(&self, message: Message) {
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        let _ = send(&self.0, &message.bytes(), flags);
    }

    /// Never blocks.
    pub(crate) fn receive(&self) -> Received {
        let mut bytes = [0; 5];
        match recv(&self.0, &mut bytes, RecvFlags::DONTWAIT) {
            // ECONNRESET: the other end was closed before it had read everything.
            Ok((_, 0)) | Err(Errno::CONNRESET) => Received::End,
            // Only processes of the shim send here, and they send only messages.
            Ok((_, count)) => {
                let read = bytes.get(..count).and_then(Message::parse);
                read.map_or(Received::Nothing, Received::Message)
            }
            // EAGAIN: there is nothing. Any other error says nothing about the other side.
            Err(_) => Received::Nothing,
        }
    }
}

impl AsFd for ControlSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_arrive_whole_and_in_order_and_then_the_end() {
        let (outer, keeper) = ControlSocket::pair().expect("a socket pair");
        assert_eq!(keeper.receive(), Received::Nothing);
        let messages = [Message::Signal(15), Message::Started, Message::Stopped];
        for message in messages {
            outer.send(message);
        }
        for message in messages {
            assert_eq!(keeper.receive(), Received::Message(message));
        }
        drop(outer);
        assert_eq!(keeper.receive(), Received::End);
        // No SIGPIPE, no error to anybody.
        keeper.send(Message::Started);
    }
}
