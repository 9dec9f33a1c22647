//! The socket pair between OUTER and the process in charge of the tree.
//!
//! OUTER alone has one end: the other processes see end of file when OUTER dies. INNER and STANDBY
//! share the other end: OUTER sees end of file when both are gone.

use std::cell::RefCell;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socketpair,
};

use crate::sys;

/// How many signals or messages are received before anything else is checked. A flood of them must
/// not delay the end of the tree.
pub(crate) const RECEIVED_AT_ONCE: usize = 256;

/// How soon a message that could not be sent is sent again.
const SEND_AGAIN: Duration = Duration::from_millis(10);

/// One end of the pair.
#[derive(Debug)]
pub(crate) struct ControlSocket {
    socket: OwnedFd,
    /// What could not be sent yet, the oldest first. Each message is in it once.
    unsent: RefCell<Vec<Message>>,
}

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
        Ok((ControlSocket::of(outer), ControlSocket::of(keeper)))
    }

    fn of(socket: OwnedFd) -> ControlSocket {
        ControlSocket {
            socket,
            unsent: RefCell::default(),
        }
    }

    /// Never blocks. If a message cannot be sent now, because there is no memory or the other side
    /// is stopped with hundreds of messages unread, it is kept for
    /// [`send_again`](Self::send_again). A second message like it is not kept, as the kernel does
    /// not queue a second pending signal.
    pub(crate) fn send(&self, message: Message) {
        let mut unsent = self.unsent.take();
        if !unsent.contains(&message) {
            unsent.push(message);
        }
        self.unsent.replace(unsent);
        self.send_again();
    }

    /// Sends what could not be sent before. How soon to call it again; `None`: all is sent.
    pub(crate) fn send_again(&self) -> Option<Duration> {
        let mut unsent = self.unsent.take();
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        let sent = unsent
            .iter()
            .take_while(|message| send(&self.socket, &message.bytes(), flags).is_ok())
            .count();
        unsent.drain(..sent);
        let again = (!unsent.is_empty()).then_some(SEND_AGAIN);
        self.unsent.replace(unsent);
        again
    }

    /// Never blocks.
    pub(crate) fn receive(&self) -> Received {
        let mut bytes = [0; 5];
        match recv(&self.socket, &mut bytes, RecvFlags::DONTWAIT) {
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
        self.socket.as_fd()
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
        assert_eq!(outer.send_again(), None);
        drop(outer);
        assert_eq!(keeper.receive(), Received::End);
        // No SIGPIPE, no error to anybody.
        keeper.send(Message::Started);
    }
    #[test]
    fn message_that_finds_no_room_is_sent_once_there_is_some() {
        let (outer, keeper) = ControlSocket::pair().expect("a socket pair");
        let mut sent = 0;
        while outer.send_again().is_none() {
            outer.send(Message::Signal(sent));
            sent += 1;
        }
        outer.send(Message::Signal(libc::SIGTERM + 1000));
        outer.send(Message::Signal(libc::SIGTERM + 1000));
        for number in 0..sent {
            assert_eq!(keeper.receive(), Received::Message(Message::Signal(number)));
            assert!(number == 0 || outer.send_again().is_none());
        }
        let last = Message::Signal(libc::SIGTERM + 1000);
        assert_eq!(keeper.receive(), Received::Message(last));
        assert_eq!(keeper.receive(), Received::Nothing);
    }
}
