//! What a protection needs from the kernel. It is taken at adoption: a program may install a
//! seccomp filter before it starts its watchdog, and no call tells what that filter allows.

use std::fmt;
use std::io;

use rustix::event::{EventfdFlags, eventfd};

use crate::cancel::Cancel;
use crate::status::{Adopter, Extras, FirstThread};
use crate::sys::{ForkGeneration, OwnPid};

pub(crate) struct Reserve {
    pub(crate) generation: ForkGeneration,
    pub(crate) cancel: Cancel,
    /// `None` if the pid could not be read. A caller that only waits does not need it. A caller
    /// that asks for protection gets the error.
    own: Option<OwnPid>,
    first: Option<FirstThread>,
    adopter: Option<Adopter>,
}

/// This process, and whether its stop signal reaches it.
#[derive(Debug)]
pub(crate) struct Own {
    pub(crate) pid: OwnPid,
    /// Set only in pid 1, where /proc is available.
    pub(crate) first: Option<FirstThread>,
    /// Closed when the protection ends: until then a filter need not allow close(2).
    _adopter: Option<Adopter>,
}

/// Shows no fields: they are the same in every process that adopts.
impl fmt::Debug for Reserve {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reserve").finish_non_exhaustive()
    }
}

impl Reserve {
    /// Errors: `EMFILE` or `ENFILE` without a free descriptor, and those of
    /// [`ForkGeneration::current`].
    pub(crate) fn take() -> io::Result<Reserve> {
        let generation = ForkGeneration::current()?;
        let cancel = Cancel::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let own = OwnPid::read().ok();
        let is_first = own.is_some_and(OwnPid::is_first);
        Ok(Reserve {
            generation,
            cancel,
            own,
            first: is_first.then(FirstThread::open).flatten(),
            adopter: Adopter::this_thread(),
        })
    }

    /// The same reserve, or a new one in a copy made by fork, whose eventfd is shared with the
    /// original.
    pub(crate) fn of_this_process(self) -> io::Result<Reserve> {
        if self.generation.is_current() {
            Ok(self)
        } else {
            Reserve::take()
        }
    }

    /// Which optional calls a thread may make that is about to start.
    pub(crate) fn extras(&self) -> Extras {
        let adopter = self
            .adopter
            .as_ref()
            .filter(|_| self.generation.is_current());
        adopter.map_or_else(Extras::default, Adopter::allows)
    }

    /// Fails if the process's own number could be read neither at adoption nor now.
    pub(crate) fn divide(self) -> io::Result<(ForkGeneration, Cancel, Own)> {
        let pid = self.own.map_or_else(OwnPid::read, Ok)?;
        let own = Own {
            pid,
            first: self.first,
            _adopter: self.adopter,
        };
        Ok((self.generation, self.cancel, own))
    }
}
