//! The write ends of this process, in a list that a signal handler can read.

use std::fmt;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::{Mutex, PoisonError};

use crate::sys::{ForkGeneration, LentFd, OwnPid, Published, write_without_sigpipe};
use crate::word::Word;

/// The write ends of this process, and not those of the process that it was forked from.
pub(crate) struct WriteEnds {
    generation: ForkGeneration,
    /// `None` if a filter refuses getpid(2).
    own: Option<OwnPid>,
    /// The head of a list that only grows: a signal handler may read it at any time.
    newest: Published<Place>,
    /// Places whose write end is gone. Signal handlers do not take this lock.
    idle: Mutex<Vec<&'static Place>>,
}

/// A place for a write end. Used for one after the other.
struct Place {
    end: LentFd,
    before: Option<&'static Place>,
}

static LATEST: Published<WriteEnds> = Published::empty();

impl WriteEnds {
    /// The generation is checked before any lock is taken: in a copy made by fork, a lock may be
    /// held for ever.
    fn of(generation: ForkGeneration) -> &'static WriteEnds {
        match LATEST.latest() {
            Some(ends) if ends.generation.number == generation.number => ends,
            // There is none yet, or it belongs to the process that this one was forked from.
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

    /// The write ends that a signal handler may use. Also `None` in a child of vfork(2): it shares
    /// the memory of the process, and so its generation.
    pub(crate) fn of_this_process() -> Option<&'static WriteEnds> {
        let ends = LATEST.latest().filter(|ends| ends.generation.is_current());
        // If a filter refuses getpid(2), only the generation can be compared.
        let now = OwnPid::read().ok();
        ends.filter(|ends| ends.own.is_none() || now.is_none() || ends.own == now)
    }

    /// Writes to each pipe that this process is dying. Async-signal-safe.
    pub(crate) fn announce(&self) {
        let mut next = self.newest.latest();
        while let Some(place) = next {
            // The write fails if the child is gone or has filled its pipe. Nothing can be done
            // about that.
            place.end.borrow_once(|end| {
                let _ = write_without_sigpipe(end, Word::Died.bytes());
            });
            next = place.before;
        }
    }

    fn place(&self) -> &'static Place {
        // A poisoned lock is still usable: nothing panics half-way while it is held.
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = idle.pop() {
            return place;
        }
        let before = self.newest.latest();
        let place = Place {
            end: LentFd::empty(),
            before,
        };
        // Nobody else replaces it while this thread has the lock.
        self.newest.replace(before, place)
    }
}

/// One write end. Dropping this value closes it, unless it was taken.
pub(crate) struct WriteEnd {
    ends: &'static WriteEnds,
    place: &'static Place,
}

/// Shows only its own place, not the list, which may have thousands.
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

    /// Whether this value was made in this process, and not in one that it was forked from.
    pub(crate) fn is_of_this_process(&self) -> bool {
        self.ends.generation.is_current()
    }

    /// Lends the descriptor for a write to the child. `None`: it was taken.
    pub(crate) fn borrow<T>(&self, look: impl FnOnce(BorrowedFd<'_>) -> T) -> Option<T> {
        self.place.end.borrow(look)
    }

    /// Takes the descriptor out of the reach of [`WriteEnds::announce`]. `None`: an announcement
    /// has used it already.
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
        // If an announcement uses the descriptor at this moment, both the descriptor and its place
        // stay as they are: this process is dying. In a copy made by fork the lock may be held for
        // ever, so the place is not given back there.
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
