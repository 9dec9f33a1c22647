//! A standard stream of the child.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::io::fcntl_dupfd_cloexec;
use rustix::pipe::{PipeFlags, pipe_with};

/// What the child gets as standard input, output or error.
///
/// A type of our own, because [`std::process::Stdio`] does not tell an engine which descriptor it
/// contains.
#[derive(Debug)]
pub struct Stdio(Kind);

#[derive(Debug)]
enum Kind {
    Inherit,
    Null,
    Piped,
    Fd(OwnedFd),
}

impl Stdio {
    /// The parent's own stream: the descriptor that has this number when the child is created,
    /// close-on-exec or not. `/dev/null` if there is none.
    ///
    /// If a process closes 0, 1 or 2, the next file that any of its threads opens gets that number,
    /// and the child would inherit it. Put `/dev/null` there instead.
    #[must_use]
    pub const fn inherit() -> Stdio {
        Stdio(Kind::Inherit)
    }

    /// `/dev/null`.
    #[must_use]
    pub const fn null() -> Stdio {
        Stdio(Kind::Null)
    }

    /// A new pipe. [`ShimChild`](crate::ShimChild) has the other end.
    #[must_use]
    pub const fn piped() -> Stdio {
        Stdio(Kind::Piped)
    }
}

/// A file, a socket, an end of a pipe, or a stream of another child.
impl<T: Into<OwnedFd>> From<T> for Stdio {
    fn from(fd: T) -> Stdio {
        Stdio(Kind::Fd(fd.into()))
    }
}

/// The direction of a stream, from the child's side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    In,
    Out,
}

/// One stream, ready for a spawn: the child's end (`None`: inherited) and ours (if it is a pipe).
#[derive(Debug, Default)]
pub(crate) struct Stream {
    pub(crate) theirs: Option<OwnedFd>,
    pub(crate) ours: Option<OwnedFd>,
}

impl Stdio {
    /// Opens the descriptors for one spawn. Each one is close-on-exec and has a number from 3 up,
    /// so that it does not take the place of a missing standard stream.
    pub(crate) fn open(&self, direction: Direction) -> io::Result<Stream> {
        match &self.0 {
            Kind::Inherit => Ok(Stream::default()),
            Kind::Null => {
                let null: File = OpenOptions::new()
                    .read(true)
                    .write(true)
                    .open("/dev/null")?;
                Ok(Stream {
                    theirs: Some(above_stdio(null.into())?),
                    ours: None,
                })
            }
            Kind::Piped => {
                let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
                let (read, write) = (above_stdio(read)?, above_stdio(write)?);
                Ok(match direction {
                    Direction::In => Stream {
                        theirs: Some(read),
                        ours: Some(write),
                    },
                    Direction::Out => Stream {
                        theirs: Some(write),
                        ours: Some(read),
                    },
                })
            }
            Kind::Fd(fd) => Ok(Stream {
                theirs: Some(fcntl_dupfd_cloexec(fd.as_fd(), 3)?),
                ours: None,
            }),
        }
    }
}

/// Moves a descriptor from 0, 1 or 2 to a higher number. There, it would be taken for the missing
/// standard stream.
pub(crate) fn above_stdio(fd: OwnedFd) -> io::Result<OwnedFd> {
    use std::os::fd::AsRawFd;
    if fd.as_raw_fd() > 2 {
        Ok(fd)
    } else {
        Ok(fcntl_dupfd_cloexec(fd, 3)?)
    }
}
