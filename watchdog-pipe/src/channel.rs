//! Makes the link between a parent and a child.

use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::OFlags;
use rustix::pipe::{PipeFlags, pipe_with};

use crate::descriptor::above_stdio;
use crate::sentinel::SlotLease;
use crate::sys::ForkGeneration;
use crate::{ChildSetup, Keepalive, StopPolicy, events};

/// Makes a link. The [`Keepalive`] stays here; the [`ChildSetup`] says what the child gets.
///
/// The same as [`Builder::new().channel()`](Builder::channel).
///
/// # Errors
/// As [`Builder::channel`].
pub fn channel() -> io::Result<(Keepalive, ChildSetup)> {
    Builder::new().channel()
}

/// Options for a link.
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
    /// With a sentinel, and without a stop policy: the child chooses one.
    #[must_use]
    pub const fn new() -> Builder {
        Builder {
            policy: None,
            sentinel: true,
        }
    }

    /// The stop policy. The child finds it in its environment, and follows it by
    /// [`enforce_inherited`](crate::Watchdog::enforce_inherited).
    #[must_use]
    pub const fn stop_policy(self, policy: StopPolicy) -> Builder {
        Builder {
            policy: Some(policy),
            ..self
        }
    }

    /// Whether the link has a sentinel. With one, the child learns of this process's death before
    /// the kernel tears down its memory, whoever else holds the write end. It is on by default.
    ///
    /// The first link that asks for a sentinel starts it: a parked thread ("watchdog-sentinel"),
    /// with one descriptor for its page. Each 2,000 links that exist at once need one more of both.
    /// They stay for the life of the process. Pass `false` in two cases:
    /// - The process must stay single-threaded, because it calls `setns` or `unshare` of a user
    ///   namespace. The kernel refuses these to a process with more than one thread.
    /// - Its `main` ends by `pthread_exit`. The process would live on, with its sentinel.
    ///
    /// The link uses the pipe alone if the kernel (before Linux 5.1) or a filter refuses what the
    /// sentinel needs, or if a limit leaves no room for it. [`Keepalive::guarantees`] says so. A
    /// filter that is installed later may refuse every call by which the thread could sleep. The
    /// sentinel then ends, without reporting a death to the children, and the links use the pipe
    /// alone.
    #[must_use]
    pub const fn sentinel(self, sentinel: bool) -> Builder {
        Builder { sentinel, ..self }
    }

    /// Makes the link. Both ends are close-on-exec, so no other child that is started now can
    /// inherit one. Both are numbered 3 or above, so none can be mistaken for a standard stream.
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
        // Only on the write end, which has an open file description of its own. A child in any
        // language may still block in read(2) on its end.
        rustix::fs::fcntl_setfl(&write, OFlags::NONBLOCK)?;
        reserve_room_for_a_word(&read, &write)?;
        let pipe = crate::sys::inspect(crate::sys::number(&read))?;
        // Last, so that the pipe gets a descriptor first if few are left.
        let lease = self.sentinel.then(|| SlotLease::take(generation)).flatten();
        let setup = ChildSetup::new(read, &pipe, lease.as_ref(), self.policy);
        events::made(crate::sys::number(&write), lease.is_some());
        Ok((Keepalive::new(write, generation, lease), setup))
    }
}

/// Makes the kernel allocate the pipe's first page. The kernel does so at the first write, and
/// keeps the page when the pipe is empty again (`anon_pipe_put_page` in fs/pipe.c). With the page
/// allocated now, the last word costs less, and cannot fail for lack of memory.
fn reserve_room_for_a_word(read: &OwnedFd, write: &OwnedFd) -> io::Result<()> {
    let mut byte = [0];
    rustix::io::write(write, &byte)?;
    rustix::io::read(read, &mut byte)?;
    Ok(())
}
