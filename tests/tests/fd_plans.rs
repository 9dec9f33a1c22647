//! What was planned is what the child has: plans in real processes.

use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitStatus};
use std::sync::Arc;

use fd_preserve::{CommandFdExt, Error, ErrorChannel, FdMapping, OtherFds, PreserveFds};
use rustix::io::{FdFlags, fcntl_getfd, fcntl_setfd};
use workspace_tests::fd_table::{FileId, Table, Witness, file, file_at, id, litter, stdio};
use workspace_tests::fork::Fork;
use workspace_tests::{alone, fd_limit, fd_table, random};

/// The table that a child must have: the standard streams, and `planned`.
fn expected(planned: impl IntoIterator<Item = (RawFd, FileId)>) -> Table {
    let mut table = stdio();
    table.extend(planned);
    table
}

/// Builds files on the sources of `pairs`, spawns with that plan, and compares. A source that has
/// several numbers is borrowed, one that has one number is given.
fn check(pairs: &[(RawFd, RawFd)]) {
    let mut files: Vec<Option<OwnedFd>> = Vec::new();
    for &(source, _) in pairs {
        let at = usize::try_from(source).expect("no negative source");
        files.resize_with(files.len().max(at + 1), || None);
        if files[at].is_none() {
            files[at] = Some(file_at(source));
        }
    }
    let at = |source: RawFd| usize::try_from(source).expect("no negative source");
    let planned: Table = pairs
        .iter()
        .map(|&(source, target)| (target, id(files[at(source)].as_ref().expect("made above"))))
        .collect();

    let mut fds = PreserveFds::new();
    for (index, &(source, target)) in pairs.iter().enumerate() {
        let last = !pairs[index + 1..].iter().any(|&(later, _)| later == source);
        if last {
            let fd = files[at(source)].take().expect("taken once");
            fds.map_fd(fd, target).expect("map_fd");
        } else {
            let fd = files[at(source)].as_ref().expect("taken last");
            fds.map_borrowed_fd(fd, target).expect("map_borrowed_fd");
        }
    }
    let mut witness = Witness::new();
    fds.apply(&mut witness.command).expect("apply");
    let expected = expected(planned);
    assert_eq!(witness.run().expect("spawn"), expected, "{pairs:?}");
}

/// None, one, many; swap; chain; cycle; one source to three numbers; identity; source at a target's
/// number. See docs/pitfalls.md#the-same-number and docs/pitfalls.md#crossing-numbers.
#[test]
fn every_shape_of_plan_arrives_and_nothing_else() {
    alone!({
        check(&[]);
        check(&[(20, 3)]);
        check(&(0..40).map(|n| (100 + n, 3 + n)).collect::<Vec<_>>());
        check(&[(20, 21), (21, 20)]);
        check(&[(20, 21), (21, 22), (22, 23)]);
        check(&[(20, 21), (21, 22), (22, 20)]);
        check(&[(20, 21), (20, 22), (20, 23)]);
        check(&[(20, 20), (20, 21), (21, 22)]);
        check(&[(20, 20)]);
        check(&[(20, 21), (21, 5)]);
    });
}

/// Random plan against a model, in real processes. The numbers are crowded, so that swaps, chains
/// and fans are common; a plan that fails is printed, and is all that is needed to repeat it.
#[test]
fn random_plans_arrive_and_nothing_else() {
    alone!({
        let mut random = random();
        let number =
            |random: &mut fastrand::Rng| i32::try_from(20 + random.usize(..16)).expect("small");
        for _ in 0..300 {
            let mut pairs = Vec::new();
            for target in 20..36 {
                if random.usize(..3) == 0 {
                    pairs.push((number(&mut random), target));
                }
            }
            for at in (1..pairs.len()).rev() {
                let other = random.usize(..at + 1);
                pairs.swap(at, other);
            }
            check(&pairs);
        }
    });
}

/// Target 0, 1, 2. They win over what `Command` puts there.
#[test]
fn standard_streams_can_be_targets() {
    alone!({
        let files: Vec<OwnedFd> = (0..3).map(|_| file()).collect();
        let planned: Table = (0..).zip(files.iter().map(id)).collect();
        let mut witness = Witness::new().quiet();
        let mut fds = PreserveFds::new();
        for (target, file) in (0..).zip(files) {
            fds.map_fd(file, target).expect("map_fd");
        }
        fds.apply(&mut witness.command).expect("apply");
        assert_eq!(witness.run().expect("spawn"), planned);

        // A swap of the standard streams themselves.
        let streams = stdio();
        let mut witness = Witness::new();
        let mut fds = PreserveFds::new();
        fds.map_borrowed_fd(std::io::stdout(), 2).expect("1 to 2");
        fds.map_borrowed_fd(std::io::stderr(), 1).expect("2 to 1");
        fds.apply(&mut witness.command).expect("apply");
        let swapped = Table::from([(0, streams[&0]), (1, streams[&2]), (2, streams[&1])]);
        assert_eq!(witness.run().expect("spawn"), swapped);
        assert_eq!(stdio(), streams, "the parent's own");
    });
}

