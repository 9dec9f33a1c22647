//! A sibling, or the child itself, that means harm: what SECURITY.md says of them. Both run as the
//! user that the parent runs as.

use std::fs::{File, OpenOptions};
use std::io::{Error, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::ptr;

use rustix::fs::{FallocateFlags, SealFlags, fallocate, fcntl_add_seals, ftruncate};
use rustix::io::Errno;
use rustix::mm::{MapFlags, MprotectFlags, ProtFlags, mmap, mprotect};
use watchdog_pipe::{Builder, Guarantees, Keepalive, Verdict, Watchdog};
use workspace_tests::alone;
use workspace_tests::fork::{Cue, Fork};

use super::given::{Given, NUMBERS, sockets};
use super::take_in_orphans;
use super::words::{Word, sleeps_on_a_word, thread_named};

/// A parent that lives until it is killed, or does `then` when it is told to; and what its child is
/// given.
fn parent(sentinel: bool, then: impl FnOnce(Keepalive)) -> (Fork, Cue, Given) {
    let (ours, theirs) = sockets();
    let (mut wait, go) = Cue::pair();
    let parent = Fork::run(|| {
        let link = Builder::new().sentinel(sentinel).channel();
        let (keepalive, mut setup) = link.expect("channel");
        Given::send(&theirs, &mut setup);
        drop(setup);
        wait.take();
        then(keepalive);
    });
    drop(wait);
    (parent, go, Given::receive(&ours))
}

/// A child that does `then` with its watchdog; returns when it has one.
fn child(given: Given, mut then: impl FnMut(Watchdog)) -> Fork {
    let (mut adopted, mut cue) = Cue::pair();
    let mut given = Some(given);
    let child = Fork::run(|| {
        let watchdog = given.take().expect("the copy").adopt().expect("adopt");
        cue.give();
        then(watchdog);
    });
    adopted.take();
    child
}

/// What whoever may look into a process can do: open its end of the pipe for writing.
fn mint(child: &Fork) -> File {
    let path = format!("/proc/{}/fd/{}", child.pid(), NUMBERS[0]);
    let minted = OpenOptions::new().write(true).open(path);
    minted.expect("the same user, and it may be dumped")
}

#[test]
fn writer_that_a_sibling_mints_by_proc_does_not_hide_the_death() {
    alone!({
        take_in_orphans();
        let (mut parent, _go, given) = parent(true, drop);
        let child = child(given, |mut watchdog| {
            assert_eq!(watchdog.guarantees(), Guarantees::all());
            assert_eq!(watchdog.wait().expect("wait"), Verdict::ParentExited);
        });
        let _minted = mint(&child);
        parent.signal(libc::SIGKILL);
        parent.wait();
        child.succeeds();
    });
}

#[test]
fn writer_that_a_sibling_mints_hides_the_death_from_a_child_that_follows_the_pipe_alone() {
    alone!({
        take_in_orphans();
        let (mut parent, _go, given) = parent(false, drop);
        let (mut look, mut looks) = Cue::pair();
        let (mut saw, mut seen) = Cue::pair();
        let child = child(given, |mut watchdog| {
            looks.take();
            assert_eq!(watchdog.try_wait().expect("look"), None);
            saw.give();
            assert_eq!(watchdog.wait().expect("wait"), Verdict::ParentExited);
        });
        let minted = mint(&child);
        parent.signal(libc::SIGKILL);
        parent.wait();
        look.give();
        seen.take();
        // Its end is told, as late as that.
        drop(minted);
        child.succeeds();
    });
}

/// It could kill the child as well, or trace it.
#[test]
fn word_that_a_sibling_writes_is_taken_for_the_parents() {
    alone!({
        take_in_orphans();
        for (word, verdict) in [
            (b"wd:drop\n", Verdict::KeepaliveDropped),
            (b"wd:free\n", Verdict::Released),
            (b"wd:died\n", Verdict::ParentExited),
        ] {
            let (parent, mut go, given) = parent(true, |keepalive| {
                // Nobody reads any more, which is told by an error.
                let refused = keepalive.release().expect_err("the child is gone");
                assert_eq!(refused.error().raw_os_error(), Some(libc::EPIPE));
            });
            let child = child(given, |mut watchdog| {
                assert_eq!(watchdog.wait().expect("wait"), verdict);
            });
            mint(&child).write_all(word).expect("there is room");
            child.succeeds();
            go.give();
            parent.succeeds();
        }
    });
}

/// Moves whoever sleeps on a word of the page to the word of the next slot (`FUTEX_REQUEUE`): how
/// many.
fn requeue(word: &Word) -> libc::c_long {
    let (from, to) = (word.address(), word.address().wrapping_add(2));
    // SAFETY: both words lie in a mapping that is never undone; the call writes to neither.
    unsafe { libc::syscall(libc::SYS_futex, from, libc::FUTEX_REQUEUE, 0, 1_usize, to) }
}

/// The thread of the child sleeps on a word that nobody wakes then.
fn moves_the_sleep_of(child: &Fork, word: &Word) {
    sleeps_on_a_word(child.pid(), thread_named(child.pid(), "watchdog-listen"));
    assert_eq!(requeue(word), 1, "{}", Error::last_os_error());
}

#[test]
fn child_whose_sleep_a_sibling_has_moved_to_another_word_is_told_by_the_pipe() {
    alone!({
        take_in_orphans();
        let (mut parent, _go, given) = parent(true, drop);
        let word = Word::at(&given);
        let child = child(given, |mut watchdog| {
            assert_eq!(watchdog.wait().expect("wait"), Verdict::ParentExited);
        });
        moves_the_sleep_of(&child, &word);
        parent.signal(libc::SIGKILL);
        parent.wait();
        child.succeeds();
    });
}

#[test]
fn child_whose_sleep_a_sibling_has_moved_to_another_word_lets_go_of_its_watchdog() {
    alone!({
        take_in_orphans();
        let ends: [fn(Watchdog, &mut Cue); 2] = [
            |watchdog, go| {
                // Whoever waits for it starts the thread.
                let _ = watchdog.as_fd();
                go.take();
                drop(watchdog);
            },
            |watchdog, go| {
                let monitor = watchdog.on_verdict(|_| ()).expect("threads");
                go.take();
                assert_eq!(monitor.cancel(), None);
            },
        ];
        for end in ends {
            let (parent, mut told, given) = parent(true, drop);
            let word = Word::at(&given);
            let (mut go, mut waits) = Cue::pair();
            let child = child(given, |watchdog| end(watchdog, &mut waits));
            moves_the_sleep_of(&child, &word);
            go.give();
            child.succeeds();
            told.give();
            parent.succeeds();
        }
    });
}

/// Whoever is given the page can only read it, whichever way it is opened.
#[test]
fn child_can_neither_change_the_words_nor_cut_their_file() {
    alone!({
        take_in_orphans();
        let (_keepalive, mut setup) = watchdog_pipe::channel().expect("channel");
        let given = Given::of(&mut setup);
        let path = format!("/proc/self/fd/{}", given.fds[1].as_raw_fd());
        let opened = OpenOptions::new().read(true).write(true).open(path);
        let pages: [OwnedFd; 2] = [
            opened.expect("the file's owner").into(),
            given.fds[1].try_clone().expect("dup"),
        ];
        let map = |page: &OwnedFd, access| {
            // SAFETY: a new mapping at an address of the kernel's choice.
            unsafe { mmap(ptr::null_mut(), 4096, access, MapFlags::SHARED, page, 0) }
        };
        for page in &pages {
            assert_eq!(rustix::io::write(page, &[0; 8]), Err(Errno::PERM));
            assert_eq!(ftruncate(page, 0), Err(Errno::PERM));
            assert_eq!(ftruncate(page, 1 << 20), Err(Errno::PERM));
            let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            assert_eq!(fallocate(page, hole, 0, 4096), Err(Errno::PERM));
            assert_eq!(fcntl_add_seals(page, SealFlags::WRITE), Err(Errno::PERM));
            let both = ProtFlags::READ | ProtFlags::WRITE;
            assert_eq!(map(page, both).err(), Some(Errno::PERM));
            let readable = map(page, ProtFlags::READ).expect("it may be read");
            // SAFETY: our mapping, to which no reference exists.
            let changed = unsafe { mprotect(readable, 4096, MprotectFlags::WRITE) };
            assert_eq!(changed, Err(Errno::ACCESS));
        }
    });
}
