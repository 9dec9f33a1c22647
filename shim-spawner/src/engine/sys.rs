//! Creating a process: the calls that no library wraps.

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

/// How to ask the kernel for a child that suspends the caller until its exec.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CloneMethod {
    /// clone3(2): shared memory, and no handlers in the child from the first (Linux 5.5).
    Clone3,
    /// clone(2): shared memory.
    Clone,
    /// clone(2): a copy of the memory.
    Copy,
}

/// What the child is given.
struct Entry<'a> {
    routine: &'a Routine<'a>,
    report: &'a Report,
    born: Born,
}

/// Where the child begins. It has the calling thread's registers but for the stack, and its
/// thread-local storage: that thread is suspended until this one has executed the program or ended.
extern "C" fn child_main(entry: *mut c_void) -> c_int {
    // SAFETY: `clone` passes its own `Entry`, which lives in a frame of the suspended thread (or in
    // a copy of it); all signals are blocked, the descriptor table is a copy, and there are no
    // closures.
    unsafe {
        let entry = &*entry.cast::<Entry<'_>>();
        entry.routine.run(entry.report, &entry.born)
    }
}

/// Creates a child that runs `routine`, and comes back once it runs no code of ours any more.
///
/// Its end raises no signal, until it becomes the program.
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
            // Whatever refuses the cgroup, the child meets it too, and has a stage to say it in.
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

/// What the kernel says when it understood and has no room: another way to ask changes nothing.
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
            // SAFETY: `child_main` takes an `Entry`, and never returns. The stack is this thread's,
            // which is suspended until the child is done with it, and with `entry`.
            unsafe { clone3::clone3(stack, child_main, entry, &mut pidfd, wish) }?
        }
        CloneMethod::Clone => clone2(libc::CLONE_VM, stack, entry, &mut pidfd)?,
        CloneMethod::Copy => clone2(0, stack, entry, &mut pidfd)?,
    };
    let pid = positive(pid)?;
    // SAFETY: CLONE_PIDFD has just opened it for us, close-on-exec.
    let pidfd = (pidfd >= 0).then(|| unsafe { OwnedFd::from_raw_fd(pidfd) });
    Ok(Created { pidfd, pid })
}

/// A child that was just created, and that nobody but us reaps. It may run the program by now:
/// whatever comes after is about this child, and no reason to create another one.
pub(super) struct Created {
    /// `None`: by something that calls itself Linux and does not know `CLONE_PIDFD`.
    pidfd: Option<OwnedFd>,
    pid: Pid,
}

impl Created {
    /// A handle on it; it is ended where there can be none.
    pub(super) fn hold(self) -> Result<Process, SpawnError> {
        let above_stdio = |pidfd| {
            let moved = stdio::above_stdio(pidfd);
            moved.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::MFILE))
        };
        match self.pidfd.ok_or(Errno::NOSYS).and_then(above_stdio) {
            // SAFETY: both are of the child that was just created and not reaped since; the pidfd
            // or its duplicate.
            Ok(pidfd) => Ok(unsafe { Process::from_clone(pidfd, self.pid) }),
            Err(errno) => Err(give_up(self.pid, errno)),
        }
    }
}

fn give_up(pid: Pid, errno: Errno) -> SpawnError {
    kill_and_reap(pid);
    SpawnError::io(Stage::Pidfd, errno)
}

/// By the C library's clone, which begins on a new stack on every architecture.
fn clone2(
    memory: c_int,
    stack: &Stack,
    entry: *mut c_void,
    pidfd: &mut c_int,
) -> Result<c_int, Errno> {
    let none = ptr::null_mut::<c_void>();
    // SAFETY: `child_main` runs on a stack that nobody else uses, and never returns. CLONE_VFORK
    // suspends this thread until the child is done with `entry` and the stack. No CLONE_FILES and
    // no CLONE_SIGHAND: the child's descriptors and handlers are its own. The kernel writes one int
    // to `pidfd`.
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

/// The C library's fork. The child runs `routine`, owning the page's word while it does.
pub(super) fn fork(
    routine: &Routine<'_>,
    page: &SharedPage,
    blocked: &RawBlockedSignals,
) -> Result<Pid, Errno> {
    // SAFETY: the child goes by way of `run` to its exec or its end, and by what is allowed there:
    // the C library has made its own state whole in it.
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
            // SAFETY: a forked child, all signals blocked since before the fork.
            unsafe { routine.run(page.report(), &born) }
        }
        pid => positive(pid),
    }
}

/// The number of a new process, which is signalled if the process cannot be held: 0 and less would
/// reach others.
fn positive(pid: c_int) -> Result<Pid, Errno> {
    Pid::from_raw(pid).filter(|_| pid > 0).ok_or(Errno::NOSYS)
}

/// A handle on a child that [`fork`] has just made; nobody but us reaps it. It is ended where there
/// can be none.
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
    // With SIGCHLD ignored the kernel may have reaped it, and the number be another's.
    let look = ANY_CHILD | WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    // No other answer proves that the number is still our child's.
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

    /// Writes below the stack it runs on, byte for byte down to the lowest of the mapping.
    extern "C" fn overrun(bottom: *mut c_void) -> c_int {
        for below in 1..=64 * 1024 {
            // SAFETY: none of it is anybody else's memory. The first write is to end this child.
            unsafe { bottom.cast::<u8>().wrapping_sub(below).write_volatile(1) };
        }
        // SAFETY: takes no pointer and does not come back.
        unsafe { libc::_exit(0) }
    }

    #[test]
    fn child_that_overruns_its_stack_dies_and_writes_nothing_below_it() {
        let stack = Stack::kept().expect("a stack");
        // With them blocked the kernel ends the child, without a handler of this process.
        let blocked = RawBlockedSignals::all().expect("a mask");
        // SAFETY: as in `clone2`; `overrun` makes no use of its stack but for its own frame.
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
        // SAFETY: a place for the status.
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
        // Not the address alone, which the kernel may give to the next mapping.
        assert_eq!(again.bottom().cast(), mark);
        // SAFETY: as above.
        assert_eq!(unsafe { mark.read_volatile() }, 7);
    }
}