/// Given or borrowed, same number or next: each method does what its name says.
#[test]
fn given_and_borrowed_sources_arrive_on_the_numbers_that_were_said() {
    alone!({
        let (given, borrowed) = (file_at(30), file_at(31));
        let (mapped, next, next_borrowed) = (file(), file(), file());
        let planned = [
            (30, id(&given)),
            (31, id(&borrowed)),
            (3, id(&mapped)),
            (4, id(&next)),
            (5, id(&next_borrowed)),
        ];
        let mut witness = Witness::new();
        let mut fds = PreserveFds::new();
        fds.preserve_fd(given).expect("preserve_fd");
        fds.preserve_borrowed_fd(&borrowed)
            .expect("preserve_borrowed_fd");
        fds.map_fd(mapped, 3).expect("map_fd");
        assert_eq!(fds.next_fd(next).expect("next_fd"), 4);
        assert_eq!(
            fds.next_borrowed_fd(&next_borrowed)
                .expect("next_borrowed_fd"),
            5
        );
        assert!(matches!(
            fds.map_fd(file(), 5).map(drop),
            Err(Error::DuplicateTarget { target: 5 })
        ));
        assert!(matches!(
            fds.map_borrowed_fd(&borrowed, -7).map(drop),
            Err(Error::NegativeTarget { target: -7 })
        ));
        fds.apply(&mut witness.command).expect("apply");
        // Borrowed is duplicated: the original may go before the spawn.
        drop((borrowed, next_borrowed));
        assert_eq!(witness.run().expect("spawn"), expected(planned));

        // The same in the words of command-fds.
        let (one, other) = (file_at(40), file_at(41));
        let planned = [(40, id(&one)), (41, id(&other))];
        let mut witness = Witness::new();
        witness
            .command
            .preserved_fds(vec![one, other])
            .expect("preserved_fds");
        assert_eq!(witness.run().expect("spawn"), expected(planned));
        let source = file();
        let planned = [(9, id(&source))];
        let mut witness = Witness::new();
        let mapping = FdMapping::new(source, 9);
        witness
            .command
            .fd_mappings(vec![mapping])
            .expect("fd_mappings");
        assert_eq!(witness.run().expect("spawn"), expected(planned));
    });
}

/// A source that plans share is the same descriptor in all of them, and stays open for its last
/// holder.
#[test]
fn a_source_that_plans_share_arrives_from_each_and_stays_for_its_last_holder() {
    alone!({
        let source = Arc::new(file_at(30));
        let planned = [3, 9, 30].map(|target| (target, id(&*source)));
        let plan = || {
            let mut fds = PreserveFds::new();
            for target in [9, 30] {
                fds.map_shared_fd(Arc::clone(&source), target)
                    .expect("map_shared_fd");
            }
            let next = fds.next_shared_fd(Arc::clone(&source));
            assert_eq!(next.expect("next_shared_fd"), 3);
            fds
        };
        let lowest = file().as_raw_fd();
        let (one, two) = (plan(), plan());
        assert_eq!(file().as_raw_fd(), lowest, "a plan takes no number");
        let (mut first, mut second) = (Witness::new(), Witness::new());
        one.apply(&mut first.command).expect("apply");
        two.apply(&mut second.command).expect("apply");
        assert_eq!(first.run().expect("spawn"), expected(planned));
        drop(first);
        let held = Arc::downgrade(&source);
        drop(source);
        assert_eq!(second.run().expect("spawn"), expected(planned));
        drop(second);
        assert!(held.upgrade().is_none(), "nobody holds it");
        assert_eq!(fd_table::id_of(30), None, "it was closed");
    });
}

/// The same Command spawned twice.
#[test]
fn a_command_can_be_spawned_again() {
    alone!({
        let (left, right) = (file_at(20), file_at(21));
        let planned = [(21, id(&left)), (20, id(&right))];
        let mut witness = Witness::new();
        let mut fds = PreserveFds::new();
        fds.map_fd(left, 21).expect("20 to 21");
        fds.map_fd(right, 20).expect("21 to 20");
        fds.apply(&mut witness.command).expect("apply");
        for _ in 0..3 {
            assert_eq!(witness.run().expect("spawn"), expected(planned));
        }
    });
}

