//! Descriptors, threads and signal masks: nothing is left behind, whatever runs out.

use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use rustix::io::{FdFlags, fcntl_getfd};
use watchdog_pipe::{Guarantees, Keepalive, StopPolicy, Watchdog};
use workspace_tests::fork::{Cue, Fork};
use workspace_tests::{alone, fd_limit, proc_fs, seccomp};

/// The number of the child's end in this process.
fn number_of(setup: &watchdog_pipe::ChildSetup) -> RawFd {
    setup.fds().next().expect("one descriptor").0.as_raw_fd()
}

/// The first link leaves one descriptor and one thread, those of the sentinel. All that follows is
/// measured after it.
fn with_a_sentinel() {
    drop(watchdog_pipe::channel().expect("channel"));
}

fn threads() -> Vec<String> {
    let tasks = std::fs::read_dir("/proc/self/task").expect("tasks");
    let name = |task: std::io::Result<std::fs::DirEntry>| {
        std::fs::read_to_string(task.expect("a task").path().join("comm"))
    };
    tasks.map(|task| name(task).expect("comm")).collect()
}

#[test]
fn first_link_starts_one_sentinel_and_those_after_it_none() {
    alone!({
        let (fds, tasks) = (proc_fs::own_fds(), threads().len());
        let links: Vec<_> = (0..3)
            .map(|_| watchdog_pipe::channel().expect("channel"))
            .collect();
        drop(links);
        let mut more = proc_fs::own_fds();
        more.retain(|number, _| !fds.contains_key(number));
        let more: Vec<(i32, String)> = more.into_iter().collect();
        let [(number, name)] = &more[..] else {
            panic!("{more:?}")
        };
        assert_eq!(name, "/memfd:watchdog-sentinel (deleted)");
        assert!(*number >= 3);
        // SAFETY: open, as was just listed, and borrowed for the call alone.
        let fd = unsafe { std::os::fd::BorrowedFd::borrow_raw(*number) };
        assert!(fcntl_getfd(fd).expect("F_GETFD").contains(FdFlags::CLOEXEC));
        let tasks_now = threads();
        assert_eq!(tasks_now.len(), tasks + 1, "{tasks_now:?}");
        // As long as the kernel keeps a name.
        assert!(
            tasks_now.contains(&"watchdog-sentin\n".into()),
            "{tasks_now:?}"
        );
    });
}

#[test]
fn links_without_a_sentinel_start_none() {
    alone!({
        let (fds, tasks) = (proc_fs::own_fds(), threads());
        let without = || watchdog_pipe::Builder::new().sentinel(false).channel();
        let (keepalive, setup) = without().expect("channel");
        assert_eq!(keepalive.guarantees(), Guarantees::END_IS_TOLD);
        assert_eq!(setup.fds().count(), 1);
        assert_eq!(threads(), tasks);
        drop((keepalive, setup));
        assert_eq!(proc_fs::own_fds(), fds);
    });
}

#[test]
fn fresh_link_is_close_on_exec_and_its_setup_closes_the_childs_end() {
    alone!({
        with_a_sentinel();
        let before = proc_fs::own_fds();
        let (keepalive, setup) = watchdog_pipe::channel().expect("channel");
        let ours: Vec<RawFd> = proc_fs::own_fds()
            .into_keys()
            .filter(|number| !before.contains_key(number))
            .collect();
        assert_eq!(ours.len(), 2, "{ours:?}");
        for number in ours {
            assert!(number >= 3);
            // SAFETY: open, as was just listed, and borrowed for the call alone.
            let fd = unsafe { std::os::fd::BorrowedFd::borrow_raw(number) };
            assert!(fcntl_getfd(fd).expect("F_GETFD").contains(FdFlags::CLOEXEC));
        }
        // What the child gets may be read by a program that knows nothing of O_NONBLOCK.
        let (read, wanted) = setup.fds().next().expect("one descriptor");
        assert_eq!(wanted, watchdog_pipe::PIPE_FD);
        let flags = rustix::fs::fcntl_getfl(read).expect("F_GETFL");
        assert!(!flags.contains(rustix::fs::OFlags::NONBLOCK), "{flags:?}");
        let child_end = number_of(&setup);
        drop(setup);
        assert!(
            !proc_fs::own_fds().contains_key(&child_end),
            "the child's end is still open"
        );
        drop(keepalive);
        assert_eq!(proc_fs::own_fds(), before);
    });
}

fn leaves_nothing_behind(count: usize) {
    with_a_sentinel();
    let before = proc_fs::own_fds();
    for turn in 0..count {
        let (keepalive, setup) = watchdog_pipe::channel().expect("channel");
        match turn % 4 {
            0 => drop(setup),
            1 => assert!(keepalive.release().is_ok()),
            2 => drop(keepalive.hand_over().expect("hand over")),
            _ => drop(Keepalive::from_fd(keepalive.hand_over().expect("over")).expect("back")),
        }
    }
    assert_eq!(proc_fs::own_fds(), before);
}

// No descriptor is left behind, and what runs out is a typed error.
#[test]
fn ten_thousand_links_leave_no_descriptor_behind() {
    alone!({
        leaves_nothing_behind(10_000);
    });
}

