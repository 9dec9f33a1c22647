//! What a standard stream of the child is, in std's own words.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::io::fcntl_dupfd_cloexec;
use rustix::pipe::{PipeFlags, pipe_with};

/// What the child gets as standard input, output or error.
///
/// Our own type, where [`std::process::Stdio`] would not tell an engine which descriptor it stands
/// for.
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
    /// The parent's own stream: what stands on the number when the child is created, close-on-exec
    /// or not. `/dev/null` where nothing does.
    ///
    /// A process that closes 0, 1 or 2 leaves the number to the next file that any of its threads
    /// opens, and the child would inherit that. Put `/dev/null` there instead.
    #[must_use]
    pub const fn inherit() -> Stdio {
        Stdio(Kind::Inherit)
    }

    /// `/dev/null`.
    #[must_use]
    pub const fn null() -> Stdio {
        Stdio(Kind::Null)
    }

    /// A new pipe, the other end of which is in [`ShimChild`](crate::ShimChild).
    #[must_use]
    pub const fn piped() -> Stdio {
        Stdio(Kind::Piped)
    }
}

/// A file, a socket, a pipe's end, a stream of another child.
impl<T: Into<OwnedFd>> From<T> for Stdio {
    fn from(fd: T) -> Stdio {
        Stdio(Kind::Fd(fd.into()))
    }
}

/// Which way a stream goes, seen from the child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    In,
    Out,
}

/// One stream ready for a spawn: the child's end (`None`: inherited) and ours (of a pipe).
#[derive(Debug, Default)]
pub(crate) struct Stream {
    pub(crate) theirs: Option<OwnedFd>,
    pub(crate) ours: Option<OwnedFd>,
}

impl Stdio {
    /// Opens what one spawn needs. Everything made here is close-on-exec and lies at 3 or above, so
    /// that it cannot stand where a standard stream is missing.
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

/// A descriptor on 0, 1 or 2 would be taken for a standard stream that is missing.
pub(crate) fn above_stdio(fd: OwnedFd) -> io::Result<OwnedFd> {
    use std::os::fd::AsRawFd;
    if fd.as_raw_fd() > 2 {
        Ok(fd)
    } else {
        Ok(fcntl_dupfd_cloexec(fd, 3)?)
    }
}
