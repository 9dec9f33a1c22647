//! What happens between fork and exec allocates nothing and needs no memory of its own.

use std::alloc::Layout;
use std::ffi::{CString, c_char, c_int, c_void};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitStatus};
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};

use fd_preserve::{ChildFds, ChildFdsError, ErrorChannel, PreserveFds};
use workspace_tests::fd_table::{Table, Witness, file_at, id, litter, stdio};
use workspace_tests::heap::{Observed, Observer};
use workspace_tests::{alone, proc_fs, seccomp};

/// Set in a forked child, which has a copy of its own: from there on an allocation ends the
/// process.
static ARMED: AtomicBool = AtomicBool::new(false);

fn check() {
    if ARMED.load(Ordering::Relaxed) {
        // SAFETY: ends the process, without running anything.
        unsafe { libc::abort() };
    }
}

struct Trap;

impl Observer for Trap {
    fn allocates(&self, _: Layout) {
        check();
    }

    fn frees(&self, _: Layout) {
        check();
    }
}

#[global_allocator]
static ALLOCATOR: Observed<Trap> = Observed(Trap);

/// From here on the child may not allocate.
fn arm(command: &mut Command) {
    // SAFETY: stores to an atomic, in the child's own copy of the memory.
    unsafe {
        command.pre_exec(|| {
            ARMED.store(true, Ordering::Relaxed);
            Ok(())
        });
    }
}

/// The trap itself: a hook that allocates ends the child.
#[test]
fn the_trap_catches_a_hook_that_allocates() {
    alone!({
        let mut command = Command::new("/bin/true");
        arm(&mut command);
        // SAFETY: wrong on purpose; one thread, so that the allocator's lock is free.
        unsafe {
            command.pre_exec(|| {
                std::hint::black_box(Box::new(1));
                Ok(())
            });
        }
        let status = command.status().expect("spawn");
        assert_eq!(status.signal(), Some(libc::SIGABRT), "{status}");
    });
}

/// A plan with everything in it.
fn full_plan() -> (PreserveFds, Table) {
    let (left, right, kept) = (file_at(20), file_at(21), file_at(22));
    let mut expected = stdio();
    expected.extend([
        (21, id(&left)),
        (20, id(&right)),
        (22, id(&kept)),
        (30, id(&kept)),
    ]);
    let mut fds = PreserveFds::new();
    fds.map_fd(left, 21).expect("map_fd");
    fds.map_fd(right, 20).expect("map_fd");
    fds.map_borrowed_fd(&kept, 30).expect("map_borrowed_fd");
    fds.preserve_fd(kept).expect("preserve_fd");
    (fds, expected)
}

/// No allocation between fork and exec (trap).
fn allocates_nothing(refused: &[(libc::c_long, i32)]) {
    let _litter = litter(100, 3, 50);
    let mut witness = Witness::new();
    arm(&mut witness.command);
    let (fds, expected) = full_plan();
    fds.apply(&mut witness.command).expect("apply");
    seccomp::refuse(refused);
    assert_eq!(witness.run().expect("spawn"), expected);
}

#[test]
fn a_plan_allocates_nothing_with_close_range() {
    alone!({
        allocates_nothing(&[]);
    });
}

#[test]
fn a_plan_allocates_nothing_with_proc() {
    alone!({
        allocates_nothing(&[(libc::SYS_close_range, libc::EPERM)]);
    });
}

/// By the loop, for which /proc/self/fd must not open. Nothing else can be opened then, so that no
/// program can load its libraries: what counts is that the child got as far as its exec.
#[test]
fn a_plan_allocates_nothing_with_the_loop() {
    alone!({
        let mut command = Command::new("/bin/true");
        arm(&mut command);
        let (fds, _) = full_plan();
        fds.apply(&mut command).expect("apply");
        let calls = [libc::SYS_close_range, libc::SYS_openat];
        seccomp::refuse(&calls.map(|call| (call, libc::EPERM)));
        let status = command.status().expect("the exec itself");
        assert_ne!(status.signal(), Some(libc::SIGABRT), "{status}");
    });
}

/// The way back, too: the error is reported without an allocation.
#[test]
fn an_error_of_the_child_allocates_nothing() {
    alone!({
        let mut command = Command::new("/bin/true");
        arm(&mut command);
        let (fds, _) = full_plan();
        let applied = fds.apply(&mut command).expect("apply");
        let calls = [libc::SYS_close_range, libc::SYS_openat, libc::SYS_pselect6];
        seccomp::refuse(&calls.map(|call| (call, libc::EPERM)));
        let error = command.spawn().map(drop).expect_err("no way to close");
        assert_eq!(
            applied.explain(&error),
            Some(ChildFdsError::NoCloseMethod),
            "{error}"
        );
    });
}

/// What a child that shares our memory needs.
struct Start<'a> {
    fds: &'a ChildFds,
    args: [*const c_char; 3],
}

extern "C" fn child(start: *mut c_void) -> c_int {
    // SAFETY: a `Start` that the suspended parent keeps.
    let start = unsafe { &*start.cast::<Start>() };
    // SAFETY: a descriptor table of its own (no CLONE_FILES), the parent is suspended
    // (CLONE_VFORK); the arguments end with a null pointer.
    unsafe {
        if start.fds.install().is_err() || start.fds.install().is_err() {
            libc::_exit(126);
        }
        libc::execve(start.args[0], start.args.as_ptr(), ptr::null());
        libc::_exit(127)
    }
}

/// A spawner that shares its memory with the child, as `vfork` does: the same plan, many times, and
/// the parent is as before.
#[test]
fn a_child_that_shares_the_parents_memory_leaves_it_alone() {
    alone!({
        let _litter = litter(100, 3, 50);
        let (fds, expected) = full_plan();
        let fds = fds.prepare(ErrorChannel::None).expect("prepare");
        let before = proc_fs::own_fds();
        let mut stack = vec![0_u128; 8192];
        for _ in 0..20 {
            let witness = Witness::new();
            let c_string = |s: &std::ffi::OsStr| CString::new(s.as_bytes()).expect("no NUL");
            let program = c_string(witness.command.get_program());
            let report = c_string(witness.command.get_args().next().expect("the report"));
            let mut start = Start {
                fds: &fds,
                args: [program.as_ptr(), report.as_ptr(), ptr::null()],
            };
            // SAFETY: the stack is ours, large, aligned to 16, and grows down from its end;
            // CLONE_VFORK keeps `start` and the stack alive until the child executes or ends.
            let pid = unsafe {
                libc::clone(
                    child,
                    stack.as_mut_ptr_range().end.cast(),
                    libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD,
                    (&raw mut start).cast(),
                )
            };
            assert!(pid > 0, "clone: {}", std::io::Error::last_os_error());
            let mut status = 0;
            // SAFETY: `status` is a valid place, the child is ours.
            assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
            assert_eq!(witness.read(ExitStatus::from_raw(status)), expected);
            assert_eq!(proc_fs::own_fds(), before);
        }
    });
}
