//! What a protection needs of the kernel, taken at adoption: a program may install a seccomp filter
//! before it starts its watchdog, and what that filter allows cannot be asked.

use std::fmt;
use std::io;

use rustix::event::{EventfdFlags, eventfd};

use crate::cancel::Cancel;
use crate::status::{Adopter, Extras, FirstThread};
use crate::sys::{ForkGeneration, OwnPid};

pub(crate) struct Reserve {
    pub(crate) generation: ForkGeneration,
    pub(crate) cancel: Cancel,
    /// Who only waits needs none: an error is told to who does.
    own: Option<OwnPid>,
    first: Option<FirstThread>,
    adopter: Option<Adopter>,
}

/// This process, and whether its stop signal reaches it.
#[derive(Debug)]
pub(crate) struct Own {
    pub(crate) pid: OwnPid,
    /// Of pid 1 alone, where there is /proc.
    pub(crate) first: Option<FirstThread>,
    /// To be closed with the protection: a filter need not allow that before.
    _adopter: Option<Adopter>,
}

/// What it holds is the same in every process that adopts.
impl fmt::Debug for Reserve {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reserve").finish_non_exhaustive()
    }
}

impl Reserve {
    /// `EMFILE` or `ENFILE` without a descriptor; as [`ForkGeneration::current`].
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

    /// The same; taken anew in a copy made by fork, whose eventfd is shared with the original.
    pub(crate) fn of_this_process(self) -> io::Result<Reserve> {
        if self.generation.is_current() {
            Ok(self)
        } else {
            Reserve::take()
        }
    }

    /// What may be asked for a thread that is about to start.
    pub(crate) fn extras(&self) -> Extras {
        let adopter = self
            .adopter
            .as_ref()
            .filter(|_| self.generation.is_current());
        adopter.map_or_else(Extras::default, Adopter::allows)
    }

    /// Fails where the kernel, at adoption and now, did not say this process's number.
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
