//! The words themselves, as a process sees them that maps the page and is no watchdog.

use std::collections::HashSet;
use std::fs;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::sync_channel;

use rustix::mm::{MapFlags, ProtFlags, mmap};
use rustix::thread::futex;
use rustix::thread::futex::Flags;
use watchdog_pipe::{ChildSetup, Guarantees, Keepalive, ReleaseError};
use workspace_tests::fork::{Cue, Fork};
use workspace_tests::halt::Halt;
use workspace_tests::{alone, proc_fs, time_limit, until};

use super::given::{Given, sentinel_mappings, sockets};
use super::take_in_orphans;

/// A mapping of a link's word, for good.
pub struct Word {
    word: &'static AtomicU32,
    /// In the page: which slot it is.
    offset: u64,
}

/// A link, its pipe's read end, and its word.
fn link() -> (Keepalive, ChildSetup, Word) {
    let (keepalive, mut setup) = watchdog_pipe::channel().expect("channel");
    let word = Word::at(&Given::of(&mut setup));
    (keepalive, setup, word)
}

/// Where the slot of a link lies.
fn offset(variable: &str) -> u64 {
    let (_, place) = variable.split_once("sentinel=").expect("a sentinel");
    let offset = place.split(':').nth(3).expect("an offset");
    offset.parse().expect("a number")
}

impl Word {
    /// Of what a child was given.
    pub fn at(given: &Given) -> Word {
        let offset = offset(&given.variable);
        let within = usize::try_from(offset % 4096).expect("less than a page");
        let (start, access) = (offset - offset % 4096, ProtFlags::READ);
        // SAFETY: a new mapping at an address of the kernel's choice, never undone; the file is
        // sealed against being cut, and nothing but aligned words that are written to by atomics
        // lies in it.
        let word = unsafe {
            let page = mmap(
                std::ptr::null_mut(),
                4096,
                access,
                MapFlags::SHARED,
                &given.fds[1],
                start,
            );
            &*page.expect("mmap").byte_add(within).cast::<AtomicU32>()
        };
        Word { word, offset }
    }

    pub fn address(&self) -> *const u32 {
        self.word.as_ptr()
    }

    /// Until it is woken.
    pub fn sleep(&self) {
        let held = self.word.load(Ordering::Acquire);
        futex::wait(self.word, Flags::empty(), held, None).expect("it is woken");
    }

    fn is_held(&self) -> bool {
        self.word.load(Ordering::Acquire) & libc::FUTEX_TID_MASK != 0
    }
}

/// Waits until a thread sleeps in futex(2).
pub fn sleeps_on_a_word(pid: i32, thread: i32) {
    until("a thread sleeps on a word", || {
        let call = fs::read_to_string(format!("/proc/{pid}/task/{thread}/syscall")).ok()?;
        let number = call.split(' ').next()?.parse::<libc::c_long>().ok()?;
        (number == libc::SYS_futex).then_some(())
    });
}

/// Waits until this process has so many threads: one that was joined is listed for a moment longer.
pub fn threads_are(count: usize) {
    until("threads come or go", || {
        let tasks = fs::read_dir("/proc/self/task").expect("tasks");
        (tasks.count() == count).then_some(())
    });
}

/// The number of a thread of a process.
pub fn thread_named(pid: i32, name: &str) -> i32 {
    until("the thread has its name", || {
        let mut tasks = fs::read_dir(format!("/proc/{pid}/task")).ok()?;
        let found = tasks.find_map(|task| {
            let task = task.ok()?;
            let comm = fs::read_to_string(task.path().join("comm")).ok()?;
            (comm.trim() == name).then(|| task.file_name())
        });
        found?.to_string_lossy().parse().ok()
    })
}

/// Whoever sleeps on a slot's word when another link gets it is woken then: the kernel wakes one
/// sleeper alone, and that one, which may be stopped or ill-disposed, would have the wake that is
/// the new child's.
#[test]
fn whoever_still_sleeps_on_a_word_is_woken_when_it_is_another_links() {
    alone!({
        take_in_orphans();
        let (keepalive, _setup, word) = link();
        let offset = word.offset;
        let (tell, told) = sync_channel(2);
        std::thread::spawn(move || {
            let thread = rustix::thread::gettid().as_raw_nonzero().get();
            tell.send(thread).expect("the test listens");
            word.sleep();
            tell.send(0).expect("the test listens");
        });
        let thread = told.recv_timeout(time_limit()).expect("a thread");
        sleeps_on_a_word(rustix::process::getpid().as_raw_nonzero().get(), thread);
        drop(keepalive);
        assert!(told.try_recv().is_err(), "it is not woken for that");
        let (_held, _setup, again) = (0..10_000)
            .map(|_| link())
            .find(|(_, _, other)| other.offset == offset)
            .expect("the slot is used again");
        assert!(again.is_held());
        told.recv_timeout(time_limit()).expect("it is woken");
    });
}

