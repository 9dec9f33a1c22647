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

/// Keeps a child alive. Dropping it tells the child [`KeepaliveDropped`](crate::Verdict); the death
/// of this process, however it comes, tells it [`ParentExited`](crate::Verdict).
///
/// A copy made by `fork` is inert: it tells nothing when dropped. It does hold the write end open
/// for as long as it exists, so a process that forks and never execs delays the news of this one's
/// death where the link has no sentinel ([`Keepalive::guarantees`]).
#[derive(Debug)]
#[must_use = "dropping the keepalive tells the child to stop"]
pub struct Keepalive {
    write: WriteEnd,
    /// Given back last, with the write end closed.
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

    /// What the child is promised of this process. A copy made by fork promises nothing. What came
    /// by [`Keepalive::from_fd`] follows the pipe alone.
    #[must_use]
    pub fn guarantees(&self) -> Guarantees {
        if self.write.is_of_this_process() {
            Guarantees::of(self.lease.as_ref().is_some_and(SlotLease::stands))
        } else {
            Guarantees::empty()
        }
    }

    /// Lets the child live on by itself: attached becomes detached, at run time. The child is told
    /// [`Released`](crate::Verdict), and nothing that happens to this process concerns it any more.
    ///
    /// # Errors
    /// A [`ReleaseError`] that has the keepalive, the child being held as before: `EPIPE` if the
    /// child is gone, `EAGAIN` if it has filled its own pipe, [`io::ErrorKind::BrokenPipe`] if it
    /// was told by [`announce_death`](crate::announce_death), and [`io::ErrorKind::Unsupported`] in
    /// a copy made by fork. Dropped, or turned into an [`io::Error`] by `?`, it tells the child to
    /// stop.
    pub fn release(self) -> Result<(), ReleaseError> {
        // Closed behind the word: nothing that follows is a verdict.
        let write = self.give_up(Word::Released)?;
        events::released(sys::number(&write));
        Ok(())
    }

    /// Gives up the write end, for another process to hold (`SCM_RIGHTS`), or for this one's next
    /// version across its own `execve`. It stays close-on-exec and non-blocking.
    ///
    /// Whoever has it now holds the child: [`Keepalive::from_fd`] over there, or here again when
    /// the `execve` failed. As long as any copy of it is open, the child lives: it follows the pipe
    /// alone from then on, since the sentinel's word is this process's.
    ///
    /// # Errors
    /// As [`Keepalive::release`].
    pub fn hand_over(self) -> Result<OwnedFd, ReleaseError> {
        let write = self.give_up(Word::HandedOver)?;
        events::handed_over(sys::number(&write));
        Ok(write)
    }

    /// Takes the write end that another process, or this one, gave up by [`Keepalive::hand_over`].
    /// Sets close-on-exec and `O_NONBLOCK`.
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

    /// First out of the reach of an announcement, and of the sentinel: from then on a death of this
    /// process is told by the pipe alone, behind what is said there. Said the other way round, a
    /// death in between would be told before the child could read that it does not concern it.
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

/// Eight bytes into a pipe are written whole or not at all (`PIPE_BUF`).
fn say(write: BorrowedFd<'_>, word: Word) -> io::Result<()> {
    sys::write_without_sigpipe(write, word.bytes()).map(drop)
}

/// The child could not be told, and is held as before: why, and the keepalive.
///
/// Dropping it drops the keepalive, which tells the child to stop. So does `?` where the error
/// becomes an [`io::Error`] or a boxed one: keep the keepalive by
/// [`into_parts`](ReleaseError::into_parts) first, if the child shall live.
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

    /// The keepalive, to be tried again, and why it failed.
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
        f.write_str("the child could not be told that it is let go of")
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
            // Best effort, and never wrong: unsaid, the close that follows is a verdict of its own.
            // Before the sentinel's word is given back, so that a death meanwhile is told at once;
            // the child reads this first.
            let said = self
                .write
                .borrow(|write| say(write, Word::Dropped).map(|()| write.as_raw_fd()));
            // Unsaid, it is the close that tells the child: nothing may hold that up.
            if let Some(Ok(fd)) = said {
                events::dropped(fd);
            }
        }
    }
}
