//! What runs in the child between fork and exec: no allocation, no lock, no panic of our own.

use std::cell::UnsafeCell;
use std::ffi::CString;
use std::io;
use std::mem::MaybeUninit;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::ptr;
use std::sync::Arc;

use fd_preserve::{ChildFds, ChildFdsError};

use crate::sys::SharedReport;
use crate::{ShimSpawner, Stage};

type Closure = Box<dyn FnMut() -> io::Result<()> + Send + Sync>;

/// A closure of the caller's, to be run in the child.
pub(crate) struct Hook(UnsafeCell<Closure>);

// SAFETY: the closure is reached only by `Hook::run`, in a forked child, which has one thread and memory
// of its own; the parent's copy is never called.
unsafe impl Sync for Hook {}

impl Hook {
    /// Between fork and exec: runs the caller's closure.
    ///
    /// # Safety
    /// In a child made by fork, before its exec.
    unsafe fn run(&self) -> io::Result<()> {
        // SAFETY: a forked child has one thread, so no other reference to the closure is in use.
        unsafe { (*self.0.get())() }
    }
}

impl ShimSpawner {
    /// Runs a closure in the child, after session and directory are set and before the descriptors are
    /// put on their numbers. Closures run in the order in which they were added.
    ///
    /// # Safety
    /// The closure runs between fork and exec: it may only do what is async-signal-safe. A panic in it
    /// ends the child, and is an error of [`Stage::PreExec`].
    ///
    /// # References
    /// [signal-safety(7)](https://man7.org/linux/man-pages/man7/signal-safety.7.html)
    pub unsafe fn pre_exec(
        &mut self,
        closure: impl FnMut() -> io::Result<()> + Send + Sync + 'static,
    ) -> &mut ShimSpawner {
        self.hooks
            .push(Arc::new(Hook(UnsafeCell::new(Box::new(closure)))));
        self
    }
}

/// Which session and group the child belongs to.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Belonging {
    OwnSession,
    /// 0: a group of its own.
    Group(i32),
}

/// All that the child needs to know, made before the fork.
pub(crate) struct Routine {
    pub(crate) report: Arc<SharedReport>,
    pub(crate) belonging: Belonging,
    pub(crate) current_dir: Option<CString>,
    pub(crate) hooks: Vec<Arc<Hook>>,
    pub(crate) fds: ChildFds,
}

impl Routine {
    /// Hangs the routine into a std command, as its only closure.
    pub(crate) fn install(self, command: &mut Command) {
        // SAFETY: `run` keeps to what is async-signal-safe, but for the caller's own closures, which
        // promised the same.
        unsafe { command.pre_exec(move || self.run()) };
    }

    /// Between fork and exec: every step, each announced before it is taken.
    fn run(&self) -> io::Result<()> {
        self.report.enter(Stage::Session);
        unblock_signals()?;
        self.belonging.take()?;
        self.report.enter(Stage::CurrentDir);
        if let Some(dir) = &self.current_dir {
            // SAFETY: a C string that lives through the call.
            check(unsafe { libc::chdir(dir.as_ptr()) })?;
        }
        self.report.enter(Stage::PreExec);
        for hook in &self.hooks {
            // SAFETY: std runs this in the child it forked, before the exec.
            unsafe { hook.run() }?;
        }
        self.report.enter(Stage::InstallFds);
        // SAFETY: as above; the plan's own child half.
        if let Err(error) = unsafe { self.fds.install() } {
            self.report.set_number(number_of(error));
            return Err(io::Error::from_raw_os_error(error.errno()));
        }
        self.report.enter(Stage::Exec);
        Ok(())
    }
}

impl Belonging {
    /// Between fork and exec: two system calls at most.
    fn take(self) -> io::Result<()> {
        check(match self {
            // SAFETY: takes no pointer; a child just forked leads no group, so it may lead a session.
            Belonging::OwnSession => unsafe { libc::setsid() },
            // SAFETY: takes no pointer.
            Belonging::Group(group) => unsafe { libc::setpgid(0, group) },
        })
    }
}

/// Between fork and exec: an empty mask, whatever the spawning thread had blocked.
fn unblock_signals() -> io::Result<()> {
    let mut none = MaybeUninit::uninit();
    // SAFETY: sigemptyset initialises the set; the old mask is not asked for.
    check(unsafe {
        libc::sigemptyset(none.as_mut_ptr());
        libc::sigprocmask(libc::SIG_SETMASK, none.as_ptr(), ptr::null_mut())
    })
}

/// Between fork and exec: the number an error is about, -1 for none.
fn number_of(error: ChildFdsError) -> i32 {
    match error {
        ChildFdsError::TargetCollision { target } | ChildFdsError::Duplicate { target, .. } => {
            target
        }
        ChildFdsError::Keep { fd, .. } => fd,
        _ => -1,
    }
}

/// Between fork and exec: errno, without allocating.
fn check(result: i32) -> io::Result<()> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}
