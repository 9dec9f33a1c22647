//! A failed exec is told, whatever numbers the child wants.

use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::{fs, io};

use fd_preserve::{Applied, ChildFdsError, Error, ErrorChannel, PreserveFds};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use workspace_tests::fd_table::{Witness, file, file_at, id, stdio};
use workspace_tests::fork::Fork;
use workspace_tests::{Folder, alone, fd_table};

/// A command that gives `file` on `target`.
fn give(program: impl Into<PathBuf>, file: impl AsFd, target: RawFd) -> (Command, Applied) {
    let mut command = Command::new(program.into());
    let mut fds = PreserveFds::new();
    fds.map_borrowed_fd(file, target).expect("map_borrowed_fd");
    let applied = fds.apply(&mut command).expect("apply");
    (command, applied)
}

fn size(file: impl AsFd) -> u64 {
    u64::try_from(rustix::fs::fstat(file).expect("fstat").st_size).expect("a size")
}

/// A missing program, an unreadable one, a directory, with each target from 3 to 63: the right
/// errno, and no file was written to. See docs/pitfalls.md#stds-error-socket and
/// docs/pitfalls.md#a-target-on-the-error-socket.
#[test]
fn a_program_that_cannot_be_executed_is_told_with_every_target() {
    alone!({
        let folder = Folder::new();
        let unreadable = folder.join("unreadable");
        fs::write(&unreadable, "#!/bin/sh\n").expect("write");
        fs::set_permissions(&unreadable, fs::Permissions::from_mode(0o000)).expect("chmod");
        let programs: [(PathBuf, i32); 3] = [
            ("/nonexistent/program".into(), libc::ENOENT),
            (unreadable.clone(), libc::EACCES),
            ("/".into(), libc::EACCES),
        ];
        for (program, errno) in &programs {
            for target in 3..=64 {
                let file = file();
                let (mut command, applied) = give(program, &file, target);
                for _ in 0..2 {
                    let error = command
                        .spawn()
                        .map(drop)
                        .expect_err("spawned what cannot be");
                    assert_eq!(
                        error.raw_os_error(),
                        Some(*errno),
                        "{program:?} at {target}"
                    );
                    assert_eq!(applied.explain(&error), None);
                }
                assert_eq!(size(&file), 0, "{program:?} at {target}: stray bytes");
            }
        }
    });
}

/// All low numbers are targets at once, so that every place where the socket could lie is one.
#[test]
fn a_missing_program_is_told_when_all_low_numbers_are_targets() {
    alone!({
        let file = file();
        let mut command = Command::new("/nonexistent/program");
        let mut fds = PreserveFds::new();
        for target in 3..=64 {
            fds.map_borrowed_fd(&file, target).expect("map_borrowed_fd");
        }
        fds.apply(&mut command).expect("apply");
        let error = command
            .spawn()
            .map(drop)
            .expect_err("spawned what cannot be");
        assert_eq!(error.raw_os_error(), Some(libc::ENOENT));
        assert_eq!(size(&file), 0);
    });
}

/// Target closed by the user after apply, missing program: ENOENT or TargetCollision, never Ok,
/// never a stray byte.
#[test]
fn a_target_that_the_user_closed_is_a_collision_and_not_a_success() {
    alone!({
        let mut collisions = 0;
        for target in 3..=20 {
            let file = file_at(60);
            // The error socket's two ends take the two lowest free numbers, and the child keeps the
            // second: that is to be the target. So everything below is taken but for one number.
            let below: Vec<OwnedFd> = (3..target - 1).map(file_at).collect();
            let lowest = (target > 3).then(|| file_at(target - 1));
            let occupant = file_at(target);
            let (mut command, applied) = give("/nonexistent/program", &file, target);
            drop((lowest, occupant));
            let error = command
                .spawn()
                .map(drop)
                .expect_err("spawned what cannot be");
            match applied.explain(&error) {
                None => assert_eq!(error.raw_os_error(), Some(libc::ENOENT)),
                Some(reason) => {
                    assert_eq!(reason, ChildFdsError::TargetCollision { target });
                    assert_eq!(error.raw_os_error(), Some(libc::EADDRINUSE));
                    collisions += 1;
                    // Explained is reserved: the next try tells what is wrong with the program.
                    let error = command
                        .spawn()
                        .map(drop)
                        .expect_err("spawned what cannot be");
                    assert_eq!(error.raw_os_error(), Some(libc::ENOENT), "at {target}");
                }
            }
            assert_eq!(size(&file), 0, "stray bytes at {target}");
            drop(below);
        }
        assert!(
            collisions > 0,
            "no collision was provoked: this case tests nothing"
        );
    });
}

