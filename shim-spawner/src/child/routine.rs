//! All that the child does, in its order.

use std::convert::Infallible;
use std::ffi::{CString, c_int};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use fd_preserve::ChildFds;

use super::belonging::Belonging;
use super::calls::{Errno, check, exit, raw};
use super::closure::PreExecClosure;
use super::exec::exec;
use super::signals::{Handlers, reset_handlers, unblock_signals};
use super::streams::put_stream;
use crate::Stage;
use crate::identity::Record;
use crate::image::Image;
use crate::report::Report;

/// All that the child needs to know, made before it exists.
pub(crate) struct Routine {
    pub(crate) belonging: Belonging,
    pub(crate) record: Option<Record>,
    pub(crate) current_dir: Option<CString>,
    /// The child's standard streams, each on a number above 2; `None`: inherited.
    pub(crate) streams: [Option<OwnedFd>; 3],
    pub(crate) closures: Vec<Arc<PreExecClosure>>,
    pub(crate) fds: ChildFds,
    pub(crate) image: Image,
}

impl Routine {
    pub(crate) fn has_closures(&self) -> bool {
        !self.closures.is_empty()
    }

    /// Runs in the child, from its first instruction on: becomes the program, or says in `report`
    /// why not and ends. Every step is announced before it is taken.
    ///
    /// # Safety
    /// In a child that was just created, with all signals blocked and a descriptor table of its
    /// own. Where it shares the parent's memory, there are no closures, and the calling thread of
    /// the parent is suspended.
    pub(crate) unsafe fn run(&self, report: &Report, handlers: Handlers) -> ! {
        // SAFETY: the caller's promise.
        let Err(Errno(errno)) = unsafe { self.attempt(report, handlers) };
        give_up(report, rustix::io::Errno::from_raw_os_error(errno))
    }

    /// # Safety
    /// As [`run`](Routine::run).
    unsafe fn attempt(&self, report: &Report, handlers: Handlers) -> Result<Infallible, Errno> {
        report.enter(Stage::Session);
        // While all signals are blocked: from here on, none runs a handler of the parent's.
        reset_handlers(handlers)?;
        self.belonging.take()?;
        if let Some(record) = &self.record {
            // With the credentials and the descriptors that the parent had when it opened the
            // folder.
            report.enter(Stage::Identity);
            let identity = record.identify().map_err(raw)?;
            report.enter(Stage::IdentityFile);
            record.write(&identity).map_err(raw)?;
        }
        report.enter(Stage::CurrentDir);
        if let Some(dir) = &self.current_dir {
            // SAFETY: a C string that lives through the call.
            check(unsafe { libc::syscall(libc::SYS_chdir, dir.as_ptr()) })?;
        }
        report.enter(Stage::Stdio);
        for (number, stream) in (0..).zip(&self.streams) {
            put_stream(stream.as_ref(), number)?;
        }
        report.enter(Stage::PreExec);
        unblock_signals()?;
        for closure in &self.closures {
            // SAFETY: closures are in a forked child alone, which has not executed anything yet.
            unsafe { closure.run() }?;
        }
        report.enter(Stage::InstallFds);
        // SAFETY: a descriptor table of the child's own; a parent that shares memory is suspended.
        if let Err(error) = unsafe { self.fds.install() } {
            report.set_number(error.fd().unwrap_or(-1));
            return Err(Errno(error.errno()));
        }
        report.enter(Stage::Exec);
        Err(exec(&self.image))
    }
}

/// Runs in the child: says in `report` that the stage it is in has failed, and ends it.
pub(crate) fn give_up(report: &Report, errno: rustix::io::Errno) -> ! {
    report.fail(errno.raw_os_error());
    exit(FAILED)
}

/// How a child ends that could not become the program. The parent goes by the report.
const FAILED: c_int = 127;
