//! Links with a sentinel, many of them and under bad conditions. The process that makes the links is a fork; each child is
//! another fork of this process, which never holds a write end: what a child needs comes by SCM_RIGHTS.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::net::UnixDatagram;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Resource, getrlimit, setrlimit};
use watchdog_pipe::{
    AdoptError, Builder, ChildSetup, ENV_VAR, Guarantees, Keepalive, Verdict, Watchdog,
};
use workspace_tests::fork::{Cue, Fork};
use workspace_tests::{DEADLINE, proc_fs, scenario, seccomp};

/// Where a child finds its pipe and its page: above everything that is open here.
const NUMBERS: [RawFd; 2] = [900, 901];

fn main() -> ExitCode {
    // Forks of forks, whose parents were killed, are ours to end.
    rustix::process::set_child_subreaper(Some(rustix::process::getpid())).expect("subreaper");
    scenario::run(&[
        ("trials", ends_are_told_apart),
        ("torn", kills_while_links_come_and_go),
        ("thousands", thousands_of_children),
        ("race", release_races_with_a_death),
        ("refused", what_a_sentinel_needs_is_refused),
        ("refused-child", what_a_child_needs_is_refused),
        ("damaged", damaged_pages),
        ("not-the-page", other_files_on_the_number),
        ("said-before", what_was_said_before_the_death_counts),
        ("copy", copy_has_a_sentinel_of_its_own),
    ])
}

/// What a child is given.
struct Given {
    variable: String,
    fds: Vec<OwnedFd>,
}

impl Given {
    fn send(socket: &UnixDatagram, setup: &mut ChildSetup) {
        setup.renumber_each(NUMBERS);
        let fds: Vec<BorrowedFd<'_>> = setup.fds().map(|(fd, _)| fd).collect();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        assert!(control.push(SendAncillaryMessage::ScmRights(&fds)));
        let variable = setup.env().1;
        let bytes = [IoSlice::new(variable.as_bytes())];
        sendmsg(socket.as_fd(), &bytes, &mut control, SendFlags::empty()).expect("send");
    }

    fn receive(socket: &UnixDatagram) -> Given {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut bytes = [0; 256];
        let flags = RecvFlags::CMSG_CLOEXEC;
        let message = recvmsg(
            socket,
            &mut [IoSliceMut::new(&mut bytes)],
            &mut control,
            flags,
        )
        .expect("receive");
        let fds = control.drain().filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(fds) => Some(fds),
            _ => None,
        });
        Given {
            fds: fds.flatten().collect(),
            variable: String::from_utf8_lossy(&bytes[..message.bytes]).into_owned(),
        }
    }

    /// Of a link of this process, which must let go of its keepalive before it adopts.
    fn of(setup: &mut ChildSetup) -> Given {
        setup.renumber_each(NUMBERS);
        let fds = setup
            .fds()
            .map(|(fd, _)| fd.try_clone_to_owned().expect("dup"));
        Given {
            fds: fds.collect(),
            variable: setup.env().1,
        }
    }

    /// In a fork, once.
    fn adopt(self) -> Result<Watchdog, AdoptError> {
        for (fd, number) in self.fds.iter().zip(NUMBERS) {
            // SAFETY: nothing lies on these numbers in this process.
            assert_eq!(unsafe { libc::dup2(fd.as_raw_fd(), number) }, number);
        }
        drop(self.fds);
        // SAFETY: a fork of a process with one thread; and the numbers are the ones just made, owned by nobody.
        unsafe {
            std::env::set_var(ENV_VAR, self.variable);
            Watchdog::from_env().map(|watchdog| watchdog.expect("a variable"))
        }
    }

    fn adopt_whole(self) -> Watchdog {
        let watchdog = self.adopt().expect("adopt");
        assert_eq!(watchdog.guarantees(), Guarantees::all());
        watchdog
    }
}

