//! The child that becomes COMMAND: the code that it runs between clone(2) and execve(2).
//!
//! The child shares the memory of this process (`CLONE_VM`), so no page is copied. This process
//! waits until the child has executed COMMAND or has ended (`CLONE_VFORK`). `posix_spawn(3)` works
//! the same way. Everything that the child needs is prepared before the clone. The child allocates
//! nothing, takes no lock and cannot panic.

use std::ffi::{CString, c_char, c_int, c_void};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr;
use std::sync::atomic::{AtomicI32, Ordering};

use pidfd_watcher::Process;

use crate::ledger::Ledger;
use crate::options::Session;
use crate::sys::{self, ChildStack, InheritedSignals, LAST_SIGNAL, SoleThread};

/// A program, its arguments and its environment, and what the child does before it executes them.
#[derive(Debug)]
pub(crate) struct Image {
    pub(crate) candidates: Vec<CString>,
    pub(crate) arguments: Strings,
    pub(crate) variables: Strings,
    pub(crate) session: Session,
    pub(crate) signals: InheritedSignals,
    /// `cgroup.procs` of the cgroup to enter.
    pub(crate) cgroup: Option<OwnedFd>,
}

/// Strings as execve(2) takes them.
#[derive(Debug)]
pub(crate) struct Strings {
    pointers: Vec<*const c_char>,
    /// Owns what the pointers point to. The vector is not changed. Moving it moves no string,
    /// because each string is on the heap.
    _owned: Vec<CString>,
}

impl Strings {
    pub(crate) fn new(strings: Vec<CString>) -> Strings {
        let pointers = strings.iter().map(|string| string.as_ptr());
        Strings {
            pointers: pointers.chain([ptr::null()]).collect(),
            _owned: strings,
        }
    }
}

/// The step that failed in the child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Cgroup,
    Session,
    Exec,
}

/// Why COMMAND was not started.
#[derive(Debug)]
pub(crate) enum NotStarted {
    /// clone(2) was refused.
    Clone(io::Error),
    /// The child has failed at this step, and was reaped.
    Child(Step, io::Error),
}

/// What the child gets. It shares the parent's memory, so the parent reads the last two fields
/// after the child has stored them.
struct Entry<'a> {
    image: &'a Image,
    ledger: Ledger,
    /// The step that failed, and the errno. The errno is 0 if no step failed.
    step: AtomicI32,
    errno: AtomicI32,
}

impl Image {
    /// Starts COMMAND. The kernel opens the pidfd before the child runs: if no descriptor is free,
    /// nothing has started.
    ///
    /// No signal has a handler ([`sys::take_signals`]), so none runs in the child.
    pub(crate) fn spawn(&self, _: &SoleThread, ledger: Ledger) -> Result<Process, NotStarted> {
        let entry = Entry {
            image: self,
            ledger,
            step: AtomicI32::new(0),
            errno: AtomicI32::new(0),
        };
        let stack = ChildStack::map().map_err(NotStarted::Clone)?;
        let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_PIDFD | libc::SIGCHLD;
        let mut pidfd: c_int = -1;
        // SAFETY: only the child uses the stack, and it has room for what `main` does. CLONE_VFORK
        // suspends this thread, the only one of this process, until the child has executed another
        // program or has ended. So the stack and the entry outlive the child's use of them. If this
        // process is killed meanwhile, the memory stays, because the child has it too. `pidfd` has
        // room for a number.
        let number = unsafe {
            libc::clone(
                main,
                stack.top(),
                flags,
                (&raw const entry).cast_mut().cast(),
                &raw mut pidfd,
            )
        };
        let Some(pid) = sys::pid(number) else {
            return Err(NotStarted::Clone(io::Error::last_os_error()));
        };
        // An emulator may not know CLONE_PIDFD, and then leaves the number as it was.
        // SAFETY: clone(2) has just made it, and nobody else has it.
        let pidfd = (pidfd >= 0).then(|| unsafe { OwnedFd::from_raw_fd(pidfd) });
        // Acquire: pairs with the Release in `main`. If there is an error, `step` is the step that
        // it belongs to. CLONE_VFORK orders the two as well: this thread continues only when the
        // child has ended.
        let errno = entry.errno.load(Ordering::Acquire);
        if errno == 0 {
            let Some(pidfd) = pidfd else {
                // The child keeps its number until it is reaped.
                return Process::open(pid).map_err(|error| {
                    let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
                    ledger.set_command(0);
                    let _ = sys::reap(pid);
                    NotStarted::Clone(error.into())
                });
            };
            // SAFETY: both numbers are from one call of clone(2).
            return Ok(unsafe { Process::from_clone(pidfd, pid) });
        }
        let all = [Step::Cgroup, Step::Session, Step::Exec];
        let known = |step: &Step| *step as i32 == entry.step.load(Ordering::Acquire);
        let step = all.into_iter().find(known).unwrap_or(Step::Exec);
        let _ = sys::reap(pid);
        Err(NotStarted::Child(step, io::Error::from_raw_os_error(errno)))
    }

