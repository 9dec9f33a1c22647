//! What a copy of a Keepalive that fork made may do: nothing.

use std::io;
use std::os::fd::OwnedFd;

use watchdog_pipe::{ChildSetup, Keepalive, Verdict, Watchdog};
use workspace_tests::alone;
use workspace_tests::fork::{Cue, Fork};

/// A link whose read end is a plain descriptor.
fn link() -> (Keepalive, OwnedFd) {
    let (keepalive, setup) = watchdog_pipe::channel().expect("channel");
    (keepalive, read_end(&setup))
}

fn read_end(setup: &ChildSetup) -> OwnedFd {
    let (fd, _) = setup.fds().next().expect("one descriptor");
    fd.try_clone_to_owned().expect("dup")
}

/// Adopts a read end in a fork of its own, where nobody holds the write end; that fork says what it
/// is told by `told`, having looked once by `looked` before that.
fn watcher(read: OwnedFd, keepalive: Keepalive, expected: Verdict, looked: &mut Cue) {
    // The copy of the write end goes, without a word.
    drop(keepalive);
    let mut watchdog = Watchdog::from_fd(read).expect("adopt");
    looked.take();
    assert_eq!(
        watchdog.try_wait().expect("look"),
        None,
        "told something too early"
    );
    looked.give();
    assert_eq!(watchdog.wait().expect("wait"), expected);
}

/// Forks a copy that drops its Keepalive; the child is then told what becomes of the original.
#[test]
fn copy_made_by_fork_tells_nothing_when_it_is_dropped() {
    alone!({
        let (keepalive, read) = link();
        let (mut look, mut looked) = Cue::pair();
        let mut slots = Some((keepalive, read));
        let watcher = Fork::run(|| {
            let (keepalive, read) = slots.take().expect("the copy");
            watcher(read, keepalive, Verdict::KeepaliveDropped, &mut looked);
        });
        let (keepalive, read) = slots.expect("the original");
        drop((read, looked));
        let mut original = Some(keepalive);
        Fork::run(|| drop(original.take())).succeeds();
        look.give();
        look.take();
        drop(original);
        watcher.succeeds();
    });
}

/// The same where getpid() cannot tell them apart: the copy is pid 1 of a namespace, as its parent
/// is.
#[test]
fn copy_made_by_fork_tells_nothing_where_both_are_pid_1() {
    alone!({
        unshare_pid();
        Fork::run(|| {
            assert_eq!(std::process::id(), 1);
            let (keepalive, read) = link();
            let (mut look, mut looked) = Cue::pair();
            let mut slots = Some((keepalive, read));
            // In this namespace still: made before the next unshare.
            let watcher = Fork::run(|| {
                let (keepalive, read) = slots.take().expect("the copy");
                watcher(read, keepalive, Verdict::KeepaliveDropped, &mut looked);
            });
            let (keepalive, read) = slots.expect("the original");
            drop((read, looked));
            unshare_pid();
            let mut original = Some(keepalive);
            Fork::run(|| {
                assert_eq!(std::process::id(), 1);
                drop(original.take());
            })
            .succeeds();
            look.give();
            look.take();
            drop(original);
            watcher.succeeds();
        })
        .succeeds();
    });
}

#[test]
fn copy_made_by_fork_cannot_release_or_hand_over() {
    alone!({
        let (keepalive, read) = link();
        let (other, _other_read) = link();
        let mut copies = Some((keepalive, other));
        Fork::run(|| {
            let (keepalive, other) = copies.take().expect("the copy");
            let refused = keepalive.release().expect_err("a copy released the child");
            let (keepalive, error) = refused.into_parts();
            assert_eq!(error.kind(), io::ErrorKind::Unsupported);
            let refused = other.hand_over().expect_err("a copy handed over");
            assert_eq!(refused.error().kind(), io::ErrorKind::Unsupported);
            drop(keepalive);
        })
        .succeeds();
        // Not one byte came of all that.
        rustix::io::ioctl_fionbio(&read, true).expect("O_NONBLOCK");
        assert_eq!(
            rustix::io::read(&read, &mut [0; 8]),
            Err(rustix::io::Errno::AGAIN)
        );
    });
}

#[test]
fn forked_process_can_make_a_link_of_its_own() {
    alone!({
        let (inherited, inherited_read) = link();
        let mut inherited = Some(inherited);
        Fork::run(|| {
            let (own, own_read) = link();
            // The inherited one is as inert as before it.
            let (inherited, error) = inherited
                .take()
                .expect("the copy")
                .release()
                .expect_err("spoke")
                .into_parts();
            assert_eq!(error.kind(), io::ErrorKind::Unsupported);
            drop(inherited);
            let mut own = Some(own);
            let (mut look, mut looked) = Cue::pair();
            let mut own_read = Some(own_read);
            let watcher = Fork::run(|| {
                let (read, own) = (own_read.take().expect("fd"), own.take().expect("the copy"));
                watcher(read, own, Verdict::Released, &mut looked);
            });
            drop((own_read, looked));
            look.give();
            look.take();
            own.take()
                .expect("the original")
                .release()
                .expect("release");
            watcher.succeeds();
        })
        .succeeds();
        rustix::io::ioctl_fionbio(&inherited_read, true).expect("O_NONBLOCK");
        assert_eq!(
            rustix::io::read(&inherited_read, &mut [0; 8]),
            Err(rustix::io::Errno::AGAIN)
        );
    });
}

/// A process, its child and its grandchild, each with a link of its own and copies of those before:
/// each can speak on its own alone.
#[test]
fn copies_of_every_generation_are_inert_and_originals_are_not() {
    alone!({
        fn generation(mut ancestors: Vec<Keepalive>, depth: u32) {
            if depth == 4 {
                return;
            }
            let (own, _read) = link();
            for copy in ancestors.drain(..) {
                let (copy, error) = copy.release().expect_err("a copy spoke").into_parts();
                assert_eq!(error.kind(), io::ErrorKind::Unsupported);
                // Kept for the next generation, to which it is as foreign.
                std::mem::forget(copy);
            }
            let (second, _second_read) = link();
            let mut all = Some(vec![own, second]);
            Fork::run(|| generation(all.take().expect("copies"), depth + 1)).succeeds();
            for keepalive in all.expect("the originals") {
                assert!(
                    keepalive.release().is_ok(),
                    "an original could not speak at depth {depth}"
                );
            }
        }
        generation(Vec::new(), 0);
    });
}

/// The page that a fork wipes is made by whoever is first.
#[test]
fn threads_may_make_the_first_links_at_once() {
    alone!({
        let barrier = std::sync::Barrier::new(8);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    barrier.wait();
                    let (keepalive, _read) = link();
                    assert!(keepalive.release().is_ok(), "an original could not speak");
                });
            }
        });
    });
}

/// Children to come are in a PID namespace of their own.
fn unshare_pid() {
    // SAFETY: unshare(2) has no memory effect.
    let done = unsafe { libc::unshare(libc::CLONE_NEWPID) };
    assert_eq!(
        done,
        0,
        "unshare(CLONE_NEWPID): {}",
        io::Error::last_os_error()
    );
}
