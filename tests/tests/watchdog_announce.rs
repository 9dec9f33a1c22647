//! A parent that announces its death: the children are told while it still lives.

use std::fs::{self, File};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::MemfdFlags;
use rustix::pipe::PipeFlags;
use watchdog_pipe::{Builder, Keepalive, announce_death};
use workspace_tests::cast::{Actor, Cast};
use workspace_tests::fork::Fork;
use workspace_tests::orders::{Announcement, Order, Spawn};
use workspace_tests::{alone, alone_in_pid_namespace, fd_limit, seccomp, until};

use crate::family::open;

#[allow(dead_code, reason = "others use the rest")]
mod family;

/// A child on each kind of link, which has adopted: by the word, by the pipe of such a link, by a
/// pipe that has no sentinel.
fn children(stage: &mut Cast, parent: &mut Actor) -> [Actor; 3] {
    let spawns = [
        Spawn::new("word"),
        Spawn::new("page behind").page_stays_behind(),
        Spawn::new("pipe").pipe_alone(),
    ];
    spawns.map(|spawn| {
        let name = spawn.name.clone();
        parent.ask(&Order::Spawn(spawn));
        let mut child = stage.enter(&name);
        child.must(&Order::Adopt);
        child
    })
}

/// The parent announces its death, and its waiting children are told while it lives on.
fn children_are_told_while_their_parent_lives(how: Announcement) {
    let (mut stage, mut parent) = open();
    let mut children = children(&mut stage, &mut parent);
    for child in &mut children {
        assert_eq!(child.ask(&Order::TryWait), "None");
        child.tell(&Order::Wait);
    }
    parent.tell(&Order::Announce(how));
    for child in &mut children {
        assert_eq!(child.hear(), "ParentExited");
    }
    assert!(parent.is_running());
}

#[test]
fn children_are_told_from_a_crash_handler_while_their_parent_still_lives() {
    children_are_told_while_their_parent_lives(Announcement::CrashHandler);
}

#[test]
fn children_are_told_from_a_panic_hook_while_their_parent_still_lives() {
    children_are_told_while_their_parent_lives(Announcement::PanicHook);
}

#[test]
fn children_are_told_from_the_main_thread_while_their_parent_still_lives() {
    children_are_told_while_their_parent_lives(Announcement::Main);
}

#[test]
fn children_are_told_from_a_second_thread_while_their_parent_still_lives() {
    children_are_told_while_their_parent_lives(Announcement::SecondThread);
}

#[test]
fn children_that_are_enforced_stop_while_their_parent_still_lives() {
    let (mut stage, mut parent) = open();
    let mut children = children(&mut stage, &mut parent);
    for child in &mut children {
        child.must(&Order::enforce(libc::SIGINT, workspace_tests::orders::LONG));
    }
    parent.must(&Order::Announce(Announcement::Main));
    for child in &children {
        child.gone();
    }
    parent.kill();
    for child in &children {
        assert_eq!(stage.ended(child).signal(), Some(libc::SIGINT));
    }
}

/// Nobody is told by `how`, and everybody by what comes then.
fn nobody_is_told(how: Announcement) {
    let (mut stage, mut parent) = open();
    let mut children = children(&mut stage, &mut parent);
    parent.must(&Order::Announce(how));
    for child in &mut children {
        assert_eq!(child.ask(&Order::TryWait), "None");
        child.tell(&Order::Wait);
        assert!(child.is_silent());
    }
    parent.must(&Order::Drop { link: 0 });
    assert_eq!(children[0].hear(), "KeepaliveDropped");
    parent.kill();
    for child in &mut children[1..] {
        assert_eq!(child.hear(), "ParentExited");
    }
}

#[test]
fn copy_made_by_fork_announces_nothing_to_its_parents_children() {
    nobody_is_told(Announcement::Copy);
}

#[test]
fn child_that_shares_the_memory_announces_nothing_to_its_parents_children() {
    nobody_is_told(Announcement::SharedMemory);
}