/// In a fork, where nobody holds the write end.
#[test]
fn adoptions_and_monitors_leave_no_descriptor_behind() {
    alone!({
        let (keepalive, setup) = watchdog_pipe::channel().expect("channel");
        let (mut ours, theirs) = Cue::pair();
        let mut copies = Some((keepalive, theirs));
        let child = Fork::run(|| {
            let (keepalive, _held_to_the_end) = copies.take().expect("the copies");
            drop(keepalive);
            let (fd, _) = setup.fds().next().expect("one descriptor");
            let before = proc_fs::own_fds();
            for turn in 0..300 {
                let watchdog =
                    Watchdog::from_fd(fd.try_clone_to_owned().expect("dup")).expect("adopt");
                match turn % 3 {
                    0 => drop(watchdog),
                    1 => drop(
                        watchdog
                            .enforce(StopPolicy::immediate())
                            .expect("enforce")
                            .cancel(),
                    ),
                    _ => drop(watchdog.on_verdict(|_| ()).expect("watch").cancel()),
                }
            }
            assert_eq!(proc_fs::own_fds(), before);
        });
        let (_keepalive, theirs) = copies.expect("the originals");
        drop(theirs);
        ours.closed();
        child.succeeds();
    });
}

/// EMFILE at each descriptor that a link needs, one by one.
#[test]
fn link_without_a_free_descriptor_is_an_error_and_leaves_nothing() {
    alone!({
        // Fill every hole below 50, so that the limit alone says how many are free.
        let holes = fd_limit::fill_below(50);
        assert!(!holes.is_empty());
        let before = proc_fs::own_fds();
        for free in 0..2 {
            let made = fd_limit::with(50 + free, watchdog_pipe::channel);
            let error = made.map(drop).expect_err("made of nothing");
            assert_eq!(error.raw_os_error(), Some(libc::EMFILE), "{free} free");
            assert_eq!(proc_fs::own_fds(), before, "{free} free");
        }
        fd_limit::with(52, watchdog_pipe::channel)
            .map(drop)
            .expect("two are enough");
        assert_eq!(proc_fs::own_fds(), before);
    });
}

/// Every combination of closed standard streams, each with and without a free number above them.
#[test]
fn ends_lie_above_the_standard_streams_in_every_combination_of_closed_ones() {
    alone!({
        // Fill every hole below 50, so that the limit says how many are free above the closed ones.
        let holes = fd_limit::fill_below(50);
        assert!(!holes.is_empty());
        for closed in 1..8 {
            let status = Fork::run(|| with_closed(closed)).wait();
            // Standard error may be closed there: the code alone says what went wrong.
            assert!(status.success(), "closed {closed:03b}: {status}");
        }
    });
}

fn with_closed(closed: i32) {
    for number in (0..3).filter(|number| closed & (1 << number) != 0) {
        // SAFETY: this fork's own, and used by nobody in it from here on.
        unsafe { libc::close(number) };
    }
    let before = open_numbers();
    // One fails in the middle of the move; what is open must be what was open.
    for limit in 50..52 {
        if fd_limit::with(limit, watchdog_pipe::channel).is_ok() {
            fail(1);
        }
        if open_numbers() != before {
            fail(2);
        }
    }
    let Ok((keepalive, setup)) = watchdog_pipe::channel() else {
        fail(3)
    };
    let Ok(write) = keepalive.hand_over() else {
        fail(4)
    };
    if number_of(&setup) < 3 || write.as_raw_fd() < 3 {
        fail(5);
    }
    // Nothing of it is left down there.
    let standard = |numbers: Vec<RawFd>| numbers.into_iter().filter(|n| *n < 3).collect::<Vec<_>>();
    if standard(open_numbers()) != standard(before) {
        fail(6);
    }
}

fn fail(code: i32) -> ! {
    // SAFETY: ends this fork at once; nothing runs after it.
    unsafe { libc::_exit(code) }
}

/// Without a descriptor of its own: /proc/self/fd would take one of the closed numbers.
fn open_numbers() -> Vec<RawFd> {
    // SAFETY: F_GETFD changes nothing; a number that is not open is only an error.
    (0..100)
        .filter(|number| unsafe { libc::fcntl(*number, libc::F_GETFD) } >= 0)
        .collect()
}

/// MADV_WIPEONFORK refused: an error, and no link that could not know its copies.
#[test]
fn link_without_a_page_that_forks_wipe_is_an_error_and_leaves_nothing() {
    alone!({
        seccomp::refuse(&[(libc::SYS_madvise, libc::EINVAL)]);
        let before = proc_fs::own_fds();
        let mappings = || {
            std::fs::read_to_string("/proc/self/maps")
                .expect("maps")
                .lines()
                .count()
        };
        let mapped = mappings();
        for _ in 0..100 {
            let error = watchdog_pipe::channel()
                .map(drop)
                .expect_err("made a link all the same");
            assert_eq!(error.raw_os_error(), Some(libc::EINVAL));
        }
        assert_eq!(proc_fs::own_fds(), before);
        assert!(mappings() <= mapped + 2, "{} mappings", mappings());
    });
}

