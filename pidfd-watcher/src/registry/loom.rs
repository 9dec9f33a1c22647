//! Every order in which threads can meet in the registry. Run by `cargo xtask loom`.
//!
//! Here the kernel is a queue of events, and a process is a number with a switch. This explores the
//! protocol, in which the real system calls change nothing.

use std::collections::VecDeque;
use std::os::fd::RawFd;

use loom::sync::Arc;
use loom::sync::Mutex;
use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use loom::thread;
use rustix::io::Errno;

use crate::registry::{
    Callback, Caller, Cancelled, Close, Events, Registry, Subject, Token, Unrun,
};
use crate::{Exit, Pid};

/// A process that has exited from the start, so that each watch causes an event.
#[derive(Clone)]
struct Dead {
    number: RawFd,
    reaps: Arc<AtomicUsize>,
}

fn dead(number: RawFd) -> Dead {
    Dead {
        number,
        reaps: Arc::new(AtomicUsize::new(0)),
    }
}

impl Subject for Dead {
    fn number(&self) -> RawFd {
        self.number
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.number).unwrap()
    }

    fn exit(&self) -> Exit {
        Exit {
            pid: self.pid(),
            status: None,
        }
    }

    fn reap(&self) -> bool {
        self.reaps.fetch_add(1, Ordering::Relaxed);
        true
    }
}

/// The kernel: which numbers are registered, and which events are ready.
#[derive(Default)]
struct Kernel(Mutex<(Vec<RawFd>, VecDeque<Token>)>);

impl Kernel {
    fn next(&self) -> Option<Token> {
        self.0.lock().unwrap().1.pop_front()
    }

    fn is_empty(&self) -> bool {
        self.0.lock().unwrap().0.is_empty()
    }
}

impl Events<Dead> for Kernel {
    fn add(&self, subject: &Dead, entry: Token) -> Result<(), Errno> {
        let mut kernel = self.0.lock().unwrap();
        // What the real kernel returns for a descriptor that is registered already.
        if kernel.0.contains(&subject.number) {
            return Err(Errno::EXIST);
        }
        kernel.0.push(subject.number);
        kernel.1.push_back(entry);
        Ok(())
    }

    fn again(&self, subject: &Dead, entry: Token) -> Result<(), Errno> {
        let mut kernel = self.0.lock().unwrap();
        if !kernel.0.contains(&subject.number) {
            return Err(Errno::NOENT);
        }
        kernel.1.push_back(entry);
        Ok(())
    }

    fn delete(&self, subject: &Dead) {
        // An event that was taken already stays taken: the dispatch thread has it from epoll_wait.
        let mut kernel = self.0.lock().unwrap();
        let before = kernel.0.len();
        kernel.0.retain(|number| *number != subject.number);
        assert_eq!(kernel.0.len() + 1, before, "deleted what was not there");
    }
}

struct Plain;

impl Caller for Plain {
    fn call(&self, callback: Callback, exit: Exit) {
        callback(exit);
    }

    fn drop_unrun(&self, unrun: Unrun) {
        drop(unrun.callback);
    }

    fn is_copy(&self) -> bool {
        false
    }
}

/// A watcher's thread and its data.
struct House {
    registry: Registry<Dead>,
    kernel: Kernel,
}

impl House {
    fn new() -> Arc<House> {
        Arc::new(House {
            registry: Registry::new(),
            kernel: Kernel::default(),
        })
    }

    fn watch(&self, subject: &Dead, reaps: bool, callback: Callback) -> Token {
        self.registry
            .watch(subject, callback, reaps, &self.kernel, &Plain)
            .unwrap()
    }

    fn cancel(&self, watch: Token, may_wait: bool) -> Cancelled {
        self.registry
            .cancel(watch, may_wait, Some(&self.kernel), &Plain)
    }

    fn dispatch_all(&self) {
        while let Some(entry) = self.kernel.next() {
            self.registry.dispatch(entry, &self.kernel, &Plain);
        }
    }
}

/// What happened to one callback.
#[derive(Clone, Default)]
struct Fate(Arc<(AtomicBool, AtomicBool)>);

impl Fate {
    /// A callback that records that it ran, and that its captures were dropped.
    fn callback(&self) -> Callback {
        struct Capture(Fate);
        impl Drop for Capture {
            fn drop(&mut self) {
                assert!(!self.0.0.1.swap(true, Ordering::Relaxed), "dropped twice");
            }
        }
        let capture = Capture(self.clone());
        Box::new(move |_| {
            let before = capture.0.0.0.swap(true, Ordering::Relaxed);
            assert!(!before, "ran twice");
        })
    }

    fn ran(&self) -> bool {
        self.0.0.load(Ordering::Relaxed)
    }

    fn dropped(&self) -> bool {
        self.0.1.load(Ordering::Relaxed)
    }

    /// What a cancel that may wait promises.
    fn agrees_with(&self, cancelled: Cancelled) {
        assert!(self.dropped(), "{cancelled:?}, and the captures are there");
        match cancelled {
            Cancelled::Prevented => assert!(!self.ran(), "prevented and run"),
            Cancelled::AlreadyRan => assert!(self.ran(), "run and not run"),
            Cancelled::Running => panic!("a cancel that may wait says so of nothing"),
        }
    }
}

