//! Nothing that was not planned reaches a child, whatever is refused.

use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use fd_preserve::{Applied, ChildFdsError, PreserveFds};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use workspace_tests::fd_table::{Table, Witness, file, id, litter, stdio};
use workspace_tests::{alone, fd_table, namespace, seccomp};

type Calls = [(libc::c_long, i32)];

fn refused(errno: i32) -> Vec<(libc::c_long, i32)> {
    vec![(libc::SYS_close_range, errno)]
}

#[test]
fn none_arrives_when_close_range_is_eperm() {
    alone!({
        close_all(&refused(libc::EPERM));
    });
}

#[test]
fn none_arrives_when_close_range_is_enosys() {
    alone!({
        close_all(&refused(libc::ENOSYS));
    });
}

#[test]
fn none_arrives_when_close_range_is_einval() {
    alone!({
        close_all(&refused(libc::EINVAL));
    });
}

#[test]
fn none_arrives_when_close_range_is_eperm_without_proc() {
    alone!({
        without_proc(&refused(libc::EPERM));
    });
}

#[test]
fn none_arrives_when_close_range_is_enosys_without_proc() {
    alone!({
        without_proc(&refused(libc::ENOSYS));
    });
}

#[test]
fn none_arrives_when_close_range_is_einval_without_proc() {
    alone!({
        without_proc(&refused(libc::EINVAL));
    });
}

#[test]
fn a_lowered_limit_hides_nothing_from_proc() {
    alone!({
        lowered(&refused(libc::ENOSYS));
    });
}

/// A child with one planned descriptor.
fn witness() -> (Witness, Table, Applied) {
    let source = file();
    let mut expected = stdio();
    expected.insert(9, id(&source));
    let mut witness = Witness::new();
    let mut fds = PreserveFds::new();
    fds.map_fd(source, 9).expect("map_fd");
    let applied = fds.apply(&mut witness.command).expect("apply");
    (witness, expected, applied)
}

/// Descriptors without close-on-exec from 100 up to the limit, 10,000 of them where it allows.
fn fill() -> Vec<OwnedFd> {
    let limit = getrlimit(Resource::Nofile);
    let hard = limit.maximum.unwrap_or(1 << 16).min(1 << 16);
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: Some(hard),
            ..limit
        },
    )
    .expect("setrlimit");
    let hard = usize::try_from(hard).expect("a limit that fits");
    let count = (hard - 110).min(10_000);
    let step = (hard - 101) / count;
    let mut open = litter(100, step, count);
    // And the very last number, where the steps do not hit it.
    let last = i32::try_from(hard - 1).expect("a limit that fits");
    if fd_table::id_of(last).is_none() {
        open.extend(litter(last, 1, 1));
    }
    open
}

/// 10,000 descriptors are open without close-on-exec, spread to the limit, and none arrives,
/// whatever a filter makes close_range answer: docs/pitfalls.md#no-close_range.
fn close_all(calls: &Calls) {
    let open = fill();
    assert!(
        open.len() >= 10_000,
        "the hard limit of this machine is too low: {}",
        open.len()
    );
    let (mut witness, expected, _) = witness();
    seccomp::refuse(calls);
    assert_eq!(witness.run().expect("spawn"), expected);
}

#[test]
fn ten_thousand_leaks_do_not_arrive() {
    alone!({
        close_all(&[]);
    });
}

/// docs/pitfalls.md#no-proc-and-limits-that-lie
fn without_proc(calls: &Calls) {
    if hide_proc() {
        close_all(calls);
    }
}

#[test]
fn none_arrives_without_proc() {
    alone!({
        without_proc(&[]);
    });
}

/// Mounts of our own, in which nothing is on /proc; `false` where they are not to be had.
fn hide_proc() -> bool {
    if !namespace::unshare_mounts() {
        return false;
    }
    namespace::mount_empty_proc();
    assert!(fs::metadata("/proc/self").is_err(), "/proc is still there");
    true
}

