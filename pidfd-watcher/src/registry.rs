//! Who waits for which process, and what a cancel must wait for. It makes no system call and has no
//! thread of its own. Two traits stand for the kernel, so that loom can try every order of events.

mod cancelled;
#[cfg(all(test, loom))]
mod loom;
mod numbers;
mod slots;
mod subject;
mod sync;
mod table;

use std::sync::PoisonError;

use rustix::io::Errno;

use crate::registry::sync::{Condvar, Mutex, MutexGuard};
use crate::registry::table::{Arm, Found, Step, Table};
use crate::{Error, Exit};

pub use crate::registry::cancelled::Cancelled;
pub(crate) use crate::registry::slots::Token;
pub(crate) use crate::registry::subject::Subject;
pub(crate) use crate::registry::table::{Callback, Close, Unrun};

/// Where events come from.
pub(crate) trait Events<P> {
    /// Starts events: one now if the process has exited, and one at each later change of its end.
    fn add(&self, subject: &P, entry: Token) -> Result<(), Errno>;
    /// Sends one more event, now, if the process has exited.
    fn again(&self, subject: &P, entry: Token) -> Result<(), Errno>;
    /// Stops events.
    fn delete(&self, subject: &P);
}

/// Calls callbacks, or drops them uncalled. Neither may panic.
pub(crate) trait Caller {
    /// Does not return in a copy of this process that the callback made by fork.
    fn call(&self, callback: Callback, exit: Exit);
    fn drop_unrun(&self, unrun: Unrun);
    /// Whether the caller runs in a forked copy of the registry's process. A dropped callback may
    /// have forked. In the copy, a lock that another thread held stays locked for ever.
    fn is_copy(&self) -> bool;
}

#[derive(Debug)]
pub(crate) struct Registry<P> {
    table: Mutex<Table<P>>,
    /// Signalled when a callback has run or was dropped, because somebody may be waiting for that.
    settled: Condvar,
}

impl<P: Subject> Registry<P> {
    pub(crate) fn new() -> Registry<P> {
        Registry {
            table: Mutex::new(Table::new()),
            settled: Condvar::new(),
        }
    }

    /// Nothing panics under the lock. If something did, the table would still be consistent between
    /// any two statements that matter.
    fn table(&self) -> MutexGuard<'_, Table<P>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it accepts no more callbacks.
    pub(crate) fn is_closed(&self) -> bool {
        self.table().is_closed()
    }

    /// Whether the dispatch thread has nothing left to do.
    pub(crate) fn is_finished(&self) -> bool {
        self.table().is_finished()
    }

    /// Adds a callback. If it `reaps`, the process is reaped first, and the callback is called even
    /// after [`close`](Self::close).
    ///
    /// This updates epoll under the lock. So nobody can start to wait for this process between
    /// "nobody waits for it any more" and "no more events".
    #[allow(clippy::inline_always, reason = "see `Watcher::register`")]
    #[inline(always)]
    pub(crate) fn watch(
        &self,
        subject: &P,
        callback: Callback,
        reaps: bool,
        events: &impl Events<P>,
        caller: &impl Caller,
    ) -> Result<Token, Error> {
        let mut table = self.table();
        if table.is_closed() {
            return Err(Error::ShutDown);
        }
        if table.is_full() {
            return Err(Error::of_watch(Errno::NOSPC));
        }
        let inserted = table.insert(subject, callback, reaps);
        let armed = match inserted.arm {
            Arm::Add => events.add(subject, inserted.entry),
            Arm::Again => events.again(subject, inserted.entry),
            Arm::No => Ok(()),
        };
        let Err(errno) = armed else {
            return Ok(inserted.watch);
        };
        let undone = table.retract(&inserted);
        drop(table);
        if let Some(unrun) = undone {
            caller.drop_unrun(unrun);
        }
        Err(Error::of_watch(errno))
    }

    /// For the dispatch thread: the end of an entry has changed. Reaps if somebody asked for that,
    /// then calls all that wait, without the lock.
    pub(crate) fn dispatch(&self, entry: Token, events: &impl Events<P>, caller: &impl Caller) {
        let Some(subject) = self.table().begin(entry) else {
            // It was cancelled after the kernel had reported it.
            return;
        };
        let mut told = None;
        let mut finished = None;
        loop {
            let step = self.step(entry, finished.take(), events);
            match step {
                Step::Reap => {
                    let done = subject.reap();
                    self.table().reaped(entry, done);
                }
                Step::Run { watch, callback } => {
                    let exit = *told.get_or_insert_with(|| subject.exit());
                    caller.call(callback, exit);
                    finished = Some(watch);
                }
                Step::Done => return,
            }
        }
    }

