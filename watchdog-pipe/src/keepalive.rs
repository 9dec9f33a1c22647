//! The parent's end of the link.

use std::error::Error;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::{FdFlags, fcntl_setfd};

use crate::sentinel::SlotLease;
use crate::sys::ForkGeneration;
use crate::word::Word;
use crate::write_ends::WriteEnd;
use crate::{Guarantees, events, sys};

/// Keeps a child alive. When it is dropped, the child gets the verdict
/// [`KeepaliveDropped`](crate::Verdict). When this process dies, in any way, the child gets
/// [`ParentExited`](crate::Verdict).
///
/// A copy made by `fork` is inert: dropping it tells the child nothing. But the copy holds the
/// write end open for as long as it exists. So if the link has no sentinel
/// ([`Keepalive::guarantees`]), a process that forks and never execs delays the news of this
/// process's death.
#[derive(Debug)]
#[must_use = "dropping the keepalive tells the child to stop"]
pub struct Keepalive {
    write: WriteEnd,
    /// Given back last, after the write end was closed.
    lease: Option<SlotLease>,
}

impl Keepalive {
    pub(crate) fn new(
        write: OwnedFd,
        generation: ForkGeneration,
        lease: Option<SlotLease>,
    ) -> Keepalive {
        Keepalive {
            write: WriteEnd::new(write, generation),
            lease,
        }
    }

    /// What this process promises the child. A copy made by fork promises nothing. A keepalive from
    /// [`Keepalive::from_fd`] promises what the pipe alone gives.
    #[must_use]
    pub fn guarantees(&self) -> Guarantees {
        if self.write.is_of_this_process() {
            Guarantees::of(self.lease.as_ref().is_some_and(SlotLease::stands))
        } else {
            Guarantees::empty()
        }
    }

    /// Lets the child live on by itself: an attached child becomes detached, at run time. The child
    /// gets the verdict [`Released`](crate::Verdict). From then on nothing that happens to this
    /// process affects it.
    ///
    /// # Errors
    /// A [`ReleaseError`] that contains the keepalive. The child is supervised as before. The error
    /// is one of these:
    /// - `EPIPE`: the child is gone.
    /// - `EAGAIN`: the child has filled its own pipe.
    /// - [`io::ErrorKind::BrokenPipe`]: [`announce_death`](crate::announce_death) has told the
    ///   child of a death.
    /// - [`io::ErrorKind::Unsupported`]: this is a copy made by fork.
    ///
    /// If the [`ReleaseError`] is dropped, or turned into an [`io::Error`] by `?`, the child is
    /// told to stop.
    pub fn release(self) -> Result<(), ReleaseError> {
        // The returned write end is closed here, after the word. The child ignores what follows a
        // verdict.
        let write = self.give_up(Word::Released)?;
        events::released(sys::number(&write));
        Ok(())
    }

    /// Gives up the write end, so that another process can hold it (`SCM_RIGHTS`), or the next
    /// version of this process, across its own `execve`. It stays close-on-exec and non-blocking.
    ///
    /// Whoever holds it now keeps the child alive. Pass it to [`Keepalive::from_fd`] in the other
    /// process, or here again if the `execve` failed. The child lives as long as any copy of it is
    /// open. From now on the child follows the pipe alone, because the sentinel belongs to this
    /// process.
    ///
    /// # Errors
    /// As [`Keepalive::release`].
    pub fn hand_over(self) -> Result<OwnedFd, ReleaseError> {
        let write = self.give_up(Word::HandedOver)?;
        events::handed_over(sys::number(&write));
        Ok(write)
    }

