//! Who waits for whom: plain data, changed under the registry's lock.
//!
//! An *entry* is a process that is watched, a *watch* is somebody who waits for it. The watches
//! that wait hang in their entry's list in the order in which they came. One that runs, or is being
//! dropped, is in no list.

use crate::registry::cancelled::Cancelled;
use crate::registry::numbers::Numbers;
use crate::registry::slots::{Slots, Token};
use crate::registry::subject::Subject;
use crate::{Exit, Pid};

/// What somebody who waits wants to be done.
pub(crate) type Callback = Box<dyn FnOnce(Exit) + Send>;

/// A callback that will never be called; to be dropped outside the lock, where its captures may do
/// as they please.
pub(crate) struct Unrun {
    pub(crate) pid: Pid,
    pub(crate) callback: Callback,
}

#[derive(Debug)]
pub(crate) struct Table<P> {
    entries: Slots<Entry<P>>,
    watches: Slots<Watch>,
    /// Entries by the number of their descriptor, which is theirs alone for as long as they hold
    /// it.
    by_number: Numbers,
    closed: Option<Close>,
    /// How many threads wait for something to settle.
    waiting: usize,
}

/// What becomes of the processes that are still to be reaped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Close {
    /// They are reaped, and their callbacks called: the dispatch thread stays until that is done.
    AndReap,
    /// The dispatch thread ends at once. Their callbacks are dropped too.
    AndEnd,
}

#[derive(Debug)]
struct Entry<P> {
    subject: P,
    first: Option<Token>,
    last: Option<Token>,
    reap: Reap,
    /// The dispatch thread is at it: it alone takes the entry out.
    dispatching: bool,
    /// The last watch that this dispatch tells. Who comes later has an event of his own, behind
    /// those of the other processes: a callback that watches its process again must not keep the
    /// thread for itself.
    turn: Option<Token>,
}

/// Whether a process is to be reaped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reap {
    /// No, or it was.
    No,
    /// As soon as it has exited.
    Wanted,
    /// It has exited and could not be reaped yet: a tracer holds it. The kernel tells when it lets
    /// go.
    Later,
}

struct Watch {
    entry: Token,
    before: Option<Token>,
    after: Option<Token>,
    state: State,
    /// Came with the wish to reap, and so is told even when the last watcher is gone.
    reaps: bool,
}

enum State {
    Waiting(Callback),
    /// The callback runs, without the lock.
    Running,
    /// The callback is being dropped unrun, without the lock.
    Discarding,
    /// It was dropped unrun, since the watcher is shut down. Stays for the handle to find.
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

/// How an entry has to be made known to the kernel for a new watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arm {
    /// It is new.
    Add,
    /// It is there, and has told its exit, or does at this moment: tell it again.
    Again,
    /// It is there, and whatever comes will be told.
    No,
}

/// A watch that was put in.
pub(crate) struct Inserted {
    pub(crate) entry: Token,
    pub(crate) watch: Token,
    pub(crate) arm: Arm,
    /// It was the first that wished the process reaped.
    wished: bool,
}

/// What the dispatch thread does next for a process that has exited.
pub(crate) enum Step {
    Reap,
    Run { watch: Token, callback: Callback },
    Done,
}

/// What [`Table::cancel`] found.
pub(crate) enum Found<P> {
    /// It waited, and is taken out; its entry too if the descriptor comes with it.
    Waited(Unrun, Option<P>),
    Over(Cancelled),
    /// Look again when something has settled.
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

    /// Whether there is no place for one more.
    pub(crate) fn is_full(&self) -> bool {
        self.entries.is_full() || self.watches.is_full()
    }

    /// Puts a watch at the end of its process's list. Not to be called when the table
    /// [is full](Self::is_full).
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

    /// Takes a watch out of its entry's list.
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

    /// The dispatch thread begins with a process that has exited. `None`: it is watched no more.
    pub(crate) fn begin(&mut self, entry: Token) -> Option<P> {
        let entry = self.entries.get_mut(entry)?;
        entry.dispatching = true;
        entry.turn = entry.last;
        if entry.reap == Reap::Later {
            entry.reap = Reap::Wanted;
        }
        Some(entry.subject.clone())
    }

    /// What comes next for a process that has exited: first it is reaped, then all are told who
    /// waited when it began. With [`Step::Done`] comes the subject if it is watched no more.
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
            // Only a watch that waits is in a list.
            _ => (Step::Done, None),
        }
    }

    /// A reap was tried.
    pub(crate) fn reaped(&mut self, entry: Token, done: bool) {
        if let Some(entry) = self.entries.get_mut(entry) {
            entry.reap = if done { Reap::No } else { Reap::Later };
        }
    }

    /// A callback has run.
    pub(crate) fn ran(&mut self, watch: Token) {
        self.watches.remove(watch);
    }

    /// Takes out an entry that nobody waits for, for the caller to tell the kernel.
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

    /// Takes out a watch that waits, or says why it cannot be.
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

    /// Takes back what [`insert`](Self::insert) did, since the kernel would not hear of it.
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

    /// Who still waits is told nothing, unless it came with the wish to reap and that is [still
    /// done](Close::AndReap). Gives the callbacks to drop, with the watch to name to
    /// [`discarded`](Self::discarded) afterwards, and the subjects that are watched no more.
    pub(crate) fn close(&mut self, how: Close) -> (Vec<(Token, Unrun)>, Vec<P>) {
        // A thread that was told to end is not asked to stay.
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

    /// Takes out what was to be reaped and was not.
    pub(crate) fn take_unreaped(&mut self) -> Vec<P> {
        let tokens: Vec<Token> = self.entries.tokens().collect();
        let entries = tokens.into_iter().filter_map(|token| self.take_out(token));
        entries
            .filter(|entry| entry.reap != Reap::No)
            .map(|entry| entry.subject)
            .collect()
    }

    /// The callbacks of [`close`](Self::close) were dropped.
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

    /// A process by the number of its descriptor alone.
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

    /// Told to its end, or cancelled: the number that comes again is another process, which the
    /// kernel must hear of.
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