fn sockets() -> (UnixDatagram, UnixDatagram) {
    let pair = UnixDatagram::pair().expect("socketpair");
    for end in [&pair.0, &pair.1] {
        end.set_read_timeout(Some(DEADLINE)).expect("SO_RCVTIMEO");
    }
    pair
}

/// A copy that holds whatever is open here, and outlives everybody else. It is found by its number and ended by hand.
fn sleeper() -> i32 {
    // SAFETY: the copy does nothing but sleep.
    match unsafe { libc::fork() } {
        -1 => panic!("fork: {}", io::Error::last_os_error()),
        0 => loop {
            // SAFETY: pause(2) has no memory effect.
            unsafe { libc::pause() };
        },
        pid => pid,
    }
}

/// It has become our child when its parent died.
fn end(sleeper: i32) {
    // SAFETY: kill(2) and waitpid(2) have no memory effect; it is not reaped yet.
    unsafe {
        assert_eq!(libc::kill(sleeper, libc::SIGKILL), 0);
        assert_eq!(libc::waitpid(sleeper, std::ptr::null_mut(), 0), sleeper);
    }
}

/// 10,000 links, each ended in a way of its own; the child looks late or early, the parent exits or is killed.
fn ends_are_told_apart() {
    const BATCH: usize = 25;
    let mut random = Random::new();
    for batch in 0..400 {
        let ends: Vec<Verdict> = (0..BATCH)
            .map(|_| match random.next() % 3 {
                0 => Verdict::KeepaliveDropped,
                1 => Verdict::Released,
                _ => Verdict::ParentExited,
            })
            .collect();
        let (late, killed) = (batch % 2 == 0, batch % 4 < 2);
        let (ours, theirs) = sockets();
        let (mut go, mut gone) = Cue::pair();
        let mut parent = Fork::run(|| {
            let links: Vec<Keepalive> = ends
                .iter()
                .map(|_| {
                    let (keepalive, mut setup) = watchdog_pipe::channel().expect("channel");
                    Given::send(&theirs, &mut setup);
                    keepalive
                })
                .collect();
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
                    // The parent is gone where the child is late: there is no sentinel any more that could be alive.
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
}

/// A parent whose threads make and drop links without end, killed at any moment: the links that it held to the end are
/// told, though a copy of it holds the pipes.
fn kills_while_links_come_and_go() {
    const LINKS: usize = 6;
    let mut random = Random::new();
    for _ in 0..150 {
        let (ours, theirs) = sockets();
        let (mut sleeping, mut cue) = Cue::pair();
        let mut parent = Fork::run(|| {
            let mut held = Vec::new();
            for _ in 0..LINKS {
                // Their slots lie between those that come and go.
                drop(watchdog_pipe::channel().expect("channel"));
                let (keepalive, mut setup) = watchdog_pipe::channel().expect("channel");
                Given::send(&theirs, &mut setup);
                held.push(keepalive);
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
                    let told = watchdog.wait_timeout(DEADLINE / 2).expect("wait");
                    assert_eq!(told, Some(Verdict::ParentExited));
                    assert_eq!(watchdog.wait().expect("wait"), Verdict::ParentExited);
                })
            })
            .collect();
        let mut sleeper = [0; 4];
        ours.recv(&mut sleeper).expect("the sleeper");
        sleeping.take();
        // Any moment is as good as another; what it hits is what is random.
        std::thread::sleep(Duration::from_micros(random.next() % 2_000));
        parent.signal(libc::SIGKILL);
        parent.wait();
        children.into_iter().for_each(Fork::succeeds);
        end(i32::from_ne_bytes(sleeper));
    }
}

/// More than one sentinel has words for.
fn thousands_of_children() {
    const LINKS: usize = 2_200;
    let limit = getrlimit(Resource::Nofile);
    let raised = rustix::process::Rlimit {
        current: limit.maximum,
        ..limit
    };
    setrlimit(Resource::Nofile, raised).expect("setrlimit");
    let (ours, theirs) = sockets();
    let mut parent = Fork::run(|| {
        let held: Vec<Keepalive> = (0..LINKS)
            .map(|_| {
                let (keepalive, mut setup) = watchdog_pipe::channel().expect("channel");
                Given::send(&theirs, &mut setup);
                keepalive
            })
            .collect();
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
    // Small stacks: the default of 2,200 threads that each child starts one of is address space alone.
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
}

/// The parent says which links it has released, right after; whatever it got to say is no death.
fn release_races_with_a_death() {
    const LINKS: usize = 20;
    let mut random = Random::new();
    for _ in 0..150 {
        let (ours, theirs) = sockets();
        let (mut go, mut gone) = Cue::pair();
        let mut parent = Fork::run(|| {
            let links: Vec<Keepalive> = (0..LINKS)
                .map(|_| {
                    let (keepalive, mut setup) = watchdog_pipe::channel().expect("channel");
                    Given::send(&theirs, &mut setup);
                    keepalive
                })
                .collect();
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
        std::thread::sleep(Duration::from_micros(random.next() % 400));
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
}

/// Each call that a sentinel cannot do without, refused by a real filter.
fn what_a_sentinel_needs_is_refused() {
    type Refusal = fn(i32);
    let refusals: [(&str, Refusal); 6] = [
        ("memfd_create", |errno| {
            seccomp::refuse(&[(libc::SYS_memfd_create, errno)])
        }),
        ("ftruncate", |errno| {
            seccomp::refuse(&[(libc::SYS_ftruncate, errno)])
        }),
        ("F_ADD_SEALS", |errno| {
            seccomp::refuse_fcntl(libc::F_ADD_SEALS, errno)
        }),
        ("mprotect", |errno| {
            seccomp::refuse(&[(libc::SYS_mprotect, errno)])
        }),
        ("set_robust_list", |errno| {
            seccomp::refuse(&[(libc::SYS_set_robust_list, errno)])
        }),
        ("clone", |errno| {
            seccomp::refuse(&[(libc::SYS_clone3, errno), (libc::SYS_clone, errno)]);
        }),
    ];
    for (what, refuse) in refusals {
        for errno in [libc::ENOSYS, libc::EPERM, libc::EINVAL, libc::EAGAIN] {
            eprintln!("{what}: {errno}");
            Fork::run(|| {
                // What the filter leaves of the rest is made before it: the page that a fork wipes.
                drop(Builder::new().sentinel(false).channel().expect("channel"));
                let before = (proc_fs::own_fds(), sentinel_mappings());
                refuse(errno);
                for _ in 0..3 {
                    let (keepalive, setup) = watchdog_pipe::channel().expect("the pipe alone");
                    assert_eq!(keepalive.guarantees(), Guarantees::END_IS_TOLD);
                    assert_eq!(setup.fds().count(), 1);
                    drop((keepalive, setup));
                    // A thread that could not register ends, and is not waited for.
                    workspace_tests::until("no thread is left", || {
                        let tasks = std::fs::read_dir("/proc/self/task").expect("tasks");
                        (tasks.count() == 1).then_some(())
                    });
                    assert_eq!((proc_fs::own_fds(), sentinel_mappings()), before);
                }
            })
            .succeeds();
        }
    }
}

fn sentinel_mappings() -> usize {
    let maps = std::fs::read_to_string("/proc/self/maps").expect("maps");
    maps.lines()
        .filter(|line| line.contains("watchdog-sentinel"))
        .count()
}

/// A child that may not look at seals, or not map, or start no thread, has the pipe.
fn what_a_child_needs_is_refused() {
    type Refusal = fn();
    let refusals: [(&str, Refusal, bool); 3] = [
        (
            "F_GET_SEALS",
            || seccomp::refuse_fcntl(libc::F_GET_SEALS, libc::EPERM),
            false,
        ),
        (
            "madvise",
            || seccomp::refuse(&[(libc::SYS_madvise, libc::EINVAL)]),
            false,
        ),
        (
            "clone",
            || {
                seccomp::refuse(&[
                    (libc::SYS_clone3, libc::EAGAIN),
                    (libc::SYS_clone, libc::EAGAIN),
                ])
            },
            true,
        ),
    ];
    for (what, refuse, whole_before) in refusals {
        eprintln!("{what}");
        let (ours, theirs) = sockets();
        let (mut go, mut gone) = Cue::pair();
        let parent = Fork::run(|| {
            let (_keepalive, mut setup) = watchdog_pipe::channel().expect("channel");
            Given::send(&theirs, &mut setup);
            gone.take();
            std::mem::forget(_keepalive);
        });
        drop((gone, theirs));
        let mut given = Some(Given::receive(&ours));
        let (mut adopted, mut cue) = Cue::pair();
        let child = Fork::run(|| {
            refuse();
            let mut watchdog = given.take().expect("the copy").adopt().expect("adopt");
            let whole = watchdog.guarantees() == Guarantees::all();
            assert_eq!(whole, whole_before);
            // Here the thread is missing: from now on it is known.
            let _descriptor = watchdog.as_fd();
            assert_eq!(watchdog.guarantees(), Guarantees::END_IS_TOLD);
            cue.give();
            assert_eq!(watchdog.wait().expect("wait"), Verdict::ParentExited);
        });
        drop(given);
        adopted.take();
        go.give();
        parent.succeeds();
        child.succeeds();
    }
}

/// A link, and in its child the page replaced by `page`, under the page's own name in the variable.
fn adopt_with(
    page: OwnedFd,
    change: impl Fn(&str, u64, u64) -> String,
) -> Result<Guarantees, AdoptError> {
    let adopted = adopt_after(drop, page, change);
    adopted.map(|watchdog| watchdog.guarantees())
}

/// The same, the keepalive having been let go of in some way.
fn adopt_after(
    end: impl FnOnce(Keepalive),
    page: OwnedFd,
    change: impl Fn(&str, u64, u64) -> String,
) -> Result<Watchdog, AdoptError> {
    let (keepalive, mut setup) = watchdog_pipe::channel().expect("channel");
    let mut given = Given::of(&mut setup);
    end(keepalive);
    drop(setup);
    let stat = rustix::fs::fstat(&page).expect("fstat");
    let (before, rest) = given
        .variable
        .split_once(",sentinel=901:")
        .expect("a sentinel");
    let fields: Vec<&str> = rest.split(':').collect();
    given.variable = format!(
        "{before},sentinel={}",
        change(fields[3], stat.st_dev, stat.st_ino)
    );
    given.fds[1] = page;
    given.adopt()
}

/// The parent said why, and died before it gave the word back: both are there, whichever came first.
fn what_was_said_before_the_death_counts() {
    let dead = || {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let page = memfd_create("page", flags).expect("memfd_create");
        ftruncate(&page, 4096).expect("ftruncate");
        let word = (libc::FUTEX_WAITERS | libc::FUTEX_OWNER_DIED).to_ne_bytes();
        rustix::io::write(&page, &[word, 1_u32.to_ne_bytes()].concat()).expect("write");
        let all = SealFlags::FUTURE_WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
        fcntl_add_seals(&page, all).expect("F_ADD_SEALS");
        page
    };
    let first = |_: &str, device, inode| format!("901:{device}:{inode}:0:1");
    let release = |keepalive: Keepalive| assert!(keepalive.release().is_ok());
    let without_a_word = |keepalive: Keepalive| drop(keepalive.hand_over().expect("hand over"));
    let told = |mut watchdog: Watchdog| watchdog.try_wait().expect("look");
    Fork::run(|| {
        let watchdog = adopt_after(drop, dead(), first).expect("adopt");
        assert_eq!(told(watchdog), Some(Verdict::KeepaliveDropped));
    })
    .succeeds();
    Fork::run(|| {
        let watchdog = adopt_after(release, dead(), first).expect("adopt");
        assert_eq!(told(watchdog), Some(Verdict::Released));
    })
    .succeeds();
    Fork::run(|| {
        let watchdog = adopt_after(without_a_word, dead(), first).expect("adopt");
        assert_eq!(told(watchdog), Some(Verdict::ParentExited));
    })
    .succeeds();
}

fn page(size: u64, seals: SealFlags) -> OwnedFd {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let page = memfd_create("page", flags).expect("memfd_create");
    ftruncate(&page, size).expect("ftruncate");
    fcntl_add_seals(&page, seals).expect("F_ADD_SEALS");
    page
}

fn damaged_pages() {
    let all = SealFlags::FUTURE_WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
    let at = |offset: &'static str| {
        move |_: &str, device, inode| format!("901:{device}:{inode}:{offset}:1")
    };
    let cases: [(u64, SealFlags, &'static str); 7] = [
        (4096, SealFlags::empty(), "0"),
        (4096, all - SealFlags::FUTURE_WRITE, "0"),
        (4096, all - SealFlags::SHRINK, "0"),
        (4096, all, "4"),
        (4096, all, "4096"),
        (0, all, "0"),
        (4096, all, "18446744073709551608"),
    ];
    for (size, seals, offset) in cases {
        eprintln!("{size} {seals:?} {offset}");
        Fork::run(|| {
            let error = adopt_with(page(size, seals), at(offset)).expect_err("adopted it");
            assert!(
                matches!(error, AdoptError::DamagedPage { fd: 901 }),
                "{error:?}"
            );
            // Neither claimed nor closed: the same error once more, not another one.
            // SAFETY: nothing owns the numbers.
            let again = unsafe { Watchdog::from_env() }
                .map(drop)
                .expect_err("adopted it");
            assert!(
                matches!(again, AdoptError::DamagedPage { fd: 901 }),
                "{again:?}"
            );
        })
        .succeeds();
    }
    // The control: a page as a parent makes it, whose word is nobody's.
    Fork::run(|| {
        let guarantees = adopt_with(page(4096, all), at("8")).expect("adopt");
        assert_eq!(guarantees, Guarantees::END_IS_TOLD);
    })
    .succeeds();
}

/// What merely lies on the number is nobody's business, and stays open.
fn other_files_on_the_number() {
    let null = || -> OwnedFd { std::fs::File::open("/dev/null").expect("open").into() };
    Fork::run(|| {
        let elsewhere = |_: &str, device, inode: u64| format!("901:{device}:{}:0:1", inode + 1);
        let guarantees = adopt_with(null(), elsewhere).expect("adopt");
        assert_eq!(guarantees, Guarantees::END_IS_TOLD);
        assert_eq!(
            proc_fs::own_fds().get(&901).map(String::as_str),
            Some("/dev/null")
        );
    })
    .succeeds();
    Fork::run(|| {
        // Closed.
        let nowhere = |_: &str, device, inode| format!("902:{device}:{inode}:0:1");
        let guarantees = adopt_with(null(), nowhere).expect("adopt");
        assert_eq!(guarantees, Guarantees::END_IS_TOLD);
    })
    .succeeds();
}

/// In a copy made by fork: what is inherited promises nothing, what is made there does, also while threads of the
/// original are in the middle of making links.
fn copy_has_a_sentinel_of_its_own() {
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
}

/// xorshift64: enough to mix cases, and its seed can be said.
struct Random(u64);

impl Random {
    fn new() -> Random {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let seed = now.map_or(1, |now| now.subsec_nanos().into()) | 1;
        eprintln!("seed {seed}");
        Random(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 >> 11
    }
}
