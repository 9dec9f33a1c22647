//! A parent that is killed in the middle of something, or that does something at the same time as
//! others.

use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::sync::Barrier;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Signal, getpid, kill_process};
use watchdog_pipe::{Guarantees, Keepalive, Verdict};
use workspace_tests::fork::{Cue, Fork};
use workspace_tests::halt::Halt;
use workspace_tests::{alone, random, rights};

use super::ends::raise_limit;
use super::given::{Given, end, sentinel_mappings, sleeper, sockets};
use super::take_in_orphans;
use super::words::{Word, sleeps_on_a_word, thread_named, threads_are};

/// What making a link asks the kernel for, the start of a sentinel included.
const CALLS: [libc::c_long; 11] = [
    MADE,
    libc::SYS_pipe2,
    libc::SYS_fcntl,
    libc::SYS_write,
    libc::SYS_memfd_create,
    libc::SYS_ftruncate,
    libc::SYS_mmap,
    libc::SYS_madvise,
    libc::SYS_mprotect,
    libc::SYS_clone3,
    libc::SYS_set_robust_list,
];

/// Nothing in between asks for this: the link is made.
const MADE: libc::c_long = libc::SYS_getppid;

/// How the parent ends that was not killed, since there are not so many steps.
const ALL_TAKEN: i32 = 7;

/// At each of them in turn, while a child of an earlier link listens and somebody else holds its
/// pipe: it is told. The page is full, so that the link needs a sentinel of its own.
// A death at the worst moment, and many at once.
#[test]
fn parent_killed_at_any_step_of_making_a_link_is_told_to_the_child_of_an_earlier_one() {
    alone!({
        take_in_orphans();
        for step in 0.. {
            let (ours, theirs) = sockets();
            let (mut go, mut gone) = Cue::pair();
            let mut parent = Fork::run(|| {
                raise_limit();
                let (_first, mut setup) = watchdog_pipe::channel().expect("channel");
                Given::send(&theirs, &mut setup);
                theirs.send(&sleeper().to_ne_bytes()).expect("send");
                gone.take();
                let links = (1..2048).map(|_| watchdog_pipe::channel().expect("channel").0);
                let _links: Vec<Keepalive> = links.collect();
                assert_eq!(sentinel_mappings(), 1);
                std::thread::scope(|scope| {
                    let (give, take) = sync_channel(1);
                    scope.spawn(move || {
                        let halt: Halt = take.into_iter().next().expect("a halt");
                        for taken in 0.. {
                            let call = halt.next().expect("a step");
                            if call.number == MADE {
                                // SAFETY: ends this copy.
                                unsafe { libc::_exit(ALL_TAKEN) };
                            }
                            if taken == step {
                                kill_process(getpid(), Signal::KILL).expect("kill");
                            }
                            call.go_on();
                        }
                    });
                    scope.spawn(move || {
                        give.send(Halt::at(&CALLS)).expect("give");
                        let _second = watchdog_pipe::channel().expect("channel");
                        let _ = rustix::process::getppid();
                    });
                });
            });
            let mut given = Some(Given::receive(&ours));
            let mut sleeper = [0; 4];
            ours.recv(&mut sleeper).expect("the sleeper");
            let (mut listens, mut cue) = Cue::pair();
            let child = Fork::run(|| {
                let mut watchdog = given.take().expect("the copy").adopt_whole();
                cue.give();
                assert_eq!(watchdog.wait().expect("wait"), Verdict::ParentExited);
            });
            drop(given);
            listens.take();
            go.give();
            let status = parent.wait();
            child.succeeds();
            end(i32::from_ne_bytes(sleeper));
            if status.code() == Some(ALL_TAKEN) {
                assert!(step > 10, "{step} steps");
                break;
            }
            assert_eq!(status.signal(), Some(libc::SIGKILL), "{status}");
        }
    });
}

