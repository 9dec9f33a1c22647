//! Calls foreign code: a panic in it ends here, and is reported.

use std::any::Any;
use std::fmt;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::registry::{Callback, Caller, Unrun};
use crate::sys::ForkGeneration;
use crate::{Exit, Pid, child};

/// A callback, or the drop of its captures, has panicked. The panic went no further.
#[derive(Debug)]
#[non_exhaustive]
pub struct CallbackPanic<'a> {
    /// The process that the callback was for.
    pub pid: Pid,
    /// The panic message, if it is text.
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

pub(crate) type PanicHook = Box<dyn Fn(&CallbackPanic<'_>) + Send + Sync>;

/// Who learns of a panic, and in which process callbacks may run.
pub(crate) struct Containment {
    hook: Option<PanicHook>,
    generation: ForkGeneration,
}

impl Containment {
    pub(crate) fn new(hook: Option<PanicHook>, generation: ForkGeneration) -> Containment {
        Containment { hook, generation }
    }

    fn contain(&self, pid: Pid, foreign: impl FnOnce()) {
        let Err(payload) = catch_unwind(AssertUnwindSafe(foreign)) else {
            return;
        };
        let report = CallbackPanic {
            pid,
            message: text(payload.as_ref()),
        };
        // If the hook panics, it is not called again for this.
        let reported = catch_unwind(AssertUnwindSafe(|| match &self.hook {
            Some(hook) => hook(&report),
            None => print(&report),
        }));
        discard(payload);
        if let Err(payload) = reported {
            discard(payload);
        }
    }
}

/// Drops the payload of a panic. That drop may panic with another payload, whose drop may panic
/// too. After a few of these the last one is leaked.
pub(crate) fn discard(mut payload: Box<dyn Any + Send>) {
    for _ in 0..8 {
        match catch_unwind(AssertUnwindSafe(|| drop(payload))) {
            Ok(()) => return,
            Err(next) => payload = next,
        }
    }
    std::mem::forget(payload);
}

fn text(payload: &(dyn Any + Send)) -> Option<&str> {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str))
}

/// Not `eprintln`, which panics if standard error cannot be written to: a full disk, a closed pipe.
fn print(report: &CallbackPanic<'_>) {
    let _ = writeln!(std::io::stderr(), "pidfd-watcher: {report}");
}

impl Caller for Containment {
    fn call(&self, callback: Callback, exit: Exit) {
        self.contain(exit.pid, || callback(exit));
        // The callback has forked, and its copy has returned. It must not continue as the dispatch
        // thread of the parent, whose epoll instance it shares.
        if self.is_copy() {
            child::end_copy();
        }
    }

    fn drop_unrun(&self, unrun: Unrun) {
        self.contain(unrun.pid, || drop(unrun.callback));
    }

    fn is_copy(&self) -> bool {
        !self.generation.is_current()
    }
}

impl fmt::Debug for Containment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Containment")
            .field("hook", &self.hook.is_some())
            .finish_non_exhaustive()
    }
}
