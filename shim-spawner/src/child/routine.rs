//! All that the child does, in its order.

use std::convert::Infallible;
use std::ffi::{CString, c_int};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use fd_preserve::ChildFds;

use super::belonging::Belonging;
use super::calls::{Errno, check, exit, raw};
use super::cgroup;
use super::closure::PreExecClosure;
use super::exec::exec;
use super::signals::{Handlers, SignalSet, reset_handlers, set_mask};
use super::streams::put_stream;
use crate::credentials::Credentials;
use crate::identity::Record;
use crate::image::Image;
use crate::limits::Limits;
use crate::report::Report;
use crate::terminal::Terminal;
use crate::{Stage, sys};

/// All that the child needs to know, made before it exists.
pub(crate) struct Routine<'a> {
    pub(crate) cgroup: Option<&'a OwnedFd>,
    /// The signals that the child ignores; it ignores no other. `None`: those that the parent
    /// ignores, except SIGPIPE.
    pub(crate) ignored: Option<SignalSet>,
    /// Whether the child keeps the signal mask of the spawning thread.
    pub(crate) keeps_mask: bool,
    /// Whether the kernel kills and reaps the child when the pidfd is closed. The engine that
    /// creates the child asks for that.
    pub(crate) kill_on_close: bool,
    pub(crate) belonging: Belonging,
    pub(crate) terminal: &'a Terminal,
    pub(crate) record: Option<Record>,
    /// The child's standard streams, each on a number above 2. `None`: inherited.
    pub(crate) streams: [Option<OwnedFd>; 3],
    pub(crate) limits: &'a Limits,
    pub(crate) root: Option<CString>,
    pub(crate) credentials: &'a Credentials,
    pub(crate) current_dir: Option<CString>,
    pub(crate) closures: &'a [Arc<PreExecClosure>],
    pub(crate) fds: ChildFds,
    pub(crate) image: Image,
}

/// How the child was created.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Born {
    pub(crate) handlers: Handlers,
    /// Whether the kernel has created the child in the cgroup that the caller asked for.
    pub(crate) in_cgroup: bool,
    /// The signals that the spawning thread had blocked.
    pub(crate) mask: SignalSet,
}

impl Routine<'_> {
    pub(crate) fn has_closures(&self) -> bool {
        !self.closures.is_empty()
    }

    /// Runs in the child from its first instruction on. Executes the program, or writes the reason
    /// to `report` and ends the child. The report names every step before the child takes it.
    ///
    /// # Safety
    /// Call it in a new child that has all signals blocked and its own descriptor table. If the
    /// child shares the parent's memory, there are no closures, and the calling thread of the
    /// parent is suspended.
    pub(crate) unsafe fn run(&self, report: &Report, born: &Born) -> ! {
        // SAFETY: the caller's promise.
        let Err(Errno(errno)) = unsafe { self.attempt(report, born) };
        give_up(report, rustix::io::Errno::from_raw_os_error(errno))
    }

    /// # Safety
    /// As [`run`](Routine::run).
    unsafe fn attempt(&self, report: &Report, born: &Born) -> Result<Infallible, Errno> {
        report.enter(Stage::Cgroup);
        if let Some(cgroup) = self.cgroup.filter(|_| !born.in_cgroup) {
            cgroup::enter(cgroup).map_err(raw)?;
        }
        report.enter(Stage::Signals);
        // All signals are blocked, and from here on none runs a handler of the parent.
        reset_handlers(born.handlers, self.ignored.as_ref())?;
        report.enter(Stage::Session);
        self.belonging.take()?;
        if self.terminal.is_asked_for() {
            report.enter(Stage::Terminal);
            self.terminal.take()?;
        }
        if let Some(record) = &self.record {
            // With the credentials and the descriptors that the parent had when it opened the
            // folder.
            report.enter(Stage::Identity);
            let identity = record.identify().map_err(raw)?;
            report.enter(Stage::IdentityFile);
            record.write(&identity).map_err(raw)?;
        }
        // Before chroot, because /dev/null is below the parent's root.
        report.enter(Stage::Stdio);
        for (number, stream) in (0..).zip(&self.streams) {
            put_stream(stream.as_ref(), number)?;
        }
        // Before the credentials change: to raise a limit may take privileges that the new user
        // does not have.
        self.limits.take(report)?;
        if let Some(root) = &self.root {
            report.enter(Stage::Chroot);
            // SAFETY: a C string that lives through the call.
            check(unsafe { libc::syscall(libc::SYS_chroot, root.as_ptr()) })?;
        }
        self.credentials.take(report)?;
        report.enter(Stage::CurrentDir);
        if let Some(dir) = &self.current_dir {
            // SAFETY: a C string that lives through the call.
            check(unsafe { libc::syscall(libc::SYS_chdir, dir.as_ptr()) })?;
        }
        report.enter(Stage::PreExec);
        set_mask(if self.keeps_mask { &born.mask } else { &[0; 2] })?;
        for closure in self.closures {
            // SAFETY: closures run only in a forked child, which has not executed a program yet.
            unsafe { closure.run() }?;
        }
        report.enter(Stage::InstallFds);
        if let Some(variable) = self.image.pid_variable() {
            variable.set(sys::own_pid().map_err(raw)?);
        }
        // SAFETY: the child has its own descriptor table. If it shares memory, the parent is
        // suspended.
        if let Err(error) = unsafe { self.fds.install() } {
            report.set_number(error.fd().unwrap_or(-1));
            return Err(Errno(error.errno()));
        }
        self.limits.lower_open_files(report)?;
        report.enter(Stage::Exec);
        Err(exec(&self.image))
    }
}

/// Runs in the child: writes to `report` that the current stage has failed, and ends the child.
pub(crate) fn give_up(report: &Report, errno: rustix::io::Errno) -> ! {
    report.fail(errno.raw_os_error());
    exit(FAILED)
}

/// The exit code of a child that could not execute the program. The parent reads the report, not
/// this code.
const FAILED: c_int = 127;
