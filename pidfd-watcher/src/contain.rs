//! Calling what is not ours: a panic in it ends there, and is reported.

use std::any::Any;
use std::fmt;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::registry::{Callback, Caller, Unrun};
use crate::{Exit, Pid};

/// A callback, or the drop of what it had captured, has panicked. The panic went no further.
#[derive(Debug)]
#[non_exhaustive]
pub struct CallbackPanic<'a> {
    /// The process that the callback was for.
    pub pid: Pid,
    /// What it said, where that is text.
    pub message: Option<&'a str>,
}

impl fmt::Display for CallbackPanic<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "callback for the exit of process {} panicked", self.pid)?;
        match self.message {
            Some(message) => write!(f, ": {message}"),
            None => Ok(()),
        }
    }
}

pub(crate) type Hook = Box<dyn Fn(&CallbackPanic<'_>) + Send + Sync>;

/// Who is told of a panic.
pub(crate) struct Containment(Option<Hook>);

impl Containment {
    pub(crate) fn new(hook: Option<Hook>) -> Containment {
        Containment(hook)
    }

    fn contain(&self, pid: Pid, foreign: impl FnOnce()) {
        let Err(payload) = catch_unwind(AssertUnwindSafe(foreign)) else {
            return;
        };
        let report = CallbackPanic {
            pid,
            message: text(payload.as_ref()),
        };
        // A hook that panics is not asked again.
        let reported = catch_unwind(AssertUnwindSafe(|| match &self.0 {
            Some(hook) => hook(&report),
            None => print(&report),
        }));
        // A payload may panic in its own drop.
        std::mem::forget(reported);
        std::mem::forget(payload);
    }
}

fn text(payload: &(dyn Any + Send)) -> Option<&str> {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str))
}

/// Not `eprintln`, which panics where standard error takes nothing more: a full disk, a reader that is gone.
fn print(report: &CallbackPanic<'_>) {
    let _ = writeln!(std::io::stderr(), "pidfd-watcher: {report}");
}

impl Caller for Containment {
    fn call(&self, callback: Callback, exit: Exit) {
        self.contain(exit.pid, || callback(exit));
    }

    fn drop_unrun(&self, unrun: Unrun) {
        self.contain(unrun.pid, || drop(unrun.callback));
    }
}

impl fmt::Debug for Containment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Containment")
            .field(&self.0.is_some())
            .finish()
    }
}