/// Two Commands with the same target, one dropped before the other spawns.
#[test]
fn a_number_stays_reserved_while_any_command_wants_it() {
    alone!({
        for target in 3..=20 {
            let (left, right) = (file(), file());
            let (first, _) = give("/nonexistent/program", &left, target);
            let (mut second, applied) = give("/nonexistent/program", &right, target);
            let (third, _) = give("/nonexistent/program", &left, target);
            drop(first);
            drop(third);
            for _ in 0..2 {
                let error = second
                    .spawn()
                    .map(drop)
                    .expect_err("spawned what cannot be");
                assert_eq!(error.raw_os_error(), Some(libc::ENOENT), "at {target}");
                assert_eq!(applied.explain(&error), None);
            }
            assert_eq!(
                (size(&left), size(&right)),
                (0, 0),
                "stray bytes at {target}"
            );
        }
        assert!(
            fd_table::id_of(3).is_none(),
            "the last one dropped its reservation"
        );
    });
}

/// One command's source lies on another's target, and goes with its command: the number stays
/// reserved.
#[test]
fn a_source_that_goes_leaves_its_number_reserved_for_another_command() {
    alone!({
        // As above: the child's end of the error socket takes the second lowest free number.
        let (lowest, target) = (file_at(3), 4);
        let file = file_at(60);
        let mut first = Command::new("/bin/true");
        let mut fds = PreserveFds::new();
        fds.map_fd(file_at(target), 30).expect("map_fd");
        fds.apply(&mut first).expect("apply");
        let (mut second, applied) = give("/nonexistent/program", &file, target);
        drop((first, lowest));
        let error = second
            .spawn()
            .map(drop)
            .expect_err("spawned what cannot be");
        assert_eq!(applied.explain(&error), None, "{error}");
        assert_eq!(error.raw_os_error(), Some(libc::ENOENT));
        assert_eq!(size(&file), 0);
        drop(second);
        assert!(
            fd_table::id_of(target).is_none(),
            "the placeholder outlived its command"
        );
    });
}

/// As above, with a source that two commands share: it is the last of them that leaves the number
/// reserved.
#[test]
fn a_shared_source_that_goes_leaves_its_number_reserved_for_another_command() {
    alone!({
        let (lowest, target) = (file_at(3), 4);
        let file = file_at(60);
        let source = Arc::new(file_at(target));
        let sharing = |number| {
            let mut command = Command::new("/bin/true");
            let mut fds = PreserveFds::new();
            fds.map_shared_fd(Arc::clone(&source), number)
                .expect("map_shared_fd");
            fds.apply(&mut command).expect("apply");
            command
        };
        let (first, second) = (sharing(30), sharing(31));
        drop(source);
        let (mut third, applied) = give("/nonexistent/program", &file, target);
        drop(first);
        assert!(fd_table::id_of(target).is_some(), "the second has it yet");
        drop((second, lowest));
        let error = third.spawn().map(drop).expect_err("spawned what cannot be");
        assert_eq!(applied.explain(&error), None, "{error}");
        assert_eq!(error.raw_os_error(), Some(libc::ENOENT));
        assert_eq!(size(&file), 0);
        drop(third);
        assert!(
            fd_table::id_of(target).is_none(),
            "the placeholder outlived its command"
        );
    });
}

/// A caller may have a socket of that kind on a target, and may give one: it is not the error
/// socket.
#[test]
fn a_socket_of_the_callers_own_is_no_collision() {
    alone!({
        let (kept, other) = socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )
        .expect("socketpair");
        let (kept, other) = (fd_table::move_to(kept, 30), fd_table::move_to(other, 31));
        let file = file();
        let mut expected = stdio();
        expected.extend([(30, id(&kept)), (31, id(&file)), (32, id(&other))]);
        let mut witness = Witness::new();
        let mut fds = PreserveFds::new();
        fds.preserve_fd(kept).expect("the socket itself");
        fds.map_borrowed_fd(&file, 31).expect("over the other one");
        fds.map_borrowed_fd(&other, 32).expect("the other one");
        fds.apply(&mut witness.command).expect("apply");
        assert_eq!(witness.run().expect("spawn"), expected);
    });
}

