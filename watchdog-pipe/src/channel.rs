//! Making the link.

use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::OFlags;
use rustix::io::fcntl_dupfd_cloexec;
use rustix::pipe::{PipeFlags, pipe_with};

use crate::home::Home;
use crate::{ChildSetup, Keepalive, StopPolicy};

/// A fresh link: the [`Keepalive`] stays here, the [`ChildSetup`] says what the child gets.
///
/// The same as [`Builder::new().channel()`](Builder::channel); see there for the errors.
///
/// # Errors
/// As [`Builder::channel`].
pub fn channel() -> io::Result<(Keepalive, ChildSetup)> {
    Builder::new().channel()
}

/// Options of a link.
#[derive(Clone, Copy, Debug, Default)]
pub struct Builder {
    policy: Option<StopPolicy>,
}

impl Builder {
    /// No stop policy: the child decides.
    #[must_use]
    pub const fn new() -> Builder {
        Builder { policy: None }
    }

    /// The stop policy that the child finds in its environment and follows by
    /// [`enforce_inherited`](crate::Watchdog::enforce_inherited).
    #[must_use]
    pub const fn stop_policy(self, policy: StopPolicy) -> Builder {
        Builder {
            policy: Some(policy),
        }
    }

    /// Makes the pipe. Both ends are close-on-exec and lie at 3 or above: no child that is started in
    /// between can inherit one, and none can be taken for a standard stream.
    ///
    /// # Errors
    /// `EMFILE` or `ENFILE` without a free descriptor; `ENOMEM`; `EINVAL` where the kernel has no
    /// `MADV_WIPEONFORK` (before Linux 4.14). Nothing is left open.
    ///
    /// # References
    /// [pipe(2)](https://man7.org/linux/man-pages/man2/pipe.2.html)
    pub fn channel(self) -> io::Result<(Keepalive, ChildSetup)> {
        let home = Home::here()?;
        let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
        let (read, write) = (above_stdio(read)?, above_stdio(write)?);
        // Only the write end, and only its open file description: a child in any language may still
        // block in read(2) on its own end.
        rustix::fs::fcntl_setfl(&write, OFlags::NONBLOCK)?;
        reserve_room_for_a_word(&read, &write)?;
        let setup = ChildSetup::new(read, self.policy)?;
        Ok((Keepalive::new(write, home), setup))
    }
}

/// A pipe gets its first page when it is first written to, and keeps the page once it is emptied
/// (`anon_pipe_put_page` in fs/pipe.c). Had now, it makes the word at the end cheaper, and no lack of memory can
/// keep that word from being said.
fn reserve_room_for_a_word(read: &OwnedFd, write: &OwnedFd) -> io::Result<()> {
    let mut byte = [0];
    rustix::io::write(write, &byte)?;
    rustix::io::read(read, &mut byte)?;
    Ok(())
}

/// Where 0, 1 or 2 is closed, pipe2 hands out those numbers.
fn above_stdio(fd: OwnedFd) -> io::Result<OwnedFd> {
    if crate::sys::number(&fd) > 2 {
        Ok(fd)
    } else {
        Ok(fcntl_dupfd_cloexec(&fd, 3)?)
    }
}
