//! Who waits for which process: plain data, changed under the registry's lock.
//!
//! An *entry* is a process that is watched. A *watch* is a caller that waits for it. The waiting
//! watches are in their entry's list, in the order in which they came. A watch that runs or is
//! being dropped is in no list.

use crate::registry::cancelled::Cancelled;
use crate::registry::numbers::Numbers;
use crate::registry::slots::{Slots, Token};
use crate::registry::subject::Subject;
use crate::{Exit, Pid};

/// The callback of a caller that waits.
pub(crate) type Callback = Box<dyn FnOnce(Exit) + Send>;

/// A callback that will never be called. Drop it outside the lock, because its captures may do
/// anything.
pub(crate) struct Unrun {
    pub(crate) pid: Pid,
    pub(crate) callback: Callback,
}

#[derive(Debug)]
pub(crate) struct Table<P> {
    entries: Slots<Entry<P>>,
    watches: Slots<Watch>,
    /// Entries by the number of their descriptor. An entry holds its descriptor, so no other entry
    /// has the number.
    by_number: Numbers,
    closed: Option<Close>,
    /// How many threads wait for something to settle.
    waiting: usize,
}

/// What happens to processes that must still be reaped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Close {
    /// They are reaped, and their callbacks called. The dispatch thread stays until that is done.
    AndReap,
    /// The dispatch thread ends at once. Their callbacks are dropped as well.
    AndEnd,
}

#[derive(Debug)]
struct Entry<P> {
    subject: P,
    first: Option<Token>,
    last: Option<Token>,
    reap: Reap,
    /// The dispatch thread works on it, and only that thread removes the entry.
    dispatching: bool,
    /// The last watch that this dispatch tells. A watch that comes later gets its own event, behind
    /// those of the other processes. Otherwise a callback that watches its process again could
    /// occupy the thread.
    turn: Option<Token>,
}

/// Whether a process must be reaped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reap {
    /// No, or it was reaped already.
    No,
    /// Yes, as soon as it has exited.
    Wanted,
    /// It has exited but could not be reaped yet, because a tracer holds it. The kernel sends an
    /// event when the tracer lets go.
    Later,
}

struct Watch {
    entry: Token,
    before: Option<Token>,
    after: Option<Token>,
    state: State,
    /// It asked for a reap. So it is called even when the last watcher is gone.
    reaps: bool,
}

enum State {
    Waiting(Callback),
    /// The callback is running, without the lock.
    Running,
    /// The callback is being dropped unrun, without the lock.
    Discarding,
    /// The callback was dropped unrun, because the watcher is shut down. The watch stays so that
    /// its handle finds this.
    Discarded,
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watch")
            .field("entry", &self.entry)
            .field("reaps", &self.reaps)
            .finish_non_exhaustive()
    }
}

/// What to tell the kernel about an entry that gets a new watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arm {
    /// The entry is new.
    Add,
    /// The entry is known, but its exit was reported already, or is being reported now: ask for
    /// another event.
    Again,
    /// The entry is known, and the next event will come anyway.
    No,
}

/// A watch that was added.
pub(crate) struct Inserted {
    pub(crate) entry: Token,
    pub(crate) watch: Token,
    pub(crate) arm: Arm,
    /// It was the first that asked for a reap.
    wished: bool,
}

/// What the dispatch thread has to do next for a process that has exited.
pub(crate) enum Step {
    Reap,
    Run { watch: Token, callback: Callback },
    Done,
}

/// The result of [`Table::cancel`].
pub(crate) enum Found<P> {
    /// It waited, and is removed. If there is a descriptor, its entry is removed too.
    Waited(Unrun, Option<P>),
    Over(Cancelled),
    /// Try again when something has settled.
    Busy,
}

impl<P: Subject> Table<P> {
    pub(crate) fn new() -> Table<P> {
        Table {
            entries: Slots::new(),
            watches: Slots::new(),
            by_number: Numbers::default(),
            closed: None,
            waiting: 0,
        }
    }

    pub(crate) fn somebody_waits(&self) -> bool {
        self.waiting > 0
    }

    pub(crate) fn waits(&mut self) {
        self.waiting += 1;
    }

    pub(crate) fn waits_no_more(&mut self) {
        self.waiting -= 1;
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.is_some()
    }

    /// Whether the dispatch thread has nothing left to do.
    pub(crate) fn is_finished(&self) -> bool {
        match self.closed {
            None => false,
            Some(Close::AndReap) => self.entries.is_empty(),
            Some(Close::AndEnd) => true,
        }
    }

    /// Whether there is no room for another watch.
    pub(crate) fn is_full(&self) -> bool {
        self.entries.is_full() || self.watches.is_full()
    }