/// A filter that hides what a socket is makes the child refuse, since it cannot know.
#[test]
fn a_child_that_cannot_tell_sockets_apart_overwrites_nothing() {
    alone!({
        let (mut command, applied) = give("/bin/true", file(), 9);
        workspace_tests::seccomp::refuse(&[(libc::SYS_getsockopt, libc::EPERM)]);
        let error = command.spawn().map(drop).expect_err("cannot know");
        assert_eq!(
            applied.explain(&error),
            Some(ChildFdsError::TargetCollision { target: 9 }),
            "{error}"
        );
    });
}

/// 0, 1 and 2 are closed in the parent in all combinations:
/// docs/pitfalls.md#closed-standard-streams.
#[test]
fn closed_standard_streams_do_not_mix_up_pipes() {
    alone!({
        for closed in 1..8_u8 {
            Fork::run(|| with_closed(closed)).succeeds();
        }
    });
}

fn with_closed(closed: u8) {
    // What a panic says would go to a closed descriptor, or worse: to one that is ours. So errors
    // are collected in a file above.
    let (copy, null) = (file_at(80), fs::File::open("/dev/null").expect("/dev/null"));
    let null_id = rustix::fs::fstat(&null).expect("fstat").st_rdev;
    drop(null);
    for fd in 0..3 {
        if closed & (1 << fd) != 0 {
            // SAFETY: the standard streams belong to the process, and this case is the process.
            assert_eq!(unsafe { libc::close(fd) }, 0);
        }
    }

    // Pipes for all three.
    let mut command = Command::new("/bin/sh");
    command.args([
        "-c",
        "read -r line; echo \"out $line\"; echo err >&2; echo nine >&9",
    ]);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut fds = PreserveFds::new();
    fds.map_borrowed_fd(&copy, 9).expect("map_borrowed_fd");
    fds.apply(&mut command).expect("apply");
    for _ in 0..2 {
        let mut child = command.spawn().expect("spawn");
        child
            .stdin
            .take()
            .expect("a pipe")
            .write_all(b"line\n")
            .expect("write");
        let output = child.wait_with_output().expect("wait");
        assert!(output.status.success());
        assert_eq!(output.stdout, b"out line\n");
        assert_eq!(output.stderr, b"err\n");
    }
    assert_eq!(size(&copy), 10);
    drop(command);

    // No pipe: what is closed here is /dev/null there, and what is open is as it was.
    let before = stdio();
    let mut witness = Witness::new();
    PreserveFds::new()
        .apply(&mut witness.command)
        .expect("apply");
    let table = witness.run().expect("spawn");
    assert_eq!(table.keys().copied().collect::<Vec<_>>(), [0, 1, 2]);
    for (fd, found) in &table {
        match before.get(fd) {
            Some(own) => assert_eq!(found, own),
            None => assert_eq!(rdev(*found), null_id, "{fd} is not /dev/null"),
        }
    }
    drop(witness);
    assert_eq!(stdio(), before, "given back");

    // A missing program, with every stream a pipe.
    let (mut command, applied) = give("/nonexistent/program", &copy, 9);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let error = command
        .spawn()
        .map(drop)
        .expect_err("spawned what cannot be");
    assert_eq!(
        (error.raw_os_error(), applied.explain(&error)),
        (Some(libc::ENOENT), None)
    );
    assert_eq!(size(&copy), 10);
}

/// The device that a descriptor of /dev/null has; 0 for any other file.
fn rdev((dev, ino): fd_table::FileId) -> u64 {
    let null = fs::File::open("/dev/null").expect("/dev/null");
    let stat = rustix::fs::fstat(&null).expect("fstat");
    if (stat.st_dev, stat.st_ino) == (dev, ino) {
        stat.st_rdev
    } else {
        0
    }
}