/// The number of a process does not tell it from its copy.
#[test]
fn copy_that_is_pid_1_as_its_parent_is_announces_nothing() {
    alone_in_pid_namespace!({
        let (_keepalive, setup) = watchdog_pipe::channel().expect("channel");
        let (read_end, _) = setup.fds().next().expect("one descriptor");
        rustix::io::ioctl_fionbio(read_end, true).expect("O_NONBLOCK");
        assert_eq!(std::process::id(), 1);
        // SAFETY: a plain number; only children to come are concerned.
        assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWPID) }, 0);
        Fork::run(|| {
            assert_eq!(std::process::id(), 1);
            announce_death();
        })
        .succeeds();
        let nothing = rustix::io::read(read_end, &mut [0; 8]);
        assert_eq!(nothing, Err(rustix::io::Errno::AGAIN));
        assert_ne!(word(&setup) & libc::FUTEX_TID_MASK, 0);
    });
}

#[test]
fn child_that_adopts_after_the_announcement_is_told() {
    let (mut stage, mut parent) = open();
    let spawns = [Spawn::new("word"), Spawn::new("pipe").pipe_alone()];
    let mut children = spawns.map(|spawn| {
        let name = spawn.name.clone();
        parent.ask(&Order::Spawn(spawn));
        stage.enter(&name)
    });
    parent.must(&Order::Announce(Announcement::Main));
    for child in &mut children {
        child.must(&Order::Adopt);
        assert_eq!(child.ask(&Order::TryWait), "Some(ParentExited)");
    }
    assert!(parent.is_running());
}

#[test]
fn link_that_is_made_after_the_announcement_is_as_good_as_any() {
    let (mut stage, mut parent) = open();
    drop(children(&mut stage, &mut parent));
    for link in 0..3 {
        parent.must(&Order::Announce(Announcement::Main));
        // Their words and their places in the list are used again.
        parent.must(&Order::Drop { link });
    }
    let mut later = children(&mut stage, &mut parent);
    for child in &mut later {
        assert_eq!(child.ask(&Order::TryWait), "None");
        child.tell(&Order::Wait);
        assert!(child.is_silent());
    }
    parent.must(&Order::Release { link: 3 });
    assert_eq!(later[0].hear(), "Released");
    parent.kill();
    for child in &mut later[1..] {
        assert_eq!(child.hear(), "ParentExited");
    }
}

#[test]
fn child_that_was_released_or_handed_over_before_is_not_told() {
    let (mut stage, mut parent) = open();
    let (_other_stage, mut other) = open();
    let mut children = children(&mut stage, &mut parent);
    let path = stage.folder().join("handed over");
    other.tell(&Order::Receive { path: path.clone() });
    assert_eq!(other.hear(), "ready");
    parent.must(&Order::Release { link: 0 });
    parent.must(&Order::Send { link: 2, path });
    assert_eq!(other.hear(), "ok");
    parent.must(&Order::Announce(Announcement::Main));
    assert_eq!(children[1].ask(&Order::Wait), "ParentExited");
    assert_eq!(children[0].ask(&Order::Wait), "Released");
    assert_eq!(children[2].ask(&Order::TryWait), "None");
    // It is the other one's now.
    other.must(&Order::Announce(Announcement::Main));
    assert_eq!(children[2].ask(&Order::Wait), "ParentExited");
}

/// The word of a link in the sentinel's page.
fn word(setup: &watchdog_pipe::ChildSetup) -> u32 {
    let variable = setup.env().1;
    let place = variable
        .split(',')
        .find_map(|field| field.strip_prefix("sentinel="));
    let offset = place.and_then(|place| place.split(':').nth(3));
    let offset = offset.and_then(|offset| offset.parse().ok());
    let (page, _) = setup.fds().nth(1).expect("the page");
    let mut word = [0; 4];
    let read = rustix::io::pread(page, &mut word, offset.expect("an offset"));
    assert_eq!(read, Ok(4));
    u32::from_ne_bytes(word)
}

