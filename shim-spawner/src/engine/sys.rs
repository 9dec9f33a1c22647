//! Creates a process, with calls that no library wraps.

mod clone3;
mod shared_page;
mod signals;
mod stack;

use std::ffi::{c_int, c_void};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr;

use pidfd_watcher::{Pid, Process};
use rustix::io::{Errno, retry_on_intr};
use rustix::process::{
    PidfdFlags, Signal, WaitId, WaitIdOptions, kill_process, pidfd_open, waitid,
};

use super::outcome::ANY_CHILD;
use crate::child::{Born, Handlers, Routine, give_up as give_up_in_child};
use crate::report::Report;
use crate::sys::last_errno;
use crate::{SpawnError, Stage, stdio};

use clone3::{Kill, Wish};
pub(super) use shared_page::SharedPage;
pub(super) use signals::RawBlockedSignals;
pub(super) use stack::Stack;

/// How to ask the kernel for a child that suspends the caller until the child's exec.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CloneMethod {
    /// clone3(2): shared memory, and no handlers in the child from the start (Linux 5.5).
    Clone3,
    /// clone(2): shared memory.
    Clone,
    /// clone(2): a copy of the memory.
    Copy,
}

/// What the child gets.
struct Entry<'a> {
    routine: &'a Routine<'a>,
    report: &'a Report,
    born: Born,
}

/// Where the child begins. It has the calling thread's registers, except the stack pointer, and
/// that thread's thread-local storage. The thread is suspended until the child has executed the
/// program or ended.
extern "C" fn child_main(entry: *mut c_void) -> c_int {
    // SAFETY: `clone` passes its own `Entry`, which is in a frame of the suspended thread (or in a
    // copy of it). All signals are blocked, the descriptor table is a copy, and there are no
    // closures.
    unsafe {
        let entry = &*entry.cast::<Entry<'_>>();
        entry.routine.run(entry.report, &entry.born)
    }
}

/// Creates a child that runs `routine`. Returns when the child runs no code of ours any more.
///
/// The child's end raises no signal until it has executed the program.
pub(super) fn clone(
    method: CloneMethod,
    stack: &Stack,
    routine: &Routine<'_>,
    report: &Report,
    blocked: &RawBlockedSignals,
) -> Result<Created, Errno> {
    let cgroup = routine.cgroup.map(AsRawFd::as_raw_fd);
    let cgroup = cgroup.filter(|_| method == CloneMethod::Clone3);
    let create = |wish| create(method, wish, stack, routine, report, blocked);
    let create_in_cgroup = |kill| {
        if cgroup.is_some() {
            let created = create(Wish { kill, cgroup });
            // Try without the cgroup: the child moves to it itself. If that is refused too, the
            // child reports it with a stage of its own.
            if !created.as_ref().is_err_and(|errno| !is_final(*errno)) {
                return created;
            }
        }
        create(Wish { kill, cgroup: None })
    };
    if !routine.kill_on_close {
        return create_in_cgroup(Kill::No);
    }
    match create_in_cgroup(Kill::OnClose) {
        // Without CAP_SYS_ADMIN.
        Err(Errno::PERM) => create_in_cgroup(Kill::OnCloseUnprivileged),
        created => created,
    }
}

/// Whether the kernel understood the call and has no room. Then no other method would help.
pub(super) fn is_final(errno: Errno) -> bool {
    matches!(
        errno,
        Errno::AGAIN | Errno::NOMEM | Errno::MFILE | Errno::NFILE | Errno::NOSPC
    )
}

fn create(
    method: CloneMethod,
    wish: Wish,
    stack: &Stack,
    routine: &Routine<'_>,
    report: &Report,
    blocked: &RawBlockedSignals,
) -> Result<Created, Errno> {
    let mut entry = Entry {
        routine,
        report,
        born: Born {
            handlers: if method == CloneMethod::Clone3 {
                Handlers::Cleared
            } else {
                Handlers::Inherited
            },
            in_cgroup: wish.cgroup.is_some(),
            mask: blocked.before(),
        },
    };
    let entry = (&raw mut entry).cast();
    let mut pidfd = -1;
    let pid = match method {
        CloneMethod::Clone3 => {
            // SAFETY: `child_main` takes an `Entry`, and never returns. The stack is this thread's.
            // The thread is suspended until the child no longer uses the stack and `entry`.
            unsafe { clone3::clone3(stack, child_main, entry, &mut pidfd, wish) }?
        }
        CloneMethod::Clone => clone2(libc::CLONE_VM, stack, entry, &mut pidfd)?,
        CloneMethod::Copy => clone2(0, stack, entry, &mut pidfd)?,
    };
    let pid = positive(pid)?;
    // SAFETY: CLONE_PIDFD has just opened it for us.
    let pidfd = (pidfd >= 0).then(|| unsafe { OwnedFd::from_raw_fd(pidfd) });
    Ok(Created { pidfd, pid })
}

/// A new child that only we reap. It may run the program by now. So a later error is about this
/// child, and no reason to create another one.
pub(super) struct Created {
    /// `None` on a system that calls itself Linux and does not know `CLONE_PIDFD`.
    pidfd: Option<OwnedFd>,
    pid: Pid,
}

impl Created {
    /// Makes a handle of the child. If that is not possible, ends the child.
    pub(super) fn hold(self) -> Result<Process, SpawnError> {
        let above_stdio = |pidfd| {
            let moved = stdio::above_stdio(pidfd);
            moved.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::MFILE))
        };
        match self.pidfd.ok_or(Errno::NOSYS).and_then(above_stdio) {
            // SAFETY: the pidfd, or the descriptor that it was moved to, and the pid are of the new
            // child, which was not reaped since.
            Ok(pidfd) => Ok(unsafe { Process::from_clone(pidfd, self.pid) }),
            Err(errno) => Err(give_up(self.pid, errno)),
        }
    }
}