/// A process that execs in place installs the plan itself; when the exec fails it may try again, on
/// a table that the first try changed. A swap that swapped back would show here.
#[test]
fn a_plan_survives_an_exec_in_place_that_failed() {
    alone!({
        let (left, right) = (file_at(20), file_at(21));
        let planned = Table::from([(21, id(&left)), (20, id(&right))]);
        let mut fds = PreserveFds::new();
        fds.map_fd(left, 21).expect("20 to 21");
        fds.map_fd(right, 20).expect("21 to 20");
        let fds = fds.prepare(ErrorChannel::None).expect("prepare");
        let mut witness = Witness::new();
        Fork::run(|| {
            // SAFETY: this copy has one thread, and ends if no exec goes through.
            let install = || unsafe { fds.install() }.expect("install");
            for _ in 0..2 {
                install();
                let error = Command::new("/nonexistent/program").exec();
                assert_eq!(error.raw_os_error(), Some(libc::ENOENT), "{error}");
            }
            install();
            panic!("{}", witness.command.exec());
        })
        .succeeds();
        assert_eq!(witness.read(ExitStatus::default()), expected(planned));
    });
}

/// The second plan would overwrite what the first one takes from: docs/pitfalls.md#two-plans.
#[test]
fn a_second_plan_on_one_command_is_refused_and_the_first_stands() {
    alone!({
        let first = file();
        let planned = [(7, id(&first))];
        let mut witness = Witness::new();
        let mut fds = PreserveFds::new();
        fds.map_fd(first, 7).expect("map_fd");
        fds.apply(&mut witness.command).expect("apply");
        // The command is moved in between: its identity goes with it.
        let mut moved = Box::new(witness);
        let mut fds = PreserveFds::new();
        fds.map_fd(file(), 8).expect("map_fd");
        assert!(matches!(
            fds.apply(&mut moved.command),
            Err(Error::AlreadyApplied)
        ));
        assert_eq!(
            moved.run().expect("spawn"),
            expected(planned),
            "the first plan stands"
        );
    });
}

/// Commands that live at the same time, or one after the other at one address, are told apart.
#[test]
fn commands_are_never_mistaken_for_one_another() {
    alone!({
        let mut kept = Vec::new();
        for _ in 0..300 {
            let mut command = std::process::Command::new("/bin/true");
            PreserveFds::new()
                .apply(&mut command)
                .expect("a command of its own");
            kept.push(command);
        }
        kept.clear();
        // Threads that drop and make commands: names are freed by one and used again by another.
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..2_000 {
                        let mut command = std::process::Command::new("/bin/true");
                        PreserveFds::new()
                            .apply(&mut command)
                            .expect("a command of its own");
                    }
                });
            }
        });
    });
}

/// The flags of the parent's own descriptors are after a spawn as they were before:
/// docs/pitfalls.md#a-moment-without-close-on-exec.
fn flags() {
    let plain = file_at(30);
    fcntl_setfd(&plain, FdFlags::empty()).expect("F_SETFD");
    let (kept, moved) = (file_at(31), file_at(32));
    let bystander = file_at(33);
    fcntl_setfd(&bystander, FdFlags::empty()).expect("F_SETFD");
    let before = all_flags();
    let mut witness = Witness::new();
    let mut fds = PreserveFds::new();
    fds.preserve_borrowed_fd(&plain).expect("plain");
    fds.preserve_borrowed_fd(&kept).expect("kept");
    fds.map_borrowed_fd(&moved, 40).expect("moved");
    fds.preserve_fd(file_at(34)).expect("given");
    fds.apply(&mut witness.command).expect("apply");
    let with_plan = all_flags();
    witness.run().expect("spawn");
    assert_eq!(all_flags(), with_plan, "a spawn changes nothing");
    for (fd, flags) in &before {
        assert_eq!(with_plan.get(fd), Some(flags), "apply changed {fd}");
    }
    // What apply opened is close-on-exec, all of it.
    for (fd, flags) in &with_plan {
        assert!(
            before.contains_key(fd) || flags.contains(FdFlags::CLOEXEC),
            "{fd} leaks"
        );
    }
}

#[test]
fn a_spawn_leaves_the_flags_of_the_parent_alone() {
    alone!({
        flags();
    });
}

fn all_flags() -> std::collections::BTreeMap<RawFd, FdFlags> {
    let open = workspace_tests::proc_fs::own_fds();
    open.into_keys()
        .filter_map(|fd| {
            // SAFETY: listed as open; no other thread runs, so it stays open.
            let fd = unsafe { std::os::fd::BorrowedFd::borrow_raw(fd) };
            Some((fd.as_raw_fd(), fcntl_getfd(fd).ok()?))
        })
        .collect()
}

