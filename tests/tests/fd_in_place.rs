//! `CommandExt::exec` runs what is for a child in the process itself: a plan refuses, and has
//! changed nothing.

use std::collections::BTreeMap;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use fd_preserve::{Applied, ChildFdsError, ErrorChannel, PreserveFds};
use workspace_tests::fd_table::{FileId, file, file_at, id_of, litter};
use workspace_tests::fork::Fork;
use workspace_tests::proc_fs::own_fds;
use workspace_tests::{alone, seccomp};

/// File and flags of each number.
fn table() -> BTreeMap<RawFd, (FileId, i32)> {
    let of = |fd| {
        // SAFETY: takes no pointer and changes nothing.
        let flags = unsafe { libc::fcntl(fd, libc::F_GETFD) };
        Some((fd, (id_of(fd)?, flags)))
    };
    (0..300).filter_map(of).collect()
}

/// A plan for a number on which this process has a file of its own.
fn give(command: &mut Command) -> Applied {
    let mut fds = PreserveFds::new();
    fds.map_fd(file(), 100).expect("map_fd");
    fds.apply(command).expect("apply")
}

/// An exec that goes through ends the test's process, with a program that fails.
fn is_refused(command: &mut Command, applied: &Applied) {
    let before = table();
    let error = command.exec();
    assert_eq!(
        applied.explain(&error),
        Some(ChildFdsError::NotForked),
        "{error}"
    );
    assert_eq!(error.raw_os_error(), Some(libc::EOPNOTSUPP), "{error}");
    assert_eq!(table(), before);
}

#[test]
fn exec_in_place_is_refused_before_anything_is_changed() {
    alone!({
        let _own = (file_at(100), litter(110, 1, 20));
        for program in ["/nonexistent/program", "/bin/false"] {
            let mut command = Command::new(program);
            let applied = give(&mut command);
            is_refused(&mut command, &applied);
        }
    });
}

#[test]
fn exec_in_place_of_a_command_of_tokio_is_refused() {
    alone!({
        let _own = (file_at(100), litter(110, 1, 20));
        let mut command = tokio::process::Command::new("/nonexistent/program");
        let applied = give(command.as_std_mut());
        is_refused(command.as_std_mut(), &applied);
    });
}

/// A copy asks the copy's own page, not its parent's.
#[test]
fn exec_in_place_is_refused_in_a_forked_copy_that_made_the_plan() {
    alone!({
        let _own = file_at(100);
        let mut ours = Command::new("/bin/true");
        let _applied = give(&mut ours);
        Fork::run(|| {
            let mut command = Command::new("/bin/false");
            let applied = give(&mut command);
            is_refused(&mut command, &applied);
        })
        .succeeds();
    });
}

#[test]
fn command_that_was_refused_in_place_spawns() {
    alone!({
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "exit 7"]);
        let applied = give(&mut command);
        is_refused(&mut command, &applied);
        assert_eq!(command.status().expect("spawn").code(), Some(7));
    });
}

/// A process that is to end if its exec fails installs the plan itself, as often as it tries.
#[test]
fn plan_that_is_installed_again_leaves_nothing_open() {
    alone!({
        let mut fds = PreserveFds::new();
        fds.map_fd(file(), 40).expect("map_fd");
        let fds = fds.prepare(ErrorChannel::None).expect("prepare");
        let installed = || {
            // SAFETY: nothing else in this process, which has one thread, has a use for its
            // numbers.
            unsafe { fds.install() }.expect("install");
            own_fds()
        };
        let once = installed();
        assert!(once.contains_key(&40));
        assert_eq!(installed(), once, "by close_range");
        seccomp::refuse(&[(libc::SYS_close_range, libc::ENOSYS)]);
        assert_eq!(installed(), once, "by /proc");
    });
}

#[test]
fn plan_that_is_installed_by_hand_is_there_after_an_exec_in_place() {
    alone!({
        let source = file();
        let number = source.as_raw_fd();
        let mut fds = PreserveFds::new();
        fds.map_fd(source, 40).expect("map_fd");
        let fds = fds.prepare(ErrorChannel::None).expect("prepare");
        Fork::run(|| {
            // SAFETY: this copy has one thread, and ends if its exec fails.
            unsafe { fds.install() }.expect("install");
            let script = format!("test -e /proc/self/fd/40 && ! test -e /proc/self/fd/{number}");
            let error = Command::new("/bin/sh").args(["-c", &script]).exec();
            panic!("{error}");
        })
        .succeeds();
    });
}