/// The parent gives away some of its links while it is killed. Whoever was given one holds that
/// child, to whom the death is none; whoever was not, was told.
#[test]
fn hand_over_that_races_with_a_death_is_never_read_as_one() {
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
                for (index, keepalive) in links.into_iter().enumerate() {
                    let write = keepalive.hand_over().expect("hand over");
                    rights::send(&theirs, index.to_string().as_bytes(), &[write.as_fd()])
                        .expect("send");
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
                        let mut watchdog = given.take().expect("the copy").adopt().expect("adopt");
                        let told_of = watchdog.wait().expect("wait") as u8;
                        rustix::io::write(&told, &[told_of]).expect("tell");
                    })
                })
                .collect();
            go.give();
            std::thread::sleep(Duration::from_micros(random.u64(..600)));
            parent.signal(libc::SIGKILL);
            parent.wait();
            ours.set_nonblocking(true).expect("O_NONBLOCK");
            let mut expected = [Verdict::ParentExited as u8; LINKS];
            while let Ok(mut given) = Given::try_receive(&ours) {
                let index: usize = given.variable.parse().expect("a number");
                let write = given.fds.pop().expect("a write end");
                let keepalive = Keepalive::from_fd(write).expect("a keepalive");
                // Had the child been told of the death, that would be its verdict, whatever is said
                // now.
                assert!(keepalive.release().is_ok());
                expected[index] = Verdict::Released as u8;
            }
            children.into_iter().for_each(Fork::succeeds);
            let told = verdicts.iter().map(|verdict| {
                let mut code = [0];
                assert_eq!(rustix::io::read(verdict, &mut code).expect("read"), 1);
                code[0]
            });
            assert_eq!(told.collect::<Vec<u8>>(), expected);
        }
    });
}

/// Threads that make the first links of a process at once.
#[test]
fn threads_that_make_the_first_links_at_once_start_one_sentinel() {
    alone!({
        take_in_orphans();
        const THREADS: usize = 8;
        for _ in 0..100 {
            Fork::run(|| {
                let all_here = Barrier::new(THREADS);
                let links: Vec<Keepalive> = std::thread::scope(|scope| {
                    let makers: Vec<_> = (0..THREADS)
                        .map(|_| {
                            scope.spawn(|| {
                                all_here.wait();
                                watchdog_pipe::channel().expect("channel").0
                            })
                        })
                        .collect();
                    let made = makers.into_iter().map(|maker| maker.join().expect("made"));
                    made.collect()
                });
                let whole = |link: &Keepalive| link.guarantees() == Guarantees::all();
                assert!(links.iter().all(whole));
                assert_eq!(sentinel_mappings(), 1);
                threads_are(2);
            })
            .succeeds();
        }
    });
}

/// Children share the page, and the kernel wakes one sleeper of a word: an ill-disposed sibling
/// that sleeps on another's word before it does has that wake. The pipe tells all the same.
#[test]
fn child_whose_wake_a_sibling_has_is_told_by_the_pipe() {
    alone!({
        take_in_orphans();
        let (ours, theirs) = sockets();
        let mut parent = Fork::run(|| {
            let (_keepalive, mut setup) = watchdog_pipe::channel().expect("channel");
            Given::send(&theirs, &mut setup);
            loop {
                std::thread::park();
            }
        });
        let given = Given::receive(&ours);
        let word = Word::at(&given);
        let (mut woken, mut cue) = Cue::pair();
        let stranger = Fork::run(|| {
            word.sleep();
            cue.give();
        });
        sleeps_on_a_word(stranger.pid(), stranger.pid());
        let mut given = Some(given);
        let child = Fork::run(|| {
            let mut watchdog = given.take().expect("the copy").adopt_whole();
            assert_eq!(watchdog.wait().expect("wait"), Verdict::ParentExited);
        });
        sleeps_on_a_word(child.pid(), thread_named(child.pid(), "watchdog-listen"));
        parent.signal(libc::SIGKILL);
        parent.wait();
        woken.take();
        stranger.succeeds();
        child.succeeds();
    });
}