/// A slot that was given back is not the next link's: its last child has time to look away.
#[test]
fn slot_that_was_given_back_rests_while_others_are_used() {
    alone!({
        take_in_orphans();
        let (_other, other) = watchdog_pipe::channel().expect("channel");
        for _ in 0..200 {
            let (keepalive, setup) = watchdog_pipe::channel().expect("channel");
            let first = offset(&setup.env().1);
            drop(keepalive);
            assert_ne!(first, offset(&other.env().1));
            for _ in 1..64 {
                let (_keepalive, setup) = watchdog_pipe::channel().expect("channel");
                assert_ne!(offset(&setup.env().1), first);
            }
        }
    });
}

/// Neither words nor pages, threads or descriptors, on either side.
#[test]
fn links_that_come_and_go_leave_nothing_on_either_side() {
    alone!({
        take_in_orphans();
        drop(watchdog_pipe::channel().expect("channel"));
        let before = (proc_fs::own_fds(), sentinel_mappings());
        assert_eq!(before.1, 1);
        threads_are(2);
        let mut slots = HashSet::new();
        for turn in 0..20_000 {
            let (keepalive, setup) = watchdog_pipe::channel().expect("channel");
            slots.insert(offset(&setup.env().1));
            match turn % 3 {
                0 => drop(keepalive),
                1 => keepalive.release().expect("release"),
                _ => drop(keepalive.hand_over().expect("hand over")),
            }
        }
        assert!(slots.len() < 100, "{} slots for one link", slots.len());
        assert_eq!((proc_fs::own_fds(), sentinel_mappings()), before);
        threads_are(2);

        let (ours, theirs) = sockets();
        let (mut go, mut gone) = Cue::pair();
        let parent = Fork::run(|| {
            let (_keepalive, mut setup) = watchdog_pipe::channel().expect("channel");
            Given::send(&theirs, &mut setup);
            gone.take();
        });
        let mut given = Some(Given::receive(&ours));
        Fork::run(|| {
            let given = given.take().expect("the copy");
            // What the copy has of its own; the pipe and the page come and go.
            let mut before = (proc_fs::own_fds(), sentinel_mappings());
            for fd in &given.fds {
                before.0.remove(&std::os::fd::AsRawFd::as_raw_fd(fd));
            }
            let mut watchdog = given.adopt_whole();
            assert_eq!(sentinel_mappings(), before.1 + 1);
            assert_eq!(
                watchdog
                    .wait_timeout(std::time::Duration::ZERO)
                    .expect("wait"),
                None
            );
            threads_are(2);
            drop(watchdog);
            assert_eq!((proc_fs::own_fds(), sentinel_mappings()), before);
            threads_are(1);
        })
        .succeeds();
        go.give();
        parent.succeeds();
    });
}

/// A release or a hand-over that a death overtakes is the pipe's to tell: while it is on its way
/// there, the sentinel says nothing any more. A drop is, until it is said, a death like any other.
#[test]
fn sentinel_is_silent_while_a_release_is_on_its_way() {
    alone!({
        take_in_orphans();
        // The thread of the sentinel's own is never held.
        drop(watchdog_pipe::channel().expect("channel"));
        type End = fn(Keepalive);
        let ends: [(End, bool); 3] = [
            (|keepalive| assert!(keepalive.release().is_ok()), false),
            (
                |keepalive| drop(keepalive.hand_over().expect("hand over")),
                false,
            ),
            (drop, true),
        ];
        for (end, held_meanwhile) in ends {
            let (keepalive, _setup, word) = link();
            assert!(word.is_held());
            std::thread::scope(|scope| {
                let (give, take) = sync_channel(1);
                let held = scope.spawn(move || {
                    let halt: Halt = take.into_iter().next().expect("a halt");
                    let mut held = Vec::new();
                    while let Some(call) = halt.next() {
                        held.push(word.is_held());
                        call.go_on();
                    }
                    assert!(!word.is_held());
                    held
                });
                scope.spawn(move || {
                    give.send(Halt::at(&[libc::SYS_pwritev2])).expect("give");
                    end(keepalive);
                });
                assert_eq!(
                    held.join().expect("the thread that holds"),
                    [held_meanwhile]
                );
            });
        }
    });
}

/// A release or a hand-over that nobody could be told of has changed nothing: the sentinel tells
/// this process's death again, and not the pipe alone.
#[test]
fn word_is_held_again_when_a_release_or_a_hand_over_could_not_be_said() {
    alone!({
        take_in_orphans();
        type End = fn(Keepalive) -> Result<(), ReleaseError>;
        let ends: [End; 2] = [Keepalive::release, |keepalive| {
            keepalive.hand_over().map(drop)
        }];
        for end in ends {
            let (keepalive, setup, word) = link();
            // Nobody reads the pipe any more.
            drop(setup);
            let refused = end(keepalive).expect_err("nobody could be told");
            let keepalive = refused.into_keepalive();
            assert!(word.is_held());
            assert_eq!(keepalive.guarantees(), Guarantees::all());
        }
    });
}