#[test]
fn every_one_of_more_links_than_one_sentinel_has_is_told() {
    alone!({
        fd_limit::set(5_000);
        let links = (0..2_100).map(|_| watchdog_pipe::channel().expect("channel"));
        let links: Vec<_> = links.collect();
        let owned = |setup| word(setup) & libc::FUTEX_TID_MASK != 0;
        assert!(links.iter().all(|(_, setup)| owned(setup)));
        announce_death();
        for (_, setup) in &links {
            let word = word(setup);
            assert_eq!(word, libc::FUTEX_WAITERS | libc::FUTEX_OWNER_DIED);
            assert_eq!(read(setup), b"wd:died\n");
        }
    });
}

/// The pipe has no room for what is said there, and the thread that sleeps on the word is woken.
#[test]
fn child_that_has_filled_its_pipe_is_told_by_the_word() {
    let (mut stage, mut parent) = open();
    parent.ask(&Order::Spawn(Spawn::new("child")));
    let mut child = stage.enter("child");
    child.must(&Order::Adopt);
    child.must(&Order::AskForDescriptor);
    assert_eq!(child.ask(&Order::CountThreads), "2");
    child.must(&Order::FillPipe);
    parent.must(&Order::Announce(Announcement::Main));
    until("the thread that slept on the word has ended", || {
        (child.ask(&Order::CountThreads) == "1").then_some(())
    });
    assert_eq!(child.ask(&Order::TryWait), "Some(ParentExited)");
    assert!(parent.is_running());
}

#[test]
fn parent_that_dumps_core_after_its_announcement_is_dead_and_its_children_know() {
    let pattern = fs::read_to_string("/proc/sys/kernel/core_pattern").expect("core_pattern");
    let (mut stage, mut parent) = open();
    let mut children = children(&mut stage, &mut parent);
    for child in &mut children {
        child.tell(&Order::Wait);
    }
    let folder = stage.folder().join("dump");
    fs::create_dir(&folder).expect("a folder");
    parent.tell(&Order::Crash {
        folder: folder.clone(),
    });
    for child in &mut children {
        assert_eq!(child.hear(), "ParentExited");
    }
    let status = stage.ended(&parent);
    assert_eq!(status.signal(), Some(libc::SIGSEGV), "{status}");
    if pattern.starts_with(['|', '/', '@']) {
        return eprintln!("skipped: whether it dumped core: core_pattern is {pattern}");
    }
    assert!(status.core_dumped(), "{status}");
}

#[test]
fn announcement_without_a_link_does_nothing() {
    alone!({
        announce_death();
        drop(watchdog_pipe::channel().expect("channel"));
        announce_death();
    });
}

/// What the child reads of its pipe; a pipe without a word is an error.
fn read(setup: &watchdog_pipe::ChildSetup) -> Vec<u8> {
    let (fd, _) = setup.fds().next().expect("one descriptor");
    let mut buffer = [0; 64];
    let count = rustix::io::read(fd, &mut buffer).expect("a word, or the end");
    buffer[..count].to_vec()
}

#[test]
fn announcement_says_its_word_once_however_often_it_is_made() {
    alone!({
        let (keepalive, setup) = watchdog_pipe::channel().expect("channel");
        for _ in 0..10_000 {
            announce_death();
        }
        assert_eq!(read(&setup), b"wd:died\n");
        drop(keepalive);
        assert_eq!(read(&setup), b"wd:drop\n");
        assert_eq!(read(&setup), b"");
    });
}

#[test]
fn release_and_hand_over_after_the_announcement_fail_and_give_the_keepalive_back() {
    alone!({
        for sentinel in [true, false] {
            let (keepalive, _setup) = Builder::new()
                .sentinel(sentinel)
                .channel()
                .expect("channel");
            announce_death();
            let broken = |error: &std::io::Error| error.kind() == std::io::ErrorKind::BrokenPipe;
            let refused = keepalive.release().expect_err("too late");
            assert!(broken(refused.error()), "{refused:?}");
            let refused = refused.into_keepalive().hand_over().expect_err("too late");
            assert!(broken(refused.error()), "{refused:?}");
        }
    });
}