    /// Makes a keepalive from a write end that this or another process gave up by
    /// [`Keepalive::hand_over`]. Sets close-on-exec and `O_NONBLOCK`.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] if the descriptor is not the write end of a pipe; `ENOMEM`.
    pub fn from_fd(write: OwnedFd) -> io::Result<Keepalive> {
        let inspected = sys::inspect(sys::number(&write))?;
        if !inspected.is_fifo || !inspected.writable || inspected.readable {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "the descriptor is not the write end of a pipe",
            ));
        }
        let generation = ForkGeneration::current()?;
        fcntl_setfd(&write, FdFlags::CLOEXEC)?;
        fcntl_setfl(&write, fcntl_getfl(&write)? | OFlags::NONBLOCK)?;
        Ok(Keepalive::new(write, generation, None))
    }

    fn give_up(mut self, word: Word) -> Result<OwnedFd, ReleaseError> {
        self.let_go_and_say(word).map_err(|error| {
            events::not_let_go(&error);
            ReleaseError {
                keepalive: self,
                error,
            }
        })
    }

    /// Takes the link out of the reach of [`announce_death`](crate::announce_death) and of the
    /// sentinel first, and writes the word then. From the first step on, only the pipe can report a
    /// death of this process, and the child reads the word before it. In the other order, a death
    /// in between would be reported before the child could read that it does not concern it.
    fn let_go_and_say(&mut self, word: Word) -> io::Result<OwnedFd> {
        if !self.write.is_of_this_process() {
            return Err(forked_copy());
        }
        let write = self.write.take().ok_or_else(announced)?;
        let said = match &self.lease {
            Some(lease) if !lease.let_go() => Err(announced()),
            Some(lease) => say(write.as_fd(), word).inspect_err(|_| lease.hold_again()),
            None => say(write.as_fd(), word),
        };
        match said {
            Ok(()) => Ok(write),
            Err(error) => {
                self.write.put_back(write);
                Err(error)
            }
        }
    }
}

/// A write of eight bytes into a pipe is written whole or not at all (`PIPE_BUF`).
fn say(write: BorrowedFd<'_>, word: Word) -> io::Result<()> {
    sys::write_without_sigpipe(write, word.bytes()).map(drop)
}

/// The child could not be told, and is supervised as before. Contains the keepalive and the reason.
///
/// Dropping it drops the keepalive, which tells the child to stop. The same happens if `?` turns it
/// into an [`io::Error`] or a boxed error. If the child must live, take the keepalive out first, by
/// [`into_parts`](ReleaseError::into_parts).
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// let (keepalive, setup) = watchdog_pipe::channel()?;
/// drop(setup); // there is no child that could be told
/// let (keepalive, error) = keepalive.release().unwrap_err().into_parts();
/// assert_eq!(error.kind(), std::io::ErrorKind::BrokenPipe);
/// # drop(keepalive);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "dropping the keepalive tells the child to stop"]
pub struct ReleaseError {
    keepalive: Keepalive,
    error: io::Error,
}

impl ReleaseError {
    /// Why the child could not be told.
    #[must_use]
    pub fn error(&self) -> &io::Error {
        &self.error
    }

    /// The keepalive, so that you can try again, and why the call failed.
    pub fn into_parts(self) -> (Keepalive, io::Error) {
        (self.keepalive, self.error)
    }

    /// The keepalive alone.
    pub fn into_keepalive(self) -> Keepalive {
        self.keepalive
    }
}

impl fmt::Display for ReleaseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the child could not be told that it is released")
    }
}

impl Error for ReleaseError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.error)
    }
}

/// Drops the keepalive.
impl From<ReleaseError> for io::Error {
    fn from(error: ReleaseError) -> io::Error {
        error.error
    }
}

fn forked_copy() -> io::Error {
    io::Error::new(
        io::ErrorKind::Unsupported,
        "a copy made by fork cannot speak to the child",
    )
}

fn announced() -> io::Error {
    io::Error::new(
        io::ErrorKind::BrokenPipe,
        "the child was told that this process dies",
    )
}

impl Drop for Keepalive {
    fn drop(&mut self) {
        if self.write.is_of_this_process() {
            // Best effort. If the word cannot be written, the close that follows is a verdict by
            // itself. The word comes before the lease is given back, so that a death in between is
            // still reported at once. The child reads the pipe's word first in any case.
            let said = self
                .write
                .borrow(|write| say(write, Word::Dropped).map(|()| write.as_raw_fd()));
            // Without a word the close tells the child, and a subscriber must not delay it.
            if let Some(Ok(fd)) = said {
                events::dropped(fd);
            }
        }
    }
}
