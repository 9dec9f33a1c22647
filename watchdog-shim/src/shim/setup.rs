//! What every process of the shim has from the start.

use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{OFlags, fcntl_getfl};
use rustix::process::set_child_subreaper;

use crate::failure::Failure;
use crate::ledger::{Ledger, Phase};
use crate::options::{Options, Session, Watch};
use crate::plan::{Containment, Plan};
use crate::proc::Proc;
use crate::required_calls;
use crate::shim::wake::Wake;
use crate::sys::{self, InheritedSignals, SoleThread};
use crate::watch::Parent;

/// What every process of the shim has from the start.
pub(crate) struct Setup<'a> {
    pub(crate) alone: SoleThread,
    pub(crate) options: &'a Options,
    pub(crate) session: Session,
    pub(crate) containment: Containment,
    pub(crate) ledger: Ledger,
    /// Where reports go.
    pub(crate) status: Option<OwnedFd>,
    pub(crate) inherited_signals: InheritedSignals,
    pub(crate) parent: Parent,
    pub(crate) proc: Option<Proc>,
}

impl<'a> Setup<'a> {
    /// Prepares everything, and starts nothing.
    pub(crate) fn make(alone: SoleThread, options: &'a Options) -> Result<Setup<'a>, Failure> {
        let parent = match options.watch {
            Watch::Parent(number) => Parent::Alive(Parent::open(number)?),
            // Not needed if the environment names a watchdog. Then it is no error that the parent
            // cannot be watched.
            Watch::Default => Parent::look(),
            _ => Parent::NotWatched,
        };
        required_calls::check()?;
        let session = options.session.unwrap_or_else(default_session);
        let failed = |what: &'static str| move |error: io::Error| Failure::io(what, &error);
        // Before anything is forked: if the caller ignores SIGCHLD, no child could be waited for.
        let inherited_signals = sys::take_signals().map_err(failed("signals cannot be blocked"))?;
        let status = status_fd(&alone, options)?;
        let ledger = Ledger::shared().map_err(failed("no shared page"))?;
        // Last, because it may make a cgroup: an error after it would leave that behind.
        let plan = Plan::make(&alone, options)?;
        Ok(Setup {
            alone,
            options,
            session,
            containment: plan.containment,
            ledger,
            status,
            inherited_signals,
            parent,
            proc: plan.proc,
        })
    }

    /// Ends this process, which is below OUTER. Nothing was started.
    pub(crate) fn refuse(&self, failure: &Failure, wake: &Wake) -> ! {
        refuse(self.ledger, failure);
        wake.done();
        sys::exit_now(failure.code())
    }
}

/// Reports that COMMAND was not started, and notes it in the ledger.
pub(crate) fn refuse(ledger: Ledger, failure: &Failure) {
    failure.print();
    ledger.set_refusal(failure.code());
    ledger.set_phase(Phase::Done);
}

/// A call failed that the shim itself needs.
#[allow(clippy::needless_pass_by_value, reason = "the form that map_err takes")]
pub(crate) fn failed(error: io::Error) -> Failure {
    Failure::io("the shim cannot be set up", &error)
}

/// Makes this process a subreaper: orphans below it become its children. With `--contain=none` that
/// is needed too: COMMAND is an orphan if INNER is killed.
pub(crate) fn become_subreaper() -> io::Result<()> {
    set_child_subreaper(Some(sys::own_pid()?))?;
    Ok(())
}

fn default_session() -> Session {
    if rustix::termios::isatty(io::stdin()) {
        Session::Keep
    } else {
        Session::New
    }
}

fn status_fd(alone: &SoleThread, options: &Options) -> Result<Option<OwnedFd>, Failure> {
    let Some(number) = options.status_fd else {
        return Ok(None);
    };
    let name = format!("--status-fd={number}");
    let fd = if options.watch == Watch::Fd(number) {
        // The watch uses the same socket, and will own the number.
        sys::inherited_duplicate(alone, number)
    } else {
        sys::inherited_descriptor(alone, number)
    };
    let fd = fd.map_err(|error| Failure::descriptor(&name, &error))?;
    let flags = fcntl_getfl(&fd).map_err(|error| Failure::io(&name, &error.into()))?;
    if flags & OFlags::ACCMODE == OFlags::RDONLY {
        return Err(Failure::refused(format!(
            "{name}: not open for writing; give the shim the write end of a pipe"
        )));
    }
    Ok(Some(fd))
}