fn mask_of_this_thread() -> String {
    let status = std::fs::read_to_string("/proc/thread-self/status").expect("status");
    let mask = status.lines().find(|line| line.starts_with("SigBlk"));
    mask.expect("a mask").to_owned()
}

/// Runs `enforce` in a fork where nobody holds the write end; it must fail with `errno`.
fn enforcement_fails(errno: i32, prepare: impl FnOnce()) {
    let (keepalive, setup) = watchdog_pipe::channel().expect("channel");
    let mut copy = Some(keepalive);
    let child = Fork::run(|| {
        drop(copy.take());
        let (fd, _) = setup.fds().next().expect("one descriptor");
        let fd = fd.try_clone_to_owned().expect("dup");
        let before = proc_fs::own_fds();
        let watchdog = Watchdog::from_fd(fd).expect("adopt");
        let mask = mask_of_this_thread();
        prepare();
        let error = watchdog
            .enforce(StopPolicy::immediate())
            .expect_err("no room");
        assert_eq!(error.raw_os_error(), Some(errno));
        assert_eq!(mask_of_this_thread(), mask);
        // The watchdog is gone, as is said there.
        assert_eq!(proc_fs::own_fds().len(), before.len() - 1);
    });
    child.succeeds();
}

#[test]
fn enforcement_without_room_for_a_thread_is_an_error_and_leaves_the_mask_alone() {
    alone!({
        enforcement_fails(libc::EAGAIN, || {
            seccomp::refuse(&[
                (libc::SYS_clone3, libc::EAGAIN),
                (libc::SYS_clone, libc::EAGAIN),
            ]);
        });
    });
}

/// What a protection needs was opened at adoption.
#[test]
fn enforcement_needs_no_free_descriptor() {
    alone!({
        let (keepalive, setup) = watchdog_pipe::channel().expect("channel");
        let mut copy = Some(keepalive);
        Fork::run(|| {
            drop(copy.take());
            let (fd, _) = setup.fds().next().expect("one descriptor");
            let fd = fd.try_clone_to_owned().expect("dup");
            let watchdog = Watchdog::from_fd(fd).expect("adopt");
            let enforce = || watchdog.enforce(StopPolicy::immediate());
            let monitor = fd_limit::with(0, enforce);
            assert_eq!(monitor.expect("enforce").cancel(), None);
        })
        .succeeds();
    });
}

#[test]
fn what_is_no_write_end_is_not_taken_for_a_keepalive() {
    alone!({
        let (_keepalive, setup) = watchdog_pipe::channel().expect("channel");
        let read = setup
            .fds()
            .next()
            .expect("one descriptor")
            .0
            .try_clone_to_owned()
            .expect("dup");
        let both = File::options()
            .read(true)
            .write(true)
            .open(format!("/proc/self/fd/{}", read.as_raw_fd()))
            .expect("reopen");
        let null = File::options()
            .write(true)
            .open("/dev/null")
            .expect("a device");
        let (socket, _other) = std::os::unix::net::UnixStream::pair().expect("socketpair");
        for fd in [read, both.into(), null.into(), socket.into()] {
            let error = Keepalive::from_fd(fd)
                .map(drop)
                .expect_err("took what is no write end");
            assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
        }
    });
}

/// Close-on-exec and non-blocking, whatever the one who gave it made of it.
#[test]
fn write_end_that_is_taken_becomes_close_on_exec_and_non_blocking() {
    alone!({
        let (keepalive, setup) = watchdog_pipe::channel().expect("channel");
        let write: OwnedFd = keepalive.hand_over().expect("hand over");
        rustix::io::fcntl_setfd(&write, FdFlags::empty()).expect("F_SETFD");
        rustix::fs::fcntl_setfl(&write, rustix::fs::OFlags::empty()).expect("F_SETFL");
        let keepalive = Keepalive::from_fd(write).expect("take it back");
        // Full: a blocking one would hang here.
        let pipe = setup.fds().next().expect("one descriptor").0;
        let path = format!("/proc/self/fd/{}", pipe.as_raw_fd());
        let mut filler = File::options().write(true).open(path).expect("reopen");
        rustix::io::ioctl_fionbio(&filler, true).expect("O_NONBLOCK");
        while std::io::Write::write(&mut filler, &[b'?'; 4096]).is_ok() {}
        let refused = keepalive.release().expect_err("no room for a word");
        let (keepalive, error) = refused.into_parts();
        assert_eq!(error.raw_os_error(), Some(libc::EAGAIN));
        let refused = keepalive.hand_over().expect_err("no room for a word");
        assert_eq!(refused.error().raw_os_error(), Some(libc::EAGAIN));
        // The child is held as before: room for the word is all that was missing.
        rustix::io::read(pipe, &mut [0; 8192]).expect("drain");
        let write = refused
            .into_keepalive()
            .hand_over()
            .expect("room for a word");
        assert!(
            fcntl_getfd(&write)
                .expect("F_GETFD")
                .contains(FdFlags::CLOEXEC)
        );
    });
}