    /// Adds a watch at the end of its process's list. Do not call it if the table [is
    /// full](Self::is_full).
    pub(crate) fn insert(&mut self, subject: &P, callback: Callback, reaps: bool) -> Inserted {
        let number = subject.number();
        let known = self.by_number.get(number);
        let entry = known.unwrap_or_else(|| {
            let token = self.entries.insert(Entry::new(subject.clone()));
            self.by_number.insert(number, token);
            token
        });
        let watch = self.watches.insert(Watch {
            entry,
            before: None,
            after: None,
            state: State::Waiting(callback),
            reaps,
        });
        let arm = match self.entries.get(entry) {
            _ if known.is_none() => Arm::Add,
            Some(entry) if entry.reap == Reap::Later || entry.dispatching => Arm::Again,
            _ => Arm::No,
        };
        let mut wished = false;
        if let Some(entry) = self.entries.get_mut(entry)
            && reaps
            && entry.reap == Reap::No
        {
            entry.reap = Reap::Wanted;
            wished = true;
        }
        self.link(entry, watch);
        Inserted {
            entry,
            watch,
            arm,
            wished,
        }
    }

    fn link(&mut self, entry: Token, watch: Token) {
        let Some(entry) = self.entries.get_mut(entry) else {
            return;
        };
        let last = entry.last.replace(watch);
        match last.and_then(|last| self.watches.get_mut(last)) {
            Some(last) => last.after = Some(watch),
            None => entry.first = Some(watch),
        }
        if let Some(watch) = self.watches.get_mut(watch) {
            watch.before = last;
        }
    }

    /// Removes a watch from its entry's list.
    fn unlink(&mut self, watch: Token) {
        let Some(&mut Watch {
            entry,
            ref mut before,
            ref mut after,
            ..
        }) = self.watches.get_mut(watch)
        else {
            return;
        };
        let (before, after) = (before.take(), after.take());
        let Some(entry) = self.entries.get_mut(entry) else {
            return;
        };
        if entry.turn == Some(watch) {
            entry.turn = before;
        }
        match before.and_then(|before| self.watches.get_mut(before)) {
            Some(before) => before.after = after,
            None => entry.first = after,
        }
        match after.and_then(|after| self.watches.get_mut(after)) {
            Some(after) => after.before = before,
            None => entry.last = before,
        }
    }

    /// The dispatch thread begins with a process that has exited. `None` if it is not watched any
    /// more.
    pub(crate) fn begin(&mut self, entry: Token) -> Option<P> {
        let entry = self.entries.get_mut(entry)?;
        entry.dispatching = true;
        entry.turn = entry.last;
        if entry.reap == Reap::Later {
            entry.reap = Reap::Wanted;
        }
        Some(entry.subject.clone())
    }

    /// The next step for a process that has exited. First it is reaped, then all watches are told
    /// that waited when the dispatch began. [`Step::Done`] comes with the subject if it is not
    /// watched any more.
    pub(crate) fn next(&mut self, token: Token) -> (Step, Option<P>) {
        let Some(entry) = self.entries.get_mut(token) else {
            return (Step::Done, None);
        };
        if entry.reap == Reap::Wanted {
            return (Step::Reap, None);
        }
        let Some(watch) = entry.turn.and(entry.first) else {
            entry.dispatching = false;
            return (Step::Done, self.remove_if_idle(token));
        };
        self.unlink(watch);
        let state = self
            .watches
            .get_mut(watch)
            .map(|watch| std::mem::replace(&mut watch.state, State::Running));
        match state {
            Some(State::Waiting(callback)) => (Step::Run { watch, callback }, None),
            // Only waiting watches are in a list.
            _ => (Step::Done, None),
        }
    }

    /// Records the result of a reap.
    pub(crate) fn reaped(&mut self, entry: Token, done: bool) {
        if let Some(entry) = self.entries.get_mut(entry) {
            entry.reap = if done { Reap::No } else { Reap::Later };
        }
    }

    /// Records that a callback has run.
    pub(crate) fn ran(&mut self, watch: Token) {
        self.watches.remove(watch);
    }

    /// Removes an entry that nobody waits for. The caller then tells the kernel.
    fn remove_if_idle(&mut self, token: Token) -> Option<P> {
        let entry = self.entries.get(token)?;
        if entry.first.is_some() || entry.reap != Reap::No || entry.dispatching {
            return None;
        }
        self.take_out(token).map(|entry| entry.subject)
    }

    fn take_out(&mut self, token: Token) -> Option<Entry<P>> {
        let entry = self.entries.remove(token)?;
        self.by_number.remove(entry.subject.number());
        Some(entry)
    }

    /// Removes a waiting watch, or says why that is not possible.
    pub(crate) fn cancel(&mut self, token: Token) -> Found<P> {
        let Some(watch) = self.watches.get_mut(token) else {
            return Found::Over(Cancelled::AlreadyRan);
        };
        let entry = watch.entry;
        match watch.state {
            State::Waiting(_) => {}
            State::Running | State::Discarding => return Found::Busy,
            State::Discarded => return Found::Over(Cancelled::Prevented),
        }
        self.unlink(token);
        let pid = self.entries.get(entry).map(|entry| entry.subject.pid());
        match (self.watches.remove(token).map(|watch| watch.state), pid) {
            (Some(State::Waiting(callback)), Some(pid)) => {
                let unrun = Unrun { pid, callback };
                Found::Waited(unrun, self.remove_if_idle(entry))
            }
            _ => Found::Over(Cancelled::Prevented),
        }
    }

