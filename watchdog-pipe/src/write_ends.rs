//! The write ends of this process, where a signal handler finds them.

use std::fmt;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::{Mutex, PoisonError};

use crate::sys::{ForkGeneration, LentFd, OwnPid, Published, write_without_sigpipe};
use crate::word::Word;

/// Those of this process, and not of one that it was forked from.
pub(crate) struct WriteEnds {
    generation: ForkGeneration,
    /// `None` where a filter refuses it.
    own: Option<OwnPid>,
    /// The head of a list that only grows: a signal handler may read it at any time.
    newest: Published<Place>,
    /// Places whose write end is gone. No signal handler takes this lock.
    idle: Mutex<Vec<&'static Place>>,
}

/// A place for one write end after the other.
struct Place {
    end: LentFd,
    before: Option<&'static Place>,
}

static LATEST: Published<WriteEnds> = Published::empty();

impl WriteEnds {
    /// Asked before the lock is taken: a copy made by fork has nobody who would ever open it.
    fn of(generation: ForkGeneration) -> &'static WriteEnds {
        match LATEST.latest() {
            Some(ends) if ends.generation.number == generation.number => ends,
            // None yet, or those of the process that this one was forked from.
            other => LATEST.replace(
                other,
                WriteEnds {
                    generation,
                    own: OwnPid::read().ok(),
                    newest: Published::empty(),
                    idle: Mutex::default(),
                },
            ),
        }
    }

    /// Those that a signal handler may speak for. `None` also in a child that shares the memory of
    /// the process, and so its generation: a child of vfork(2).
    pub(crate) fn of_this_process() -> Option<&'static WriteEnds> {
        let ends = LATEST.latest().filter(|ends| ends.generation.is_current());
        // Where a filter refuses the number, the generation is all there is.
        let now = OwnPid::read().ok();
        ends.filter(|ends| ends.own.is_none() || now.is_none() || ends.own == now)
    }

    /// Says on each pipe that this process dies. Async-signal-safe.
    pub(crate) fn announce(&self) {
        let mut next = self.newest.latest();
        while let Some(place) = next {
            // A child that is gone, or has filled its pipe, cannot be told.
            place.end.borrow_once(|end| {
                let _ = write_without_sigpipe(end, Word::Died.bytes());
            });
            next = place.before;
        }
    }

    fn place(&self) -> &'static Place {
        // Nothing in here panics half-way.
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = idle.pop() {
            return place;
        }
        let before = self.newest.latest();
        let place = Place {
            end: LentFd::empty(),
            before,
        };
        // Under the lock, nobody else replaces it.
        self.newest.replace(before, place)
    }
}

/// One write end. It closes with the value, if it was not taken.
pub(crate) struct WriteEnd {
    ends: &'static WriteEnds,
    place: &'static Place,
}

/// Not the list, which may have thousands of places.
impl fmt::Debug for WriteEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("WriteEnd").field(&self.place.end).finish()
    }
}

impl WriteEnd {
    pub(crate) fn new(write: OwnedFd, generation: ForkGeneration) -> WriteEnd {
        let ends = WriteEnds::of(generation);
        let place = ends.place();
        place.end.lend(write);
        WriteEnd { ends, place }
    }

    /// Whether the value was made in this process, and not in one that it was forked from.
    pub(crate) fn is_of_this_process(&self) -> bool {
        self.ends.generation.is_current()
    }

    /// To speak to the child. `None`: it was taken.
    pub(crate) fn borrow<T>(&self, look: impl FnOnce(BorrowedFd<'_>) -> T) -> Option<T> {
        self.place.end.borrow(look)
    }

    /// Takes it out of the reach of [`WriteEnds::announce`]; `None` if that was faster.
    pub(crate) fn take(&mut self) -> Option<OwnedFd> {
        self.place.end.take_unborrowed()
    }

    /// Undoes [`WriteEnd::take`].
    pub(crate) fn put_back(&mut self, write: OwnedFd) {
        self.place.end.lend(write);
    }
}

impl Drop for WriteEnd {
    fn drop(&mut self) {
        // Where an announcement is at it this very moment, both the descriptor and its place are
        // left to a process that is dying. In a copy made by fork, the lock may be nobody's.
        if self.place.end.close() && self.is_of_this_process() {
            let mut idle = self
                .ends
                .idle
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            idle.push(self.place);
        }
    }
}