/// A folder of the right name that is not the kernel's list is not believed.
#[test]
fn a_folder_that_only_looks_like_proc_is_not_believed() {
    alone!({
        if !hide_proc() {
            return;
        }
        fs::create_dir_all("/proc/self/fd").expect("mkdir");
        fs::write("/proc/self/fd/5", "").expect("write");
        close_all(&refused(libc::ENOSYS));
    });
}

/// /proc is there and cannot be listed.
#[test]
fn none_arrives_when_proc_cannot_be_listed() {
    alone!({
        let mut calls = refused(libc::EPERM);
        calls.push((libc::SYS_getdents64, libc::EPERM));
        close_all(&calls);
    });
}

/// The same with a limit below what is open: docs/pitfalls.md#no-proc-and-limits-that-lie.
fn lowered(calls: &Calls) {
    let open = fill();
    let (mut witness, expected, _) = witness();
    // Both limits: nothing says any more how high the open numbers are.
    let low = Rlimit {
        current: Some(64),
        maximum: Some(64),
    };
    setrlimit(Resource::Nofile, low).expect("setrlimit");
    seccomp::refuse(calls);
    assert_eq!(witness.run().expect("spawn"), expected);
    drop(open);
}

#[test]
fn a_lowered_limit_hides_nothing() {
    alone!({
        lowered(&[]);
    });
}

#[test]
fn a_lowered_limit_hides_nothing_from_the_loop() {
    alone!({
        if !hide_proc() {
            return;
        }
        lowered(&refused(libc::ENOSYS));
    });
}

/// No number below the limit is free when the plan runs, so that /proc/self/fd cannot be opened.
#[test]
fn a_full_table_is_cleaned_without_a_descriptor() {
    alone!({
        let high = litter(200, 1, 40);
        let source = high[0].as_raw_fd();
        let mut witness = Witness::new();
        // SAFETY: dup(2) alone, until it says that nothing is free.
        unsafe {
            witness.command.pre_exec(move || {
                while libc::dup(source) != -1 {}
                Ok(())
            });
        }
        let mut expected = stdio();
        expected.insert(9, id(&high[1]));
        let mut fds = PreserveFds::new();
        fds.map_borrowed_fd(&high[1], 9).expect("map_borrowed_fd");
        fds.apply(&mut witness.command).expect("apply");
        seccomp::refuse(&refused(libc::ENOSYS));
        assert_eq!(witness.run().expect("spawn"), expected);
    });
}

/// What bounds the loop is refused as well.
#[test]
fn a_child_that_cannot_know_what_is_open_does_not_start() {
    alone!({
        if !hide_proc() {
            return;
        }
        let (mut witness, _, applied) = witness();
        let mut calls = refused(libc::EPERM);
        calls.push((libc::SYS_pselect6, libc::EPERM));
        seccomp::refuse(&calls);
        let error = witness.run().expect_err("nothing says what is open");
        assert_eq!(error.raw_os_error(), Some(libc::EOPNOTSUPP), "{error}");
        assert_eq!(applied.explain(&error), Some(ChildFdsError::NoCloseMethod));
        assert_eq!(applied.explain(&error), None, "a report is taken once");
        let missing = Command::new("/nonexistent").spawn().expect_err("missing");
        assert_eq!(applied.explain(&missing), None, "another command's error");
    });
}

/// docs/pitfalls.md#gaps
#[test]
fn leaks_between_and_above_kept_numbers_are_closed() {
    alone!({
        let source = file();
        let mut expected = stdio();
        expected.extend([(51, id(&source)), (200, id(&source))]);
        let _litter = [litter(20, 2, 60), litter(201, 3, 20)];
        let mut witness = Witness::new();
        let mut fds = PreserveFds::new();
        fds.map_borrowed_fd(&source, 51).expect("map_fd");
        fds.map_borrowed_fd(&source, 200).expect("map_fd");
        fds.apply(&mut witness.command).expect("apply");
        assert_eq!(witness.run().expect("spawn"), expected);
    });
}
