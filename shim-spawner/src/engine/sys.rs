//! Creating a process: the calls that no library wraps.

use std::ffi::{c_int, c_long, c_void};
use std::io;
use std::marker::PhantomData;
use std::os::fd::{FromRawFd, OwnedFd};
use std::ptr;

use pidfd_watcher::{Pid, Process};
use rustix::io::{Errno, retry_on_intr};
use rustix::process::{
    PidfdFlags, Signal, WaitId, WaitIdOptions, kill_process, pidfd_open, waitid,
};

use super::born::ANY_CHILD;
use super::memory::{SharedPage, Stack};
use crate::child::{Handlers, Routine, SIGSET_BYTES, SignalSet, give_up as give_up_in_child};
use crate::report::Report;
use crate::{SpawnError, Stage, stdio};

/// How to ask the kernel for a child that suspends the caller until its exec.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rung {
    /// clone3(2): shared memory, and no handlers in the child from the first (Linux 5.5).
    Clone3,
    /// clone(2): shared memory.
    Clone,
    /// clone(2): a copy of the memory.
    Copy,
}

/// What the child is given.
struct Entry<'a> {
    routine: &'a Routine,
    report: &'a Report,
    handlers: Handlers,
}

/// Where the child begins. It has the calling thread's registers but for the stack, and its thread-local
/// storage: that thread is suspended until this one has executed the program or ended.
extern "C" fn child_main(entry: *mut c_void) -> c_int {
    // SAFETY: `clone` passes its own `Entry`, which lives in a frame of the suspended thread (or in a copy of
    // it); all signals are blocked, the descriptor table is a copy, and there are no hooks.
    unsafe {
        let entry = &*entry.cast::<Entry<'_>>();
        entry.routine.run(entry.report, entry.handlers)
    }
}

/// Creates a child that runs `routine`, and comes back once it runs no code of ours any more.
///
/// Its end raises no signal, until it becomes the program.
pub(super) fn clone(
    rung: Rung,
    stack: &Stack,
    routine: &Routine,
    report: &Report,
    _blocked: &SignalsBlocked,
) -> Result<Created, Errno> {
    let mut entry = Entry {
        routine,
        report,
        handlers: if rung == Rung::Clone3 {
            Handlers::Cleared
        } else {
            Handlers::Inherited
        },
    };
    let entry = (&raw mut entry).cast();
    let mut pidfd = -1;
    let pid = match rung {
        Rung::Clone3 => clone3(stack, entry, &mut pidfd)?,
        Rung::Clone => clone2(libc::CLONE_VM, stack, entry, &mut pidfd)?,
        Rung::Copy => clone2(0, stack, entry, &mut pidfd)?,
    };
    let pid = positive(pid)?;
    // SAFETY: CLONE_PIDFD has just opened it for us, close-on-exec.
    let pidfd = (pidfd >= 0).then(|| unsafe { OwnedFd::from_raw_fd(pidfd) });
    Ok(Created { pidfd, pid })
}

/// A child that was just created, and that nobody but us reaps. It may run the program by now: whatever comes after is
/// about this child, and no reason to create another one.
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
            // SAFETY: both are of the child that was just created and not reaped since; the pidfd or its duplicate.
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
    // SAFETY: `child_main` runs on a stack that nobody else uses, and never returns. CLONE_VFORK suspends this
    // thread until the child is done with `entry` and the stack. No CLONE_FILES and no CLONE_SIGHAND: the
    // child's descriptors and handlers are its own. The kernel writes one int to `pidfd`.
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

/// `struct clone_args` as Linux 5.3 had it (`CLONE_ARGS_SIZE_VER0`), include/uapi/linux/sched.h.
#[cfg(all(target_arch = "x86_64", target_pointer_width = "64"))]
#[repr(C, align(8))]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
}

#[cfg(all(target_arch = "x86_64", target_pointer_width = "64"))]
const _: () = {
    use std::mem::offset_of;
    assert!(size_of::<CloneArgs>() == 64);
    assert!(offset_of!(CloneArgs, pidfd) == 8);
    assert!(offset_of!(CloneArgs, exit_signal) == 32);
    assert!(offset_of!(CloneArgs, stack) == 40);
    assert!(offset_of!(CloneArgs, stack_size) == 48);
};

