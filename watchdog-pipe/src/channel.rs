//! Making the link.

use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::OFlags;
use rustix::pipe::{PipeFlags, pipe_with};

use crate::descriptor::above_stdio;
use crate::sentinel::SlotLease;
use crate::sys::ForkGeneration;
use crate::{ChildSetup, Keepalive, StopPolicy, events};

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
#[derive(Clone, Copy, Debug)]
pub struct Builder {
    policy: Option<StopPolicy>,
    sentinel: bool,
}

impl Default for Builder {
    fn default() -> Builder {
        Builder::new()
    }
}

impl Builder {
    /// No stop policy: the child decides. With a sentinel.
    #[must_use]
    pub const fn new() -> Builder {
        Builder {
            policy: None,
            sentinel: true,
        }
    }

    /// The stop policy that the child finds in its environment and follows by
    /// [`enforce_inherited`](crate::Watchdog::enforce_inherited).
    #[must_use]
    pub const fn stop_policy(self, policy: StopPolicy) -> Builder {
        Builder {
            policy: Some(policy),
            ..self
        }
    }

    /// Whether the link has a sentinel, which tells the child of this process's death before the
    /// kernel takes down its memory, and whoever else holds the write end. On unless said
    /// otherwise.
    ///
    /// The first link that wants one starts it: a parked thread ("watchdog-sentinel"), with one
    /// descriptor for its page (one more of both for each 2,000 links that exist at once). They
    /// stay for the life of the process. Say `false` for a process that must stay single-threaded:
    /// the kernel refuses it `setns` and `unshare` of a user namespace otherwise; or one whose
    /// `main` ends by `pthread_exit`: it would live on with its sentinel.
    ///
    /// Where the kernel (before Linux 5.1) or a filter refuses what it needs, or a limit leaves no
    /// room for it, the pipe does alone; [`Keepalive::guarantees`] says so. A filter that is
    /// installed later may refuse every way in which the thread could sleep. The sentinel ends
    /// then, without telling the children of a death, and leaves the pipe.
    #[must_use]
    pub const fn sentinel(self, sentinel: bool) -> Builder {
        Builder { sentinel, ..self }
    }

    /// Makes the link. Both ends are close-on-exec and lie at 3 or above: no child that is started
    /// in between can inherit one, and none can be taken for a standard stream.
    ///
    /// # Errors
    /// `EMFILE` or `ENFILE` without a free descriptor; `ENOMEM`; `EINVAL` where the kernel has no
    /// `MADV_WIPEONFORK` (before Linux 4.14). Nothing is left open.
    ///
    /// # References
    /// [pipe(2)](https://man7.org/linux/man-pages/man2/pipe.2.html)
    pub fn channel(self) -> io::Result<(Keepalive, ChildSetup)> {
        let generation = ForkGeneration::current()?;
        let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
        let (read, write) = (above_stdio(read)?, above_stdio(write)?);
        // Only the write end, and only its open file description: a child in any language may still
        // block in read(2) on its own end.
        rustix::fs::fcntl_setfl(&write, OFlags::NONBLOCK)?;
        reserve_room_for_a_word(&read, &write)?;
        let pipe = crate::sys::inspect(crate::sys::number(&read))?;
        // Last: where descriptors run out, the pipe comes first.
        let lease = self.sentinel.then(|| SlotLease::take(generation)).flatten();
        let setup = ChildSetup::new(read, &pipe, lease.as_ref(), self.policy);
        events::made(crate::sys::number(&write), lease.is_some());
        Ok((Keepalive::new(write, generation, lease), setup))
    }
}

/// A pipe gets its first page when it is first written to, and keeps the page once it is emptied
/// (`anon_pipe_put_page` in fs/pipe.c). Had now, it makes the word at the end cheaper, and no lack
/// of memory can keep that word from being said.
fn reserve_room_for_a_word(read: &OwnedFd, write: &OwnedFd) -> io::Result<()> {
    let mut byte = [0];
    rustix::io::write(write, &byte)?;
    rustix::io::read(read, &mut byte)?;
    Ok(())
}
