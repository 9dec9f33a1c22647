//! Plans at the limit of open files.

use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::process::Command;

use fd_preserve::{ChildFdsError, Error, PreserveFds};
use workspace_tests::fd_table::{Table, Witness, file, file_at, id, id_of, stdio};
use workspace_tests::{alone, fd_limit};

/// What is open below 300; /proc cannot be asked when no descriptor is left.
fn table() -> Table {
    (0..300).filter_map(|fd| Some((fd, id_of(fd)?))).collect()
}

fn plan(file: OwnedFd, target: RawFd) -> PreserveFds {
    let mut fds = PreserveFds::new();
    fds.map_fd(file, target).expect("map_fd");
    fds
}

/// The limit itself is `TargetAboveLimit`, before there is a child:
/// docs/pitfalls.md#a-target-above-the-limit.
#[test]
fn the_last_number_below_the_limit_can_be_had_and_the_limit_cannot() {
    alone!({
        fd_limit::set(100);
        for occupant in [None, Some(file_at(99))] {
            let file = file();
            let mut expected = stdio();
            expected.insert(99, id(&file));
            let mut witness = Witness::new();
            plan(file, 99).apply(&mut witness.command).expect("apply");
            assert_eq!(witness.run().expect("spawn"), expected);
            drop(occupant);
        }
        let before = table();
        for target in [100, 101, 1 << 20, i32::MAX] {
            let refused = plan(file(), target).apply(&mut Command::new("/bin/true"));
            let named = matches!(
                refused,
                Err(Error::TargetAboveLimit { target: t, limit: 100 }) if t == target
            );
            assert!(named, "{target}: {refused:?}");
            let said = refused.expect_err("refused").to_string();
            assert!(said.contains(&target.to_string()), "{said}");
        }
        assert_eq!(table(), before);
    });
}

/// A descriptor that is open above a lowered limit can still be kept: nothing is duplicated.
#[test]
fn what_is_open_above_a_lowered_limit_can_be_kept() {
    alone!({
        let high = file_at(200);
        let mut expected = stdio();
        expected.insert(200, id(&high));
        fd_limit::set(100);
        let mut witness = Witness::new();
        let mut fds = PreserveFds::new();
        fds.preserve_fd(high).expect("preserve_fd");
        fds.apply(&mut witness.command).expect("apply");
        assert_eq!(witness.run().expect("spawn"), expected);
    });
}

/// No free descriptor left: typed error, nothing leaked.
#[test]
fn without_a_free_descriptor_the_error_is_typed_and_nothing_leaks() {
    alone!({
        fd_limit::set(64);
        let (left, right) = (file_at(20), file_at(21));
        let hole = file_at(30);
        let mut fill = Vec::new();
        while let Ok(copy) = rustix::io::fcntl_dupfd_cloexec(&left, 3) {
            fill.push(copy);
        }
        let before = table();
        assert_eq!(before.len(), 64, "the table is full");

        // Borrowing needs a duplicate.
        let mut fds = PreserveFds::new();
        let refused = fds.map_borrowed_fd(&left, 40).map(drop);
        assert!(
            matches!(refused, Err(Error::TooManyOpenFiles { fd: 20, .. })),
            "{refused:?}"
        );
        drop(fds);
        assert_eq!(table(), before);

        // A swap needs parked copies.
        let mut fds = PreserveFds::new();
        fds.map_fd(left, 21).expect("map_fd");
        fds.map_fd(right, 20).expect("map_fd");
        let refused = fds.apply(&mut Command::new("/bin/true"));
        assert!(
            matches!(refused, Err(Error::TooManyOpenFiles { fd: 20, .. })),
            "{refused:?}"
        );
        let mut before = before;
        before.retain(|fd, _| ![20, 21].contains(fd));
        assert_eq!(
            table(),
            before,
            "the sources were given, so they are closed"
        );

        // One number is free, and wanted; holding it takes more than that.
        let refill: Vec<OwnedFd> = [20, 21].map(file_at).into();
        drop(hole);
        let before = table();
        assert_eq!(before.len(), 63);
        let source = fill.pop().expect("one of many");
        let number = source.as_raw_fd();
        let refused = plan(source, 30).apply(&mut Command::new("/bin/true"));
        assert!(
            matches!(refused, Err(Error::TooManyOpenFiles { fd: 30, .. })),
            "{refused:?}"
        );
        let mut before = before;
        before.remove(&number);
        assert_eq!(table(), before);
        drop(refill);

        // The same plan works once there is room, and no count was left behind: the number is free
        // after it.
        fill.truncate(10);
        let file = file();
        let mut expected = stdio();
        expected.insert(30, id(&file));
        let mut witness = Witness::new();
        plan(file, 30).apply(&mut witness.command).expect("apply");
        assert_eq!(witness.run().expect("spawn"), expected);
        drop(witness);
        assert_eq!(id_of(30), None, "a reservation outlived its command");
    });
}

/// The limit falls between apply and spawn: the child says on which number it failed.
#[test]
fn a_limit_lowered_after_apply_is_told_with_the_number() {
    alone!({
        let mut command = Command::new("/bin/true");
        let applied = plan(file(), 150).apply(&mut command).expect("apply");
        fd_limit::set(100);
        let error = command.spawn().map(drop).expect_err("dup3 above the limit");
        assert_eq!(error.raw_os_error(), Some(libc::EBADF));
        let reason = applied.explain(&error);
        assert_eq!(
            reason,
            Some(ChildFdsError::Duplicate {
                target: 150,
                errno: libc::EBADF
            })
        );
        fd_limit::set(200);
        assert!(
            command.status().expect("spawn").success(),
            "the plan itself is good"
        );
        assert_eq!(applied.explain(&error), None, "a later child was well");
    });
}

/// A filter hides the limit: good plans work, and for others the child says what is wrong.
#[test]
fn a_hidden_limit_does_no_harm() {
    alone!({
        fd_limit::set(100);
        workspace_tests::seccomp::refuse(&[(libc::SYS_prlimit64, libc::EPERM)]);
        for (target, good) in [(99, true), (100, false)] {
            let mut command = Command::new("/bin/true");
            let applied = plan(file_at(20), target).apply(&mut command);
            match applied {
                Ok(_) => assert!(good && command.status().expect("spawn").success()),
                // Reserving the number says the same.
                Err(error) => assert!(!good && error.to_string().contains("100"), "{error}"),
            }
        }
    });
}

/// Somebody closes a descriptor that the plan owns: told, and no success.
#[test]
fn a_source_closed_behind_our_back_is_told_with_the_number() {
    alone!({
        let kept = file_at(50);
        let mut command = Command::new("/bin/true");
        let mut fds = PreserveFds::new();
        fds.preserve_fd(kept).expect("preserve_fd");
        let applied = fds.apply(&mut command).expect("apply");
        // SAFETY: what is done here is wrong on purpose; the process has one thread, and the number
        // is put back before the plan closes it.
        assert_eq!(unsafe { libc::close(50) }, 0);
        let error = command.spawn().map(drop).expect_err("nothing to keep");
        let reason = applied.explain(&error);
        assert_eq!(
            reason,
            Some(ChildFdsError::Keep {
                fd: 50,
                errno: libc::EBADF
            })
        );
        std::mem::forget(file_at(50));
    });
}