/// Together with cwd, process_group, another pre_exec hook: right order. A hook before the plan
/// opens a leak, and it is closed; a hook after it finds the planned number, and what it opens
/// stays.
#[test]
fn the_plan_runs_in_its_turn_among_hooks_and_after_cwd_and_group() {
    alone!({
        let source = file();
        let planned = id(&source);
        let mut witness = Witness::new();
        let opened_early = file();
        let opened_late = file();
        let (early, late) = (opened_early.as_raw_fd(), opened_late.as_raw_fd());
        // SAFETY: dup2(2) alone, of descriptors that stay open until the spawn.
        unsafe {
            witness.command.pre_exec(move || {
                assert_libc(libc::dup2(early, 50) == 50)?;
                assert_libc(
                    libc::fcntl(9, libc::F_GETFD) != -1 || libc::getpgrp() == libc::getpid(),
                )
            });
        }
        let mut fds = PreserveFds::new();
        fds.map_fd(source, 9).expect("map_fd");
        fds.apply(&mut witness.command).expect("apply");
        // SAFETY: as above; fcntl and dup2 only.
        unsafe {
            witness.command.pre_exec(move || {
                assert_libc(libc::fcntl(9, libc::F_GETFD) == 0)?;
                assert_libc(libc::dup2(late, 51) == 51)
            });
        }
        witness.command.current_dir("/").process_group(0);
        let expected = expected([(9, planned), (51, id(&opened_late))]);
        assert_eq!(witness.run().expect("spawn"), expected);
    });
}

fn assert_libc(good: bool) -> std::io::Result<()> {
    if good {
        Ok(())
    } else {
        Err(std::io::Error::from_raw_os_error(libc::EILSEQ))
    }
}

/// Together with uid. The child may no longer open /proc/PID of others, but its own list.
#[test]
fn the_plan_works_after_the_change_of_user() {
    alone!({
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: needs root for another uid");
            return;
        }
        // With the fallback too: it reads /proc/self/fd as the new user.
        for refused in [false, true] {
            if refused {
                workspace_tests::seccomp::refuse(&[(libc::SYS_close_range, libc::EPERM)]);
            }
            let source = file();
            let planned = [(9, id(&source))];
            let _litter = litter(60, 7, 20);
            // `fd_list` may lie where only root can go; the shell cannot, and tells as much.
            let mut command = std::process::Command::new("/bin/sh");
            // All in the shell itself, which opens nothing for it.
            let list = "i=0; while [ $i -lt 250 ]; do [ -e /proc/self/fd/$i ] && echo $i; \
                        i=$((i+1)); done";
            command.args(["-c", &format!("{list}; id -u; stat -Lc '%d %i' /dev/fd/9")]);
            command.uid(65534).gid(65534).current_dir("/");
            let mut fds = PreserveFds::new();
            fds.map_fd(source, 9).expect("map_fd");
            fds.apply(&mut command).expect("apply");
            let output = command.output().expect("spawn");
            let (dev, ino) = planned[0].1;
            assert_eq!(
                String::from_utf8_lossy(&output.stdout),
                format!("0\n1\n2\n9\n65534\n{dev} {ino}\n"),
                "{}",
                String::from_utf8_lossy(&output.stderr)
            );
        }
    });
}

/// `OtherFds::Inherit`: each other descriptor follows its own flag.
#[test]
fn inherit_leaves_other_descriptors_to_their_own_flag() {
    alone!({
        let source = file();
        let leaked = litter(60, 1, 1);
        let _closed = file_at(61);
        let planned = [(9, id(&source)), (60, id(&leaked[0]))];
        let mut witness = Witness::new();
        let mut fds = PreserveFds::new();
        fds.other_fds(OtherFds::Inherit);
        fds.map_fd(source, 9).expect("map_fd");
        fds.apply(&mut witness.command).expect("apply");
        assert_eq!(witness.run().expect("spawn"), expected(planned));
    });
}

/// What apply opens is closed when the command goes, spawned or not, refused or not.
#[test]
fn nothing_is_left_open_when_the_command_goes() {
    alone!({
        let before = workspace_tests::proc_fs::own_fds();
        for round in 0..200 {
            let mut command = std::process::Command::new("/bin/true");
            let (left, right) = (file_at(20), file_at(21));
            let mut fds = PreserveFds::new();
            fds.map_borrowed_fd(&left, 21).expect("map");
            fds.map_borrowed_fd(right.as_fd(), 20).expect("map");
            fds.map_fd(left, 40).expect("map");
            let target = if round % 3 == 0 { i32::MAX } else { 41 };
            fds.map_fd(right, target).expect("map");
            let applied = fds.apply(&mut command);
            assert_eq!(applied.is_err(), round % 3 == 0);
            if round % 10 == 1 {
                assert!(command.status().expect("spawn").success());
            }
        }
        assert_eq!(workspace_tests::proc_fs::own_fds(), before);
    });
}

/// 3 and 63 change places at a limit of 64: docs/pitfalls.md#a-temporary-number.
#[test]
fn a_swap_with_the_highest_number_needs_nothing_above_it() {
    alone!({
        fd_limit::set(64);
        check(&[(10, 63), (63, 10)]);
        check(&[(3, 63), (63, 3)]);
    });
}