fn give_up(pid: Pid, errno: Errno) -> SpawnError {
    kill_and_reap(pid);
    SpawnError::io(Stage::Pidfd, errno)
}

/// Uses the C library's clone, which begins on a new stack on every architecture.
fn clone2(
    memory: c_int,
    stack: &Stack,
    entry: *mut c_void,
    pidfd: &mut c_int,
) -> Result<c_int, Errno> {
    let none = ptr::null_mut::<c_void>();
    // SAFETY: `child_main` runs on a stack that nothing else uses, and never returns. CLONE_VFORK
    // suspends this thread until the child no longer uses `entry` and the stack. Without
    // CLONE_FILES and CLONE_SIGHAND, the child's descriptors and handlers are its own. The kernel
    // writes one int to `pidfd`.
    let pid = unsafe {
        libc::clone(
            child_main,
            stack.top().cast(),
            memory | libc::CLONE_VFORK | libc::CLONE_PIDFD,
            entry,
            ptr::from_mut(pidfd),
            none,
            none,
        )
    };
    if pid < 0 { Err(last_errno()) } else { Ok(pid) }
}

/// The C library's fork. The child runs `routine`, and owns the page's word meanwhile.
pub(super) fn fork(
    routine: &Routine<'_>,
    page: &SharedPage,
    blocked: &RawBlockedSignals,
) -> Result<Pid, Errno> {
    // SAFETY: the child only runs `run` until its exec or its end, and `run` does only what is
    // allowed there. In the child, the C library has repaired its own state.
    match unsafe { libc::fork() } {
        -1 => Err(last_errno()),
        0 => {
            let owned = page.own();
            page.await_hold();
            if let Err(errno) = owned {
                give_up_in_child(page.report(), errno);
            }
            let born = Born {
                handlers: Handlers::Inherited,
                in_cgroup: false,
                mask: blocked.before(),
            };
            // SAFETY: a forked child. All signals have been blocked since before the fork.
            unsafe { routine.run(page.report(), &born) }
        }
        pid => positive(pid),
    }
}

/// The pid of a new process. It must be positive because we signal it if we cannot hold the
/// process, and a signal to 0 or less would reach other processes.
fn positive(pid: c_int) -> Result<Pid, Errno> {
    Pid::from_raw(pid).filter(|_| pid > 0).ok_or(Errno::NOSYS)
}

/// Makes a handle of a child that [`fork`] has just made and that only we reap. If that is not
/// possible, ends the child.
pub(super) fn open(pid: Pid) -> Result<Process, SpawnError> {
    match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(pidfd) => Created {
            pidfd: Some(pidfd),
            pid,
        }
        .hold(),
        Err(errno) => Err(give_up(pid, errno)),
    }
}

/// Ends a child that we have just created and cannot hold.
fn kill_and_reap(pid: Pid) {
    // If SIGCHLD is ignored, the kernel may have reaped the child, and another process may have its
    // pid.
    let look = ANY_CHILD | WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    // Only a successful answer proves that the pid still belongs to our child.
    if retry_on_intr(|| waitid(WaitId::Pid(pid), look)).is_err() {
        return;
    }
    let _ = kill_process(pid, Signal::KILL);
    let _ = retry_on_intr(|| waitid(WaitId::Pid(pid), ANY_CHILD | WaitIdOptions::EXITED));
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    /// Writes below its stack, byte for byte down to the lowest byte of the mapping.
    extern "C" fn overrun(bottom: *mut c_void) -> c_int {
        for below in 1..=64 * 1024 {
            // SAFETY: no byte of it is used by anything else. The first write is expected to end
            // this child.
            unsafe { bottom.cast::<u8>().wrapping_sub(below).write_volatile(1) };
        }
        // SAFETY: takes no pointer and does not return.
        unsafe { libc::_exit(0) }
    }

    #[test]
    fn child_that_overruns_its_stack_dies_and_writes_nothing_below_it() {
        let stack = Stack::kept().expect("a stack");
        // If the signal is blocked, the kernel ends the child and runs no handler of this process.
        let blocked = RawBlockedSignals::all().expect("a mask");
        // SAFETY: as in `clone2`. `overrun` uses only its own frame of the stack.
        let pid = unsafe {
            libc::clone(
                overrun,
                stack.top(),
                libc::CLONE_VM | libc::CLONE_VFORK,
                stack.bottom(),
            )
        };
        drop(blocked);
        assert!(pid > 0, "{}", io::Error::last_os_error());
        let mut status = 0;
        // SAFETY: `status` has room for the status.
        let reaped = unsafe { libc::waitpid(pid, &raw mut status, libc::__WALL) };
        assert_eq!(reaped, pid);
        assert!(libc::WIFSIGNALED(status), "status {status:#x}");
        assert_eq!(libc::WTERMSIG(status), libc::SIGSEGV);
        stack.keep();
    }

    #[test]
    fn thread_keeps_its_stack() {
        let stack = Stack::kept().expect("a stack");
        let mark = stack.bottom().cast::<u8>();
        // SAFETY: the lowest byte of a stack that nothing runs on.
        unsafe { mark.write_volatile(7) };
        stack.keep();
        let again = Stack::kept().expect("a stack");
        // The address alone proves nothing: the kernel may give it to the next mapping.
        assert_eq!(again.bottom().cast(), mark);
        // SAFETY: as above.
        assert_eq!(unsafe { mark.read_volatile() }, 7);
    }
}