#[test]
fn cancel_and_exit_of_two_processes_leave_no_doubt() {
    loom::model(|| {
        let house = House::new();
        let fates = [Fate::default(), Fate::default()];
        let subjects = [dead(1), dead(2)];
        let watches = [0, 1].map(|n| house.watch(&subjects[n], false, fates[n].callback()));
        let dispatcher = {
            let house = Arc::clone(&house);
            thread::spawn(move || house.dispatch_all())
        };
        for (watch, fate) in watches.into_iter().zip(&fates) {
            fate.agrees_with(house.cancel(watch, true));
        }
        dispatcher.join().unwrap();
        assert!(
            house.kernel.is_empty(),
            "nobody waits, nothing is registered"
        );
    });
}

#[test]
fn a_watch_that_comes_while_its_process_is_told_is_told_too() {
    loom::model(|| {
        let house = House::new();
        let subject = dead(1);
        let (first, second) = (Fate::default(), Fate::default());
        house.watch(&subject, false, first.callback());
        let dispatcher = {
            let house = Arc::clone(&house);
            thread::spawn(move || house.dispatch_all())
        };
        house.watch(&subject, true, second.callback());
        dispatcher.join().unwrap();
        house.dispatch_all();
        assert!(first.ran() && second.ran());
        assert_eq!(subject.reaps.load(Ordering::Relaxed), 1);
        assert!(house.kernel.is_empty());
    });
}

#[test]
fn shutdown_drops_what_waits_keeps_what_reaps_and_agrees_with_every_cancel() {
    loom::model(|| {
        let house = House::new();
        let (plain, reaping) = (Fate::default(), Fate::default());
        let (one, other) = (dead(1), dead(2));
        let watch = house.watch(&one, false, plain.callback());
        house.watch(&other, true, reaping.callback());
        let dispatcher = {
            let house = Arc::clone(&house);
            thread::spawn(move || house.dispatch_all())
        };
        let closer = {
            let house = Arc::clone(&house);
            thread::spawn(move || {
                house
                    .registry
                    .close(Close::AndReap, Some(&house.kernel), &Plain);
            })
        };
        plain.agrees_with(house.cancel(watch, true));
        closer.join().unwrap();
        dispatcher.join().unwrap();
        assert!(reaping.ran() && reaping.dropped());
        assert_eq!(other.reaps.load(Ordering::Relaxed), 1);
        assert!(house.registry.is_finished() && house.kernel.is_empty());
    });
}

#[test]
fn callbacks_of_two_watchers_that_cancel_each_other_do_not_wait_for_ever() {
    loom::model(|| {
        let houses = [House::new(), House::new()];
        let watches: Arc<Mutex<[Option<Token>; 2]>> = Arc::new(Mutex::new([None; 2]));
        for n in [0, 1] {
            let (watches_then, other) = (Arc::clone(&watches), Arc::clone(&houses[1 - n]));
            let cancel_the_other = Box::new(move |_| {
                let watch = watches_then.lock().unwrap()[1 - n].unwrap();
                // On a dispatch thread: never waits.
                let _ = other.cancel(watch, false);
            });
            let watch = houses[n].watch(&dead(1), false, cancel_the_other);
            watches.lock().unwrap()[n] = Some(watch);
        }
        let threads = houses.each_ref().map(|house| {
            let house = Arc::clone(house);
            thread::spawn(move || house.dispatch_all())
        });
        for thread in threads {
            thread.join().unwrap();
        }
        for house in &houses {
            assert!(house.kernel.is_empty());
        }
        // The callbacks hold the houses and are run or dropped: nothing keeps them in a ring.
        drop(watches);
    });
}

#[test]
fn two_threads_that_cancel_what_a_third_runs_both_wait_for_it() {
    loom::model(|| {
        let house = House::new();
        let subject = dead(1);
        let fates = [Fate::default(), Fate::default()];
        let watches = [0, 1].map(|n| house.watch(&subject, false, fates[n].callback()));
        let dispatcher = {
            let house = Arc::clone(&house);
            thread::spawn(move || house.dispatch_all())
        };
        let canceller = {
            let (house, fate) = (Arc::clone(&house), fates[0].clone());
            thread::spawn(move || fate.agrees_with(house.cancel(watches[0], true)))
        };
        fates[1].agrees_with(house.cancel(watches[1], true));
        canceller.join().unwrap();
        dispatcher.join().unwrap();
        assert!(house.kernel.is_empty());
    });
}

#[test]
fn shutdown_that_ends_the_thread_gives_back_what_was_not_reaped() {
    loom::model(|| {
        let house = House::new();
        let (plain, reaping) = (Fate::default(), Fate::default());
        let (one, other) = (dead(1), dead(2));
        let watch = house.watch(&one, false, plain.callback());
        house.watch(&other, true, reaping.callback());
        let dispatcher = {
            let house = Arc::clone(&house);
            thread::spawn(move || {
                while !house.registry.is_finished() {
                    let Some(entry) = house.kernel.next() else {
                        break;
                    };
                    house.registry.dispatch(entry, &house.kernel, &Plain);
                }
            })
        };
        house
            .registry
            .close(Close::AndEnd, Some(&house.kernel), &Plain);
        dispatcher.join().unwrap();
        let unreaped = house.registry.take_unreaped();
        let reaps = other.reaps.load(Ordering::Relaxed);
        assert_eq!(unreaped.len() + reaps, 1, "reaped or given back");
        assert!(reaping.dropped());
        plain.agrees_with(house.cancel(watch, true));
    });
}
