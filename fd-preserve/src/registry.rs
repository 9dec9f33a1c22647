//! What this process must remember across commands: the wanted numbers, and which commands have a
//! plan.

use std::collections::BTreeSet;
use std::fmt;
use std::os::fd::{OwnedFd, RawFd};
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::Error;
use crate::numbers::Numbers;
use crate::sys::{self, ForkGeneration, Published};

/// Each process has one. A forked copy of this process gets its own, because a thread that does not
/// exist in the copy may have held the lock.
pub(crate) struct Registry {
    generation: ForkGeneration,
    state: Mutex<State>,
}

/// Does not show the numbers of every command in the process.
impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry").finish_non_exhaustive()
    }
}

#[derive(Default)]
struct State {
    numbers: Numbers,
    /// Identities of the commands that have a plan.
    planned: BTreeSet<usize>,
}

static REGISTRY: Published<Registry> = Published::empty();

impl Registry {
    /// The registry of this process.
    pub(crate) fn current() -> Result<&'static Registry, Error> {
        match REGISTRY.latest() {
            Some(registry) if !registry.is_forked_copy() => Ok(registry),
            // There is none yet, or it belongs to the process that this one was forked from.
            other => Ok(REGISTRY.replace(other, Registry::new()?)),
        }
    }

    /// Reserves `numbers`, and keeps `sources`, until the reservation is dropped.
    pub(crate) fn reserve(&'static self, numbers: Vec<RawFd>) -> Result<Reservation, Error> {
        self.state().numbers.want(&numbers)?;
        Ok(Reservation {
            registry: self,
            numbers,
            sources: Vec::new(),
        })
    }

    /// Tries again to hold every wanted number that somebody else had.
    pub(crate) fn settle(&self) {
        self.state().numbers.settle();
    }

    /// Whether one of our placeholders is on `number`.
    pub(crate) fn is_held(&self, number: RawFd) -> bool {
        self.state().numbers.is_held(number)
    }

    /// Notes that `command` has a plan, until the mark is dropped.
    pub(crate) fn mark(&'static self, command: &Command) -> Result<Mark, Error> {
        let Some(identity) = identity(command) else {
            return Ok(Mark {
                registry: self,
                identity: None,
            });
        };
        // When another thread drops a command, it frees the command's name before it drops the
        // closures, and with them the mark. In that instant a new command can have the same
        // identity. So an existing mark gets time to disappear.
        for _ in 0..PATIENCE_MS {
            if self.state().planned.insert(identity) {
                return Ok(Mark {
                    registry: self,
                    identity: Some(identity),
                });
            }
            sys::pause();
        }
        Err(Error::AlreadyApplied)
    }

    fn new() -> Result<Registry, Error> {
        let generation = ForkGeneration::current().map_err(|errno| Error::WipedPage {
            source: errno.into(),
        })?;
        Ok(Registry {
            generation,
            state: Mutex::default(),
        })
    }

    /// Called before the lock is taken, and between fork and exec: one atomic load.
    fn is_forked_copy(&self) -> bool {
        !self.generation.is_current()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A poisoned lock still guards a consistent state: nothing panics half-way while it is
        // held.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long an existing mark may take to disappear, in milliseconds at least. On a loaded machine a
/// thread may wait for a processor for more than 100 ms. Only a second plan has to wait this long,
/// and that is a mistake in the program.
const PATIENCE_MS: u32 = 1_000;

/// A number that stays the same when a command is moved, and differs between commands that exist at
/// the same time. It is the address of the program name, which `Command` owns and never replaces.
///
/// `None` if the name is stored inside the command itself, which no version of std does: that
/// address would change with a move.
fn identity(command: &Command) -> Option<usize> {
    let name = command.get_program().as_encoded_bytes().as_ptr().addr();
    let start = std::ptr::from_ref(command).addr();
    let inside = (start..start + size_of::<Command>()).contains(&name);
    (!inside).then_some(name)
}

/// Keeps numbers occupied, and the sources of a plan open, as long as a command may spawn.
#[derive(Debug)]
pub(crate) struct Reservation {
    registry: &'static Registry,
    numbers: Vec<RawFd>,
    sources: Vec<Arc<OwnedFd>>,
}

impl Reservation {
    /// Keeps `sources` open as long as the reservation lives.
    pub(crate) fn keep_open(&mut self, sources: impl IntoIterator<Item = Arc<OwnedFd>>) {
        self.sources.extend(sources);
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        // A forked copy closes its copies of the sources, and does not change the registry.
        if !self.registry.is_forked_copy() {
            let sources = std::mem::take(&mut self.sources);
            let rest = self.registry.state().numbers.unwant(&self.numbers, sources);
            drop(rest);
        }
    }
}

/// Records that a command has a plan. Dropped with the command.
#[derive(Debug)]
pub(crate) struct Mark {
    registry: &'static Registry,
    identity: Option<usize>,
}

impl Mark {
    /// Whether this is a forked copy of the process in which the plan was applied. May be called
    /// between fork and exec: one atomic load.
    pub(crate) fn is_forked_copy(&self) -> bool {
        self.registry.is_forked_copy()
    }
}

impl Drop for Mark {
    fn drop(&mut self) {
        if let Some(identity) = self.identity
            && !self.registry.is_forked_copy()
        {
            self.registry.state().planned.remove(&identity);
        }
    }
}
