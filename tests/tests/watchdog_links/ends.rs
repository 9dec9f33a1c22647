//! Many links, and each child is told its own end.

use std::time::Duration;

use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Resource, getrlimit, setrlimit};
use watchdog_pipe::{Keepalive, Verdict};
use workspace_tests::fork::{Cue, Fork};
use workspace_tests::{alone, proc_fs, random, time_limit};

use super::given::{Given, end, sleeper, sockets};
use super::take_in_orphans;

/// 10,000 links, each ended in a way of its own; the child looks late or early, the parent exits or
/// is killed.
// Many, at random, and refused.
#[test]
fn ends_are_told_apart_in_10_000_random_trials_with_a_sentinel() {
    alone!({
        take_in_orphans();
        const BATCH: usize = 25;
        let mut random = random();
        for batch in 0..400 {
            let ends: Vec<Verdict> = (0..BATCH)
                .map(|_| match random.u64(..3) {
                    0 => Verdict::KeepaliveDropped,
                    1 => Verdict::Released,
                    _ => Verdict::ParentExited,
                })
                .collect();
            let (late, killed) = (batch % 2 == 0, batch % 4 < 2);
            let (ours, theirs) = sockets();
            let (mut go, mut gone) = Cue::pair();
            let mut parent = Fork::run(|| {
                let links: Vec<Keepalive> =
                    ends.iter().map(|_| Given::send_link(&theirs)).collect();
                gone.take();
                for (keepalive, end) in links.into_iter().zip(&ends) {
                    match end {
                        Verdict::KeepaliveDropped => drop(keepalive),
                        Verdict::Released => assert!(keepalive.release().is_ok()),
                        _ => std::mem::forget(keepalive),
                    }
                }
                if killed {
                    rustix::process::kill_process(
                        rustix::process::getpid(),
                        rustix::process::Signal::KILL,
                    )
                    .expect("kill");
                }
            });
            drop((gone, theirs));
            let given: Vec<Given> = ends.iter().map(|_| Given::receive(&ours)).collect();
            let mut parent_is_gone = |go: &mut Cue| {
                go.give();
                let status = parent.wait();
                assert_eq!(status.success(), !killed, "{status}");
            };
            if late {
                parent_is_gone(&mut go);
            }
            let mut ready = Vec::new();
            let children: Vec<Fork> = given
                .into_iter()
                .zip(&ends)
                .map(|(given, end)| {
                    let (mut adopted, cue) = Cue::pair();
                    let mut cue = Some(cue);
                    let mut given = Some(given);
                    let child = Fork::run(|| {
                        let mut cue = cue.take().expect("the copy");
                        // The parent is gone where the child is late: there is no sentinel any more
                        // that could be alive.
                        let mut watchdog = given.take().expect("the copy").adopt().expect("adopt");
                        cue.give();
                        let told = if late {
                            watchdog.try_wait().expect("look").expect("a verdict")
                        } else {
                            watchdog.wait().expect("wait")
                        };
                        assert_eq!(told, *end);
                    });
                    drop(cue);
                    adopted.take();
                    ready.push(adopted);
                    child
                })
                .collect();
            if !late {
                parent_is_gone(&mut go);
            }
            children.into_iter().for_each(Fork::succeeds);
        }
    });
}

/// A parent whose threads make and drop links without end, killed at any moment: the links that it
/// held to the end are told, though a copy of it holds the pipes.
#[test]
fn no_kill_finds_a_torn_list_while_threads_make_and_drop_links() {
    alone!({
        take_in_orphans();
        const LINKS: usize = 6;
        let mut random = random();
        for _ in 0..150 {
            let (ours, theirs) = sockets();
            let (mut sleeping, mut cue) = Cue::pair();
            let mut parent = Fork::run(|| {
                let mut held = Vec::new();
                for _ in 0..LINKS {
                    // Their slots lie between those that come and go.
                    drop(watchdog_pipe::channel().expect("channel"));
                    held.push(Given::send_link(&theirs));
                }
                let sleeper = sleeper();
                theirs.send(&sleeper.to_ne_bytes()).expect("send");
                std::thread::scope(|scope| {
                    for _ in 0..4 {
                        scope.spawn(|| {
                            loop {
                                let links =
                                    [(); 3].map(|()| watchdog_pipe::channel().expect("channel"));
                                drop(links);
                            }
                        });
                    }
                    cue.give();
                });
            });
            let children: Vec<Fork> = (0..LINKS)
                .map(|_| {
                    let mut given = Some(Given::receive(&ours));
                    Fork::run(|| {
                        let mut watchdog = given.take().expect("the copy").adopt_whole();
                        let told = watchdog.wait_timeout(time_limit() / 2).expect("wait");
                        assert_eq!(told, Some(Verdict::ParentExited));
                        assert_eq!(watchdog.wait().expect("wait"), Verdict::ParentExited);
                    })
                })
                .collect();
            let mut sleeper = [0; 4];
            ours.recv(&mut sleeper).expect("the sleeper");
            sleeping.take();
            // Any moment is as good as another; what it hits is what is random.
            std::thread::sleep(Duration::from_micros(random.u64(..2_000)));
            parent.signal(libc::SIGKILL);
            parent.wait();
            children.into_iter().for_each(Fork::succeeds);
            end(i32::from_ne_bytes(sleeper));
        }
    });
}