    /// In the child. Executes the program. Returns only if a step failed: the step and the errno.
    fn become_it(&self) -> (Step, c_int) {
        if let Some(cgroup) = &self.cgroup {
            // SAFETY: an open descriptor, and one byte. The kernel takes 0 to mean the process that
            // writes.
            if unsafe { libc::write(cgroup.as_raw_fd(), c"0".as_ptr().cast(), 1) } < 0 {
                return (Step::Cgroup, errno());
            }
        }
        if self.session == Session::New {
            // SAFETY: takes nothing. It works, because a new child leads no process group.
            if unsafe { libc::setsid() } < 0 {
                return (Step::Session, errno());
            }
            // If standard input is a terminal that no session has, it becomes the terminal of
            // COMMAND's session. Otherwise the call fails and changes nothing.
            // SAFETY: takes a plain number.
            unsafe { libc::ioctl(0, libc::TIOCSCTTY, 0) };
        }
        let ignored = self.signals.ignored;
        for signal in (1..=LAST_SIGNAL).filter(|signal| ignored >> (signal - 1) & 1 == 1) {
            // SAFETY: SIG_IGN installs no function. Without CLONE_SIGHAND the child has its own
            // actions.
            unsafe { libc::signal(signal, libc::SIG_IGN) };
        }
        let blocked = &raw const self.signals.blocked;
        // SAFETY: the set is valid. A null pointer is allowed for the old set.
        unsafe { libc::sigprocmask(libc::SIG_SETMASK, blocked, ptr::null_mut()) };
        (Step::Exec, self.execute())
    }

    /// In the child. Tries the candidates, as execvp(3) does. Returns the errno if none could be
    /// executed.
    fn execute(&self) -> c_int {
        let arguments = self.arguments.pointers.as_ptr();
        let variables = self.variables.pointers.as_ptr();
        let mut reason = libc::ENOENT;
        let mut denied = false;
        for candidate in &self.candidates {
            // SAFETY: C strings, and arrays of them that end with a null pointer. All outlive the
            // call.
            unsafe { libc::execve(candidate.as_ptr(), arguments, variables) };
            reason = errno();
            match reason {
                // A later candidate may work. If none does, this errno is the reason.
                libc::EACCES => denied = true,
                libc::ENOENT | libc::ENOTDIR | libc::ESTALE | libc::ENODEV | libc::ETIMEDOUT => {}
                _ => return reason,
            }
        }
        if denied { libc::EACCES } else { reason }
    }
}

/// In the child: everything that runs there.
extern "C" fn main(entry: *mut c_void) -> c_int {
    // SAFETY: `spawn` passed a pointer to its entry. The entry lives until the parent continues,
    // which is after the exec or the end of this process.
    let entry = unsafe { &*entry.cast::<Entry<'_>>() };
    // Written before the exec: if the parent is killed, the process that takes over finds COMMAND
    // by this number.
    if let Ok(own) = sys::own_pid() {
        entry.ledger.set_command(own.as_raw_nonzero().get());
    }
    let (step, errno) = entry.image.become_it();
    // Once this child is reaped, another process may get the number.
    entry.ledger.set_command(0);
    // The errno is stored last, with Release. A thread that loads it with Acquire also loads its
    // step.
    entry.step.store(step as i32, Ordering::Release);
    entry.errno.store(errno, Ordering::Release);
    sys::exit_now(crate::failure::NOT_FOUND)
}

fn errno() -> c_int {
    io::Error::last_os_error()
        .raw_os_error()
        .unwrap_or(libc::EIO)
}
