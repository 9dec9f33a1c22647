//! A copy of a parent, made by fork.

use std::sync::atomic::{AtomicBool, Ordering};

use watchdog_pipe::{Guarantees, Verdict, Watchdog};
use workspace_tests::alone;
use workspace_tests::fork::{Cue, Fork};

use super::given::{Given, end, sentinel_mappings, sleeper, sockets};
use super::take_in_orphans;
use super::words::{sleeps_on_a_word, thread_named};

/// In a copy made by fork: what is inherited promises nothing, what is made there does, also while
/// threads of the original are in the middle of making links.
#[test]
fn copy_made_by_fork_starts_a_sentinel_of_its_own() {
    alone!({
        take_in_orphans();
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while !over.load(Ordering::Relaxed) {
                        drop(watchdog_pipe::channel().expect("channel"));
                    }
                });
            }
            for _ in 0..200 {
                let (inherited, _setup) = watchdog_pipe::channel().expect("channel");
                assert_eq!(inherited.guarantees(), Guarantees::all());
                let mut inherited = Some(inherited);
                let (ours, theirs) = sockets();
                let (mut go, mut gone) = Cue::pair();
                let copy = Fork::run(|| {
                    let inherited = inherited.take().expect("the copy");
                    assert_eq!(inherited.guarantees(), Guarantees::empty());
                    drop(inherited);
                    let (keepalive, mut setup) = watchdog_pipe::channel().expect("channel");
                    assert_eq!(keepalive.guarantees(), Guarantees::all());
                    Given::send(&theirs, &mut setup);
                    gone.take();
                    std::mem::forget(keepalive);
                });
                drop((gone, theirs));
                let mut given = Some(Given::receive(&ours));
                let (mut adopted, mut cue) = Cue::pair();
                let child = Fork::run(|| {
                    let mut watchdog = given.take().expect("the copy").adopt_whole();
                    cue.give();
                    assert_eq!(watchdog.wait().expect("wait"), Verdict::ParentExited);
                });
                adopted.take();
                go.give();
                copy.succeeds();
                child.succeeds();
            }
            over.store(true, Ordering::Relaxed);
        });
    });
}

/// A copy of the parent has nothing that it could write to by mistake.
#[test]
fn copy_of_a_parent_has_no_words_to_write_to() {
    alone!({
        take_in_orphans();
        let (keepalive, _setup) = watchdog_pipe::channel().expect("channel");
        assert_eq!(sentinel_mappings(), 1);
        let mut keepalive = Some(keepalive);
        Fork::run(|| {
            assert_eq!(sentinel_mappings(), 0);
            // What would write there, does not look there: the page is not mapped.
            let keepalive = keepalive.take().expect("the copy");
            let refused = keepalive.release().expect_err("a copy");
            assert_eq!(refused.error().kind(), std::io::ErrorKind::Unsupported);
        })
        .succeeds();
    });
}

/// A child and the copy that it made of itself by fork sleep on one word, of which the kernel wakes
/// one sleeper: that one wakes the other. The pipe is held by somebody else.
#[test]
fn child_and_its_copy_made_by_fork_are_both_told() {
    alone!({
        take_in_orphans();
        let (ours, theirs) = sockets();
        let mut parent = Fork::run(|| {
            let (_keepalive, mut setup) = watchdog_pipe::channel().expect("channel");
            Given::send(&theirs, &mut setup);
            theirs.send(&sleeper().to_ne_bytes()).expect("send");
            loop {
                std::thread::park();
            }
        });
        let mut given = Some(Given::receive(&ours));
        let mut sleeper = [0; 4];
        ours.recv(&mut sleeper).expect("the sleeper");
        let (mut watches, mut cues) = (Vec::new(), Vec::new());
        for _ in 0..2 {
            let (ours, theirs) = Cue::pair();
            watches.push(ours);
            cues.push(Some(theirs));
        }
        let listen = |watchdog: Watchdog, mut cue: Cue| {
            let own = rustix::process::getpid().as_raw_nonzero().get();
            let mut tell = cue.again();
            let _monitor = watchdog
                .on_verdict(move |verdict| {
                    assert_eq!(verdict, Verdict::ParentExited);
                    tell.give();
                })
                .expect("listen");
            sleeps_on_a_word(own, thread_named(own, "watchdog-listen"));
            cue.give();
            cue.take();
        };
        let child = Fork::run(|| {
            let mut watchdog = Some(given.take().expect("the copy").adopt_whole());
            let mut first = cues[0].take();
            let copy = Fork::run(|| {
                let watchdog = watchdog.take().expect("the copy");
                listen(watchdog, first.take().expect("a cue"));
            });
            let watchdog = watchdog.take().expect("the original");
            listen(watchdog, cues[1].take().expect("a cue"));
            copy.succeeds();
        });
        watches.iter_mut().for_each(Cue::take);
        parent.signal(libc::SIGKILL);
        parent.wait();
        watches.iter_mut().for_each(Cue::take);
        watches.iter_mut().for_each(Cue::give);
        child.succeeds();
        end(i32::from_ne_bytes(sleeper));
    });
}
