//! The child that becomes COMMAND: what runs in it between clone(2) and execve(2).
//!
//! The child shares the memory of this process (`CLONE_VM`), so no page is copied. This process
//! waits until the child has executed COMMAND or has ended (`CLONE_VFORK`). `posix_spawn(3)` works
//! in the same way. Everything that the child needs is prepared before the clone. The child
//! allocates nothing, takes no lock and cannot panic.

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
    /// What the pointers point to. Nobody changes the vector. Moving it moves no string: each is on
    /// the heap.
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
    /// The step that failed, and the errno; 0 if nothing has.
    step: AtomicI32,
    errno: AtomicI32,
}

impl Image {
    /// Starts COMMAND. The kernel opens the pidfd before the child runs: if none is free, nothing
    /// has started.
    ///
    /// No signal has a handler: [`sys::take_signals`]. So none runs in the child.
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
        // SAFETY: the stack is the child's alone and has room for what `main` does. CLONE_VFORK
        // suspends this thread, the only one of this process, until the child has another program
        // or has ended. So stack and entry outlive the child's use of them. If this process is
        // killed meanwhile, the memory stays: the child holds it too. `pidfd` has room for a
        // number.
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
        // An emulator may not know CLONE_PIDFD, and leaves the number as it was.
        // SAFETY: clone(2) has just made it, and nobody else has it.
        let pidfd = (pidfd >= 0).then(|| unsafe { OwnedFd::from_raw_fd(pidfd) });
        // Acquire, for the Release in `main`: where there is an error, the step is the one that it
        // is of. CLONE_VFORK orders the two as well: this thread goes on when the child has ended.
        let errno = entry.errno.load(Ordering::Acquire);
        if errno == 0 {
            let Some(pidfd) = pidfd else {
                // The number is the child's until the reap.
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

    /// In the child. Executes the program, or returns the step that failed and the errno.
    fn become_it(&self) -> (Step, c_int) {
        if let Some(cgroup) = &self.cgroup {
            // SAFETY: an open descriptor, and one byte. The kernel takes 0 for the process that
            // writes.
            if unsafe { libc::write(cgroup.as_raw_fd(), c"0".as_ptr().cast(), 1) } < 0 {
                return (Step::Cgroup, errno());
            }
        }
        if self.session == Session::New {
            // SAFETY: takes nothing. It works, since a new child leads no process group.
            if unsafe { libc::setsid() } < 0 {
                return (Step::Session, errno());
            }
            // If standard input is a terminal of no session, it becomes the terminal of COMMAND's.
            // Otherwise the call fails and changes nothing.
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
        // SAFETY: the set is valid. A null pointer is allowed where the old set would go.
        unsafe { libc::sigprocmask(libc::SIG_SETMASK, blocked, ptr::null_mut()) };
        (Step::Exec, self.execute())
    }

    /// In the child. Tries the candidates, as execvp(3) does. Returns the errno if none was
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

/// In the child: all that runs there.
extern "C" fn main(entry: *mut c_void) -> c_int {
    // SAFETY: `spawn` passed a pointer to its entry. The entry lives until the parent goes on,
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
    // The error comes last, by a Release: who loads it by an Acquire loads its step.
    entry.step.store(step as i32, Ordering::Release);
    entry.errno.store(errno, Ordering::Release);
    sys::exit_now(crate::failure::NOT_FOUND)
}

fn errno() -> c_int {
    io::Error::last_os_error()
        .raw_os_error()
        .unwrap_or(libc::EIO)
}