#[cfg(all(target_arch = "x86_64", target_pointer_width = "64"))]
fn clone3(stack: &Stack, entry: *mut c_void, pidfd: &mut c_int) -> Result<c_int, Errno> {
    const CLONE_CLEAR_SIGHAND: u64 = 1 << 32;
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_PIDFD;
    let args = CloneArgs {
        flags: u64::from(flags.cast_unsigned()) | CLONE_CLEAR_SIGHAND,
        pidfd: ptr::from_mut(pidfd).expose_provenance() as u64,
        // The kernel adds the two and begins at the sum.
        stack: stack.bottom().expose_provenance() as u64,
        stack_size: Stack::SIZE as u64,
        ..CloneArgs::default()
    };
    let result: i64;
    // SAFETY: the kernel reads `args` and writes one int to `pidfd`. In the parent this is a system call like
    // any other: rax, rcx and r11 change, and memory, which the child writes before the call returns. The
    // child has the same registers and the stack of `args`, whose top is aligned to 16; it never leaves the
    // call to `child_main`, so it touches no frame of this thread but through `entry`. As in `clone2`
    // this thread is suspended until then. The red zone below this thread's stack pointer is not written:
    // the parent's half of the assembly pushes nothing.
    unsafe {
        std::arch::asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "xor ebp, ebp", // the outermost frame, for whoever unwinds
            "mov rdi, r8",
            "call r9",
            "ud2",
            "2:",
            inlateout("rax") libc::SYS_clone3 => result,
            in("rdi") &raw const args,
            in("rsi") size_of::<CloneArgs>(),
            in("r8") entry,
            in("r9") child_main as extern "C" fn(*mut c_void) -> c_int,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    match c_int::try_from(result) {
        Ok(pid) if pid > 0 => Ok(pid),
        Ok(errno) => Err(Errno::from_raw_os_error(-errno)),
        Err(_) => Err(Errno::NOSYS),
    }
}

#[cfg(not(all(target_arch = "x86_64", target_pointer_width = "64")))]
fn clone3(_: &Stack, _: *mut c_void, _: &mut c_int) -> Result<c_int, Errno> {
    Err(Errno::NOSYS)
}

/// The C library's fork. The child runs `routine`, owning the page's word while it does.
pub(super) fn fork(
    routine: &Routine,
    page: &SharedPage,
    _blocked: &SignalsBlocked,
) -> Result<Pid, Errno> {
    // SAFETY: the child goes by way of `run` to its exec or its end, and by what is allowed there: the C
    // library has made its own state whole in it.
    match unsafe { libc::fork() } {
        -1 => Err(last_errno()),
        0 => {
            let owned = page.own();
            page.await_hold();
            if let Err(errno) = owned {
                give_up_in_child(page.report(), errno);
            }
            // SAFETY: a forked child, all signals blocked since before the fork.
            unsafe { routine.run(page.report(), Handlers::Inherited) }
        }
        pid => positive(pid),
    }
}

/// The number of a new process, which is signalled if the process cannot be held: 0 and less would reach others.
fn positive(pid: c_int) -> Result<Pid, Errno> {
    Pid::from_raw(pid).filter(|_| pid > 0).ok_or(Errno::NOSYS)
}

/// A handle on a child that [`fork`] has just made; nobody but us reaps it. It is ended where there can be none.
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

/// Every signal blocked in the calling thread, those that the C library keeps for itself included, until
/// it is dropped.
pub(super) struct SignalsBlocked {
    before: SignalSet,
    /// The mask is this thread's.
    _thread: PhantomData<*const ()>,
}

impl SignalsBlocked {
    pub(super) fn all() -> Result<SignalsBlocked, Errno> {
        let all: SignalSet = [u64::MAX; 2];
        let mut before: SignalSet = [0; 2];
        set_mask(&all, Some(&mut before))?;
        Ok(SignalsBlocked {
            before,
            _thread: PhantomData,
        })
    }
}

impl Drop for SignalsBlocked {
    fn drop(&mut self) {
        // The call that blocked them was allowed, and this is the same.
        let _ = set_mask(&self.before, None);
    }
}

/// `rt_sigprocmask(2)` itself: the C library's function leaves its own two signals open, and a handler of
/// theirs would run in the child with the parent's memory.
fn set_mask(new: &SignalSet, old: Option<&mut SignalSet>) -> Result<(), Errno> {
    let old = old.map_or(ptr::null_mut(), ptr::from_mut);
    // SAFETY: the kernel reads and writes SIGSET_BYTES, which a `SignalSet` is not smaller than.
    let done: c_long = unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            ptr::from_ref(new),
            old,
            SIGSET_BYTES,
        )
    };
    if done < 0 { Err(last_errno()) } else { Ok(()) }
}

fn last_errno() -> Errno {
    Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::NOSYS)
}

#[cfg(test)]
mod tests {
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
        let blocked = SignalsBlocked::all().expect("a mask");
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
