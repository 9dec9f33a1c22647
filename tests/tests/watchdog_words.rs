//! Thousands of links, and each end of each told apart. A parent is forked for every batch of
//! links; the reader is another fork, which gets the read ends by SCM_RIGHTS and never holds a
//! write end.

use std::io::{Read, Write};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use watchdog_pipe::{Keepalive, Verdict, Watchdog};
use workspace_tests::fork::{Cue, Fork};
use workspace_tests::{alone, random, rights, time_limit};

/// Links a batch.
const BATCH: usize = 50;

/// 10,000 links a case.
const BATCHES: usize = 200;

/// When the reader looks: after the parent was reaped, or before it has done anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    Late,
    Early,
    Either,
}

fn trials(look: Look, mut end: impl FnMut(usize) -> Verdict) {
    let pair = UnixStream::pair().expect("socketpair");
    for end in [&pair.0, &pair.1] {
        end.set_read_timeout(Some(time_limit()))
            .expect("SO_RCVTIMEO");
    }
    let mut pair = Some(pair);
    let reader = Fork::run(|| {
        let (ours, mut theirs) = pair.take().expect("the copies");
        drop(ours);
        read(&mut theirs);
    });
    let (mut ours, theirs) = pair.expect("the originals");
    drop(theirs);
    for batch in 0..BATCHES {
        let ends: Vec<Verdict> = (0..BATCH).map(&mut end).collect();
        let late = look == Look::Late || (look == Look::Either && batch % 2 == 0);
        let expected: Vec<u8> = ends.iter().map(|verdict| code(*verdict)).collect();
        ours.write_all(&[u8::from(late)]).expect("say when to look");
        ours.write_all(&expected).expect("say what to expect");
        let (mut go, mut gone) = Cue::pair();
        let parent = Fork::run(|| parent(&ours, &ends, &mut gone));
        drop(gone);
        if !late {
            // The reader holds all of them, and waits for the first.
            ours.read_exact(&mut [0]).expect("the reader is there");
        }
        go.give();
        parent.succeeds();
        if late {
            ours.write_all(&[0]).expect("let the reader look");
        }
        ours.read_exact(&mut [0])
            .expect("the reader saw what it expected");
    }
    drop(ours);
    reader.succeeds();
}

#[test]
fn dropped_and_exited_right_after_is_dropped_to_a_late_reader_10_000_times() {
    alone!({
        trials(Look::Late, |_| Verdict::KeepaliveDropped);
    });
}

#[test]
fn dropped_and_exited_right_after_is_dropped_to_an_early_reader_10_000_times() {
    alone!({
        trials(Look::Early, |_| Verdict::KeepaliveDropped);
    });
}

#[test]
fn dropped_released_and_exited_are_told_apart_in_10_000_random_trials() {
    alone!({
        let mut random = random();
        trials(Look::Either, move |_| match random.u64(..3) {
            0 => Verdict::KeepaliveDropped,
            1 => Verdict::Released,
            _ => Verdict::ParentExited,
        });
    });
}

/// Makes the links, sends the read ends, ends each in its own way, and exits right after.
fn parent(socket: &UnixStream, ends: &[Verdict], go: &mut Cue) {
    let (keepalives, setups): (Vec<Keepalive>, Vec<_>) = ends
        .iter()
        .map(|_| watchdog_pipe::channel().expect("channel"))
        .unzip();
    let fds: Vec<BorrowedFd<'_>> = setups
        .iter()
        .map(|setup| setup.fds().next().expect("one descriptor").0)
        .collect();
    rights::send(socket, b".", &fds).expect("send");
    drop(setups);
    go.take();
    for (keepalive, end) in keepalives.into_iter().zip(ends) {
        match end {
            Verdict::KeepaliveDropped => drop(keepalive),
            Verdict::Released => assert!(keepalive.release().is_ok(), "release"),
            // The exit below closes it.
            _ => std::mem::forget(keepalive),
        }
    }
}

fn read(socket: &mut UnixStream) {
    let mut late = [0];
    while socket.read(&mut late).expect("read a batch") == 1 {
        let mut expected = [0; BATCH];
        socket.read_exact(&mut expected).expect("what to expect");
        let mut watchdogs: Vec<Watchdog> = receive(socket)
            .into_iter()
            .map(|fd| Watchdog::from_fd(fd).expect("adopt"))
            .collect();
        if late == [1] {
            socket
                .read_exact(&mut [0])
                .expect("wait for the parent's end");
        } else {
            socket.write_all(b".").expect("say that all are held");
        }
        for (index, watchdog) in watchdogs.iter_mut().enumerate() {
            let told = if late == [1] {
                watchdog.try_wait().expect("look").expect("a verdict")
            } else {
                watchdog.wait().expect("wait")
            };
            assert_eq!(code(told), expected[index], "link {index}: {told:?}");
        }
        socket.write_all(b".").expect("say that all were right");
    }
}

fn receive(socket: &UnixStream) -> Vec<OwnedFd> {
    let (_, fds) = rights::receive(socket, &mut [0]).expect("receive");
    assert_eq!(fds.len(), BATCH);
    fds
}

fn code(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::ParentExited => b'e',
        Verdict::KeepaliveDropped => b'd',
        Verdict::Released => b'r',
        verdict => panic!("what is {verdict:?}?"),
    }
}