#[test]
fn announcement_to_a_child_that_is_gone_raises_no_sigpipe_and_leaves_errno_alone() {
    alone!({
        // As before Linux 6.18, and where the C library notes an error.
        let refusals = [
            None,
            Some((libc::SYS_pwritev2, libc::EOPNOTSUPP)),
            Some((libc::SYS_pwritev2, libc::EPERM)),
            Some((libc::SYS_getpid, libc::EPERM)),
            Some((libc::SYS_futex, libc::EPERM)),
        ];
        for refused in refusals {
            Fork::run(|| {
                let (_keepalive, setup) = watchdog_pipe::channel().expect("channel");
                let (_other_keepalive, other) = watchdog_pipe::channel().expect("channel");
                drop(setup);
                if let Some(refused) = refused {
                    seccomp::refuse(&[refused]);
                }
                // SAFETY: this thread's place for the number, which is always there.
                let errno = unsafe { &mut *libc::__errno_location() };
                *errno = 4242;
                announce_death();
                assert_eq!(*errno, 4242);
                // Whatever is refused, the other child is told.
                assert_eq!(read(&other), b"wd:died\n");
            })
            .succeeds();
        }
    });
}

#[test]
fn copy_with_links_of_its_own_announces_its_death_to_those_alone() {
    alone!({
        let (_keepalive, setup) = watchdog_pipe::channel().expect("channel");
        let (read_end, _) = setup.fds().next().expect("one descriptor");
        rustix::io::ioctl_fionbio(read_end, true).expect("O_NONBLOCK");
        Fork::run(|| {
            let (_keepalive, own) = watchdog_pipe::channel().expect("channel");
            announce_death();
            assert_eq!(read(&own), b"wd:died\n");
        })
        .succeeds();
        let nothing = rustix::io::read(read_end, &mut [0; 8]);
        assert_eq!(nothing, Err(rustix::io::Errno::AGAIN));
    });
}

/// A number that was closed is another file's soon: a word that comes late would be written there.
#[test]
fn announcement_amid_links_that_come_and_go_writes_into_no_other_file() {
    alone!({
        static OVER: AtomicBool = AtomicBool::new(false);
        let links = || {
            while !OVER.load(Ordering::Relaxed) {
                let (keepalive, _setup) = watchdog_pipe::channel().expect("channel");
                drop(keepalive);
                // On the number that has just been a write end's, or soon will be the other
                // thread's.
                let file = memfd();
                let (_read, write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).expect("pipe");
                drop(Keepalive::from_fd(write).expect("a write end"));
                let other = memfd();
                std::thread::yield_now();
                assert_eq!((length(&file), length(&other)), (0, 0));
            }
        };
        std::thread::scope(|scope| {
            let makers = [scope.spawn(links), scope.spawn(links)];
            let announcers = [0; 2].map(|_| {
                scope.spawn(|| {
                    for _ in 0..5_000 {
                        announce_death();
                    }
                })
            });
            let announced = announcers.map(|thread| thread.join());
            OVER.store(true, Ordering::Relaxed);
            let made = makers.map(|thread| thread.join());
            assert!(announced.iter().all(Result::is_ok) && made.iter().all(Result::is_ok));
        });
    });
}

fn memfd() -> OwnedFd {
    rustix::fs::memfd_create("a file", MemfdFlags::CLOEXEC).expect("memfd_create")
}

fn length(file: &impl AsFd) -> i64 {
    rustix::fs::fstat(file).expect("fstat").st_size
}

#[test]
fn example_of_a_crash_handler_tells_its_helper_of_the_crash() {
    let own = std::env::current_exe().expect("the test binary");
    let folder = own.ancestors().nth(2).expect("the target folder");
    let example = folder.join("examples/crash_handler");
    if !Path::exists(&example) {
        eprintln!(
            "skipped: {} was not built: cargo build --examples",
            example.display()
        );
        return;
    }
    let output = std::process::Command::new("sh")
        .args(["-c", "ulimit -c 0; exec \"$0\""])
        .arg(&example)
        .stdin(File::open("/dev/null").expect("a device"))
        .output()
        .expect("run the example");
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.signal(), Some(libc::SIGSEGV), "{output:?}");
    // The pipe of standard output ends with the helper.
    assert!(said.contains("helper: ParentExited"), "{output:?}");
}