    fn step(&self, entry: Token, finished: Option<Token>, events: &impl Events<P>) -> Step {
        let mut table = self.table();
        if let Some(watch) = finished {
            table.ran(watch);
            self.settle(&table);
        }
        let (step, idle) = table.next(entry);
        if let Some(subject) = idle {
            events.delete(&subject);
        }
        step
    }

    /// Cancels a callback. If `may_wait` is set (not on a dispatch thread), waits for one that is
    /// running, so that it has ended when this returns.
    pub(crate) fn cancel(
        &self,
        watch: Token,
        may_wait: bool,
        events: Option<&impl Events<P>>,
        caller: &impl Caller,
    ) -> Cancelled {
        let mut table = self.table();
        loop {
            match table.cancel(watch) {
                Found::Over(cancelled) => return cancelled,
                Found::Busy if !may_wait => return Cancelled::Running,
                Found::Busy => {
                    table.waits();
                    table = self
                        .settled
                        .wait(table)
                        .unwrap_or_else(PoisonError::into_inner);
                    table.waits_no_more();
                }
                Found::Waited(unrun, idle) => {
                    if let (Some(subject), Some(events)) = (idle, events) {
                        events.delete(&subject);
                    }
                    drop(table);
                    caller.drop_unrun(unrun);
                    return Cancelled::Prevented;
                }
            }
        }
    }

    /// Drops the waiting callbacks, and accepts no more.
    pub(crate) fn close(&self, how: Close, events: Option<&impl Events<P>>, caller: &impl Caller) {
        let mut table = self.table();
        let (unrun, idle) = table.close(how);
        if let Some(events) = events {
            for subject in &idle {
                events.delete(subject);
            }
        }
        drop(table);
        drop(idle);
        let (watches, unrun): (Vec<Token>, Vec<Unrun>) = unrun.into_iter().unzip();
        let mut unrun = unrun.into_iter();
        for one in unrun.by_ref() {
            caller.drop_unrun(one);
            if caller.is_copy() {
                // The other callbacks belong to the parent.
                std::mem::forget(unrun);
                return;
            }
        }
        table = self.table();
        table.discarded(watches.into_iter());
        self.settle(&table);
    }

    /// After [`Close::AndEnd`], when the dispatch thread has ended: takes the subjects that it
    /// should have reaped and has not.
    pub(crate) fn take_unreaped(&self) -> Vec<P> {
        self.table().take_unreaped()
    }

    /// Wakes those that wait. Checks first whether there are any, because waking nobody is a system
    /// call too.
    fn settle(&self, table: &Table<P>) {
        if table.somebody_waits() {
            self.settled.notify_all();
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::cell::Cell;
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use super::*;
    use crate::Process;

    struct Nothing;

    impl Events<Process> for Nothing {
        fn add(&self, _: &Process, _: Token) -> Result<(), Errno> {
            Ok(())
        }

        fn again(&self, _: &Process, _: Token) -> Result<(), Errno> {
            Ok(())
        }

        fn delete(&self, _: &Process) {}
    }

    /// The first callback that is dropped forks, at a moment when another thread has the lock.
    struct Forks<'a> {
        registry: &'a Registry<Process>,
        forked: Cell<bool>,
    }

    impl Caller for Forks<'_> {
        fn call(&self, _: Callback, _: Exit) {}

        fn drop_unrun(&self, unrun: Unrun) {
            drop(unrun);
            if !self.forked.replace(true) {
                std::mem::forget(self.registry.table());
            }
        }

        fn is_copy(&self) -> bool {
            self.forked.get()
        }
    }

    #[test]
    fn copy_made_while_callbacks_are_dropped_takes_no_lock_and_drops_no_more() {
        let (say, said) = channel();
        std::thread::spawn(move || {
            let registry = Registry::new();
            let process = Process::open(rustix::process::getpid()).expect("own process");
            let captured = std::sync::Arc::new(());
            let caller = Forks {
                registry: &registry,
                forked: Cell::new(false),
            };
            for _ in 0..3 {
                let captured = std::sync::Arc::clone(&captured);
                let callback = Box::new(move |_| drop(captured));
                let watched = registry.watch(&process, callback, false, &Nothing, &caller);
                watched.expect("watch");
            }
            registry.close(Close::AndReap, Some(&Nothing), &caller);
            let _ = say.send(std::sync::Arc::strong_count(&captured));
        });
        assert_eq!(said.recv_timeout(Duration::from_secs(60)), Ok(3));
    }
}
