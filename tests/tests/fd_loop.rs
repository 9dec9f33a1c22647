//! The last resort, without close_range and without /proc: a loop, which knows where the table ends
//! or says that it does not. Limits tell nothing: they may have been lowered since.

use std::os::fd::{FromRawFd, OwnedFd, RawFd};

use fd_preserve::{Applied, ChildFdsError, PreserveFds};
use rustix::process::{Resource, Rlimit, setrlimit};
use shim_spawner::{Engine, ShimSpawner, Stage};
use workspace_tests::fd_table::{Table, Witness, file, id, stdio};
use workspace_tests::{alone, namespace, reaped, seccomp};

const FD_LIST: &str = env!("CARGO_BIN_EXE_fd_list");

/// Opens `numbers` inheritably, lowers both limits below them, and takes close_range and /proc
/// away. `None`, and a line that says why, where that cannot be done.
fn without_a_method(numbers: &[RawFd]) -> Option<Vec<OwnedFd>> {
    // SAFETY: nothing in this process, which has one thread, owns a number from 3 up.
    unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, 0) };
    let highest = numbers.iter().max().copied().unwrap_or(0);
    if let Err(error) = limit(u64::try_from(highest).expect("a number") + 1) {
        eprintln!("skipped: no number as high as {highest} is to be had here: {error}");
        return None;
    }
    let source = file();
    let open = |&number: &RawFd| {
        // SAFETY: the number is free, and the duplicate is owned by nobody else.
        unsafe {
            assert_eq!(
                libc::dup2(std::os::fd::AsRawFd::as_raw_fd(&source), number),
                number
            );
            OwnedFd::from_raw_fd(number)
        }
    };
    let open = numbers.iter().map(open).collect();
    if !namespace::unshare_mounts() {
        return None;
    }
    namespace::mount_empty_proc();
    limit(64).expect("a lower limit");
    seccomp::refuse(&[(libc::SYS_close_range, libc::ENOSYS)]);
    Some(open)
}

fn limit(number: u64) -> rustix::io::Result<()> {
    let both = Rlimit {
        current: Some(number),
        maximum: Some(number),
    };
    setrlimit(Resource::Nofile, both)
}

/// A child that is given 9.
fn witness() -> (Witness, Table, Applied) {
    let source = file();
    let mut expected = stdio();
    expected.insert(9, id(&source));
    let mut witness = Witness::of(FD_LIST);
    let mut fds = PreserveFds::new();
    fds.map_fd(source, 9).expect("map_fd");
    let applied = fds.apply(&mut witness.command).expect("apply");
    (witness, expected, applied)
}

fn arrives_alone(numbers: &[RawFd]) {
    if let Some(_open) = without_a_method(numbers) {
        let (mut witness, expected, _) = witness();
        assert_eq!(witness.run().expect("spawn"), expected);
    }
}

#[test]
fn loop_finds_what_was_open_before_both_limits_were_lowered() {
    alone!({ arrives_alone(&[63, 64, 65, 127, 128, 1_000, 10_000]) });
}

#[test]
fn loop_finds_the_highest_number_of_the_largest_table_that_it_works_on() {
    alone!({ arrives_alone(&[65_535]) });
}

#[test]
fn number_in_a_table_too_large_for_the_loop_is_a_typed_error() {
    alone!({
        if let Some(_open) = without_a_method(&[65_536]) {
            let (mut witness, _, applied) = witness();
            let error = witness.run().expect_err("a loop that cannot know");
            assert_eq!(
                applied.explain(&error),
                Some(ChildFdsError::NoCloseMethod),
                "{error}"
            );
        }
    });
}

/// What the kernel's table once held is no matter: a fork's is as large as it needs.
#[test]
fn loop_works_once_the_high_numbers_are_closed() {
    alone!({
        if let Some(open) = without_a_method(&[65_536, 100_000]) {
            drop(open);
            let (mut witness, expected, _) = witness();
            assert_eq!(witness.run().expect("spawn"), expected);
        }
    });
}

#[test]
fn loop_that_is_refused_the_tables_size_is_a_typed_error() {
    alone!({
        if let Some(_open) = without_a_method(&[100]) {
            seccomp::refuse(&[(libc::SYS_pselect6, libc::EPERM)]);
            let (mut witness, _, applied) = witness();
            let error = witness.run().expect_err("a loop that cannot know");
            assert_eq!(
                applied.explain(&error),
                Some(ChildFdsError::NoCloseMethod),
                "{error}"
            );
        }
    });
}

/// On the small stack of a child that shares its parent's memory.
#[test]
fn loop_runs_in_a_shim() {
    alone!({
        if let Some(open) = without_a_method(&[100, 10_000]) {
            let witness = Witness::of(FD_LIST);
            let spawner = || {
                let mut spawner = ShimSpawner::new(FD_LIST);
                spawner.args(witness.command.get_args()).detached(true);
                spawner
            };
            for engine in [Engine::Vfork, Engine::Fork] {
                let shim = spawner().engine(engine).spawn().expect("spawn");
                let exit = reaped(shim.child.process());
                assert_eq!(witness.read(exit.status.expect("own child")), stdio());
            }
            drop(open);
            seccomp::refuse(&[(libc::SYS_pselect6, libc::EPERM)]);
            let error = spawner().spawn().expect_err("a loop that cannot know");
            assert_eq!(error.stage(), Stage::InstallFds, "{error}");
        }
    });
}