/// As many descriptors as there may be.
pub fn raise_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = rustix::process::Rlimit {
        current: limit.maximum,
        ..limit
    };
    setrlimit(Resource::Nofile, raised).expect("setrlimit");
}

/// More than one sentinel has words for.
#[test]
fn thousands_of_children_are_told_and_a_second_sentinel_serves_the_rest() {
    alone!({
        take_in_orphans();
        const LINKS: usize = 2_200;
        raise_limit();
        let (ours, theirs) = sockets();
        let mut parent = Fork::run(|| {
            let held: Vec<Keepalive> = (0..LINKS).map(|_| Given::send_link(&theirs)).collect();
            let pages = proc_fs::own_fds();
            let pages = pages
                .values()
                .filter(|name| name.contains("watchdog-sentinel"));
            assert_eq!(pages.count(), 2);
            theirs.send(&sleeper().to_ne_bytes()).expect("send");
            loop {
                std::thread::park();
                std::hint::black_box(&held);
            }
        });
        let children: Vec<Fork> = (0..LINKS)
            .map(|_| {
                let mut given = Some(Given::receive(&ours));
                Fork::run(|| {
                    let mut watchdog = given.take().expect("the copy").adopt_whole();
                    assert_eq!(watchdog.wait().expect("wait"), Verdict::ParentExited);
                })
            })
            .collect();
        let mut sleeper = [0; 4];
        ours.recv(&mut sleeper).expect("the sleeper");
        parent.signal(libc::SIGKILL);
        parent.wait();
        children.into_iter().for_each(Fork::succeeds);
        end(i32::from_ne_bytes(sleeper));
    });
}

/// The parent says which links it has released, right after; whatever it got to say is no death.
#[test]
fn release_that_races_with_a_death_is_never_read_as_one() {
    alone!({
        take_in_orphans();
        const LINKS: usize = 20;
        let mut random = random();
        for _ in 0..150 {
            let (ours, theirs) = sockets();
            let (mut go, mut gone) = Cue::pair();
            let mut parent = Fork::run(|| {
                let links: Vec<Keepalive> = (0..LINKS).map(|_| Given::send_link(&theirs)).collect();
                gone.take();
                for (index, keepalive) in (0_u8..).zip(links) {
                    assert!(keepalive.release().is_ok());
                    theirs.send(&[index]).expect("say so");
                }
                loop {
                    std::thread::park();
                }
            });
            drop((gone, theirs));
            let mut verdicts = Vec::new();
            let children: Vec<Fork> = (0..LINKS)
                .map(|_| {
                    let mut given = Some(Given::receive(&ours));
                    let (verdict, told) = pipe_with(PipeFlags::CLOEXEC).expect("pipe");
                    verdicts.push(verdict);
                    Fork::run(|| {
                        // Released before it is adopted, it is promised less.
                        let mut watchdog = given.take().expect("the copy").adopt().expect("adopt");
                        let code = match watchdog.wait().expect("wait") {
                            Verdict::Released => b'r',
                            Verdict::ParentExited => b'e',
                            other => panic!("{other:?}"),
                        };
                        rustix::io::write(&told, &[code]).expect("tell");
                    })
                })
                .collect();
            go.give();
            std::thread::sleep(Duration::from_micros(random.u64(..400)));
            parent.signal(libc::SIGKILL);
            parent.wait();
            children.into_iter().for_each(Fork::succeeds);
            let told: Vec<u8> = verdicts
                .iter()
                .map(|verdict| {
                    let mut code = [0];
                    assert_eq!(rustix::io::read(verdict, &mut code).expect("read"), 1);
                    code[0]
                })
                .collect();
            ours.set_nonblocking(true).expect("O_NONBLOCK");
            let mut released = 0;
            let mut index = [0];
            while ours.recv(&mut index).is_ok_and(|count| count == 1) {
                assert_eq!(told[usize::from(index[0])], b'r', "{told:?}");
                released += 1;
            }
            // One more may have been said and not reported; all others are deaths.
            let heard = told.iter().filter(|code| **code == b'r').count();
            assert!(
                heard == released || heard == released + 1,
                "{released}: {told:?}"
            );
        }
    });
}