/// Where there is no /dev/null, a closed standard stream is refused.
#[test]
fn a_closed_standard_stream_without_dev_null_is_refused() {
    alone!({
        // The working directory stays outside of the new root: from there the folder can be
        // removed.
        let empty = Folder::new();
        let [outside, name] = [
            empty.path().parent(),
            empty.path().file_name().map(Path::new),
        ]
        .map(|part| part.expect("a whole path"));
        std::env::set_current_dir(outside).expect("chdir");
        let root = std::ffi::CString::new(name.as_os_str().as_bytes()).expect("no NUL");
        // SAFETY: one thread; this process sees another root from here on.
        let done = unsafe { libc::chroot(root.as_ptr()) };
        fs::remove_dir(name).expect("rmdir");
        if done != 0 {
            eprintln!("skipped: chroot is refused: {}", io::Error::last_os_error());
            return;
        }
        // SAFETY: standard input belongs to the process, and nothing here reads it.
        assert_eq!(unsafe { libc::close(0) }, 0);
        let before = stdio();
        let refused = PreserveFds::new().apply(&mut Command::new("/bin/true"));
        assert!(
            matches!(refused, Err(Error::StdioClosed { fd: 0, .. })),
            "{refused:?}"
        );
        assert_eq!(stdio(), before);
    });
}

/// Another spawner, without any error socket: nothing is reserved, and parked copies still miss
/// every target.
#[test]
fn another_spawner_needs_no_reservation() {
    alone!({
        let (left, right) = (file_at(20), file_at(21));
        let low: Vec<OwnedFd> = (0..10).map(|at| file_at(30 + at)).collect();
        let mut expected = stdio();
        expected.extend([(21, id(&left)), (20, id(&right))]);
        expected.extend((3..).zip(&low).map(|(target, fd)| (target, id(fd))));
        let mut fds = PreserveFds::new();
        fds.map_fd(left, 21).expect("map_fd");
        fds.map_fd(right, 20).expect("map_fd");
        for (target, fd) in (3..).zip(low) {
            fds.map_fd(fd, target).expect("map_fd");
        }
        let before = workspace_tests::proc_fs::own_fds().len();
        let child = fds.prepare(ErrorChannel::None).expect("prepare");
        assert_eq!(
            workspace_tests::proc_fs::own_fds().len(),
            before + 2,
            "the two parked copies"
        );

        let mut witness = Witness::new();
        Fork::run(|| {
            // SAFETY: a forked copy of a process with one thread, about to exec.
            unsafe { child.install() }.expect("install");
            // SAFETY: as above; the plan may run again.
            unsafe { child.install() }.expect("install again");
            panic!("exec: {}", witness.command.exec());
        })
        .succeeds();
        assert_eq!(witness.read(std::process::ExitStatus::default()), expected);
    });
}

/// A forked copy drops and applies plans while another thread of the original had the lock.
#[test]
fn a_forked_copy_waits_for_no_lock_of_the_original() {
    alone!({
        let (mut dropped, _) = give("/bin/true", file(), 9);
        std::thread::scope(|scope| {
            let (stop, stopped) = io::pipe()
                .map(|(reader, writer)| (writer, reader))
                .expect("pipe");
            for _ in 0..3 {
                let mut stopped = stopped.try_clone().expect("clone");
                scope.spawn(move || {
                    rustix::io::ioctl_fionbio(&stopped, true).expect("O_NONBLOCK");
                    let file = file();
                    let goes_on = |e: io::Error| e.kind() == io::ErrorKind::WouldBlock;
                    while stopped.read(&mut [0]).is_err_and(goes_on) {
                        drop(give("/bin/true", &file, 40));
                    }
                });
            }
            for _ in 0..300 {
                // The allocator is made good in the copy by the C library; std's locks are not.
                Fork::run(|| {
                    drop(std::mem::replace(&mut dropped, Command::new("/bin/true")));
                    let (mut again, _) = give("/bin/true", io::stderr(), 9);
                    let error = again.env_clear().spawn().map(|mut child| child.wait());
                    assert!(matches!(error, Ok(Ok(status)) if status.success()));
                })
                .succeeds();
            }
            drop(stop);
        });
        assert!(
            dropped.status().expect("spawn").success(),
            "the original's plan is unharmed"
        );
    });
}