    /// Undoes [`insert`](Self::insert), because the kernel refused the watch.
    pub(crate) fn retract(&mut self, inserted: &Inserted) -> Option<Unrun> {
        if inserted.wished
            && let Some(entry) = self.entries.get_mut(inserted.entry)
        {
            entry.reap = Reap::No;
        }
        match self.cancel(inserted.watch) {
            Found::Waited(unrun, _) => Some(unrun),
            Found::Over(_) | Found::Busy => None,
        }
    }

    /// Takes the callbacks of all that still wait, except those that asked for a reap if it is
    /// [still done](Close::AndReap). Returns the callbacks to drop, each with the watch to pass to
    /// [`discarded`](Self::discarded) afterwards, and the subjects that are not watched any more.
    pub(crate) fn close(&mut self, how: Close) -> (Vec<(Token, Unrun)>, Vec<P>) {
        // A thread that was told to end is not told to stay.
        if self.closed != Some(Close::AndEnd) {
            self.closed = Some(how);
        }
        let mut unrun = Vec::new();
        let tokens: Vec<Token> = self.watches.tokens().collect();
        for token in tokens {
            let Some(watch) = self.watches.get_mut(token) else {
                continue;
            };
            let stays = watch.reaps && how == Close::AndReap;
            if stays || !matches!(watch.state, State::Waiting(_)) {
                continue;
            }
            let entry = watch.entry;
            let state = std::mem::replace(&mut watch.state, State::Discarding);
            self.unlink(token);
            let pid = self.entries.get(entry).map(|entry| entry.subject.pid());
            if let (State::Waiting(callback), Some(pid)) = (state, pid) {
                unrun.push((token, Unrun { pid, callback }));
            }
        }
        let tokens: Vec<Token> = self.entries.tokens().collect();
        let idle = tokens
            .into_iter()
            .filter_map(|token| self.remove_if_idle(token))
            .collect();
        (unrun, idle)
    }

    /// Takes the processes that should have been reaped and were not.
    pub(crate) fn take_unreaped(&mut self) -> Vec<P> {
        let tokens: Vec<Token> = self.entries.tokens().collect();
        let entries = tokens.into_iter().filter_map(|token| self.take_out(token));
        entries
            .filter(|entry| entry.reap != Reap::No)
            .map(|entry| entry.subject)
            .collect()
    }

    /// Records that the callbacks from [`close`](Self::close) were dropped.
    pub(crate) fn discarded(&mut self, watches: impl Iterator<Item = Token>) {
        for watch in watches {
            if let Some(watch) = self.watches.get_mut(watch) {
                watch.state = State::Discarded;
            }
        }
    }
}

impl<P> Entry<P> {
    fn new(subject: P) -> Entry<P> {
        Entry {
            subject,
            first: None,
            last: None,
            reap: Reap::No,
            dispatching: false,
            turn: None,
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::os::fd::RawFd;

    use super::*;

    /// A process that has only the number of its descriptor.
    #[derive(Clone, Debug)]
    struct Numbered(RawFd);

    impl Subject for Numbered {
        fn number(&self) -> RawFd {
            self.0
        }

        fn pid(&self) -> Pid {
            Pid::INIT
        }

        fn exit(&self) -> Exit {
            Exit {
                pid: self.pid(),
                status: None,
            }
        }

        fn reap(&self) -> bool {
            true
        }
    }

    /// Whether the entry was told or cancelled: if its number comes again, it is another process,
    /// and the kernel must be told of it.
    #[test]
    fn number_of_an_entry_that_is_gone_names_nothing() {
        let mut table = Table::new();
        let first = table.insert(&Numbered(7), Box::new(|_| ()), false);
        assert_eq!(first.arm, Arm::Add);
        assert!(table.begin(first.entry).is_some());
        assert!(matches!(table.next(first.entry).0, Step::Run { .. }));
        table.ran(first.watch);
        assert!(matches!(table.next(first.entry), (Step::Done, Some(_))));
        let second = table.insert(&Numbered(7), Box::new(|_| ()), false);
        assert_eq!(second.arm, Arm::Add);
        assert_ne!(second.entry, first.entry);
        assert!(
            table.begin(first.entry).is_none(),
            "a late event of the first"
        );
        let beside = table.insert(&Numbered(7), Box::new(|_| ()), false);
        assert_eq!((beside.entry, beside.arm), (second.entry, Arm::No));
        for watch in [second.watch, beside.watch] {
            assert!(matches!(table.cancel(watch), Found::Waited(..)));
        }
        let third = table.insert(&Numbered(7), Box::new(|_| ()), false);
        assert_eq!(third.arm, Arm::Add);
        assert_ne!(third.entry, second.entry);
    }
}
