//! The keepalive of a handler.

use pidfd_watcher::Pid;
use watchdog_pipe::Keepalive;

use crate::events;
use crate::shim::guarantees_of;

/// Holds the keepalive of an attached shim, and reports that it was dropped with its handler.
///
/// A type of its own, and not a `Drop` of the handler: the handle on the process is dropped first,
/// which kills a shim that is [killed on close](crate::ShimSpawner::kill_on_close).
#[derive(Debug)]
pub(crate) struct Attachment {
    /// `None`: the shim is not attached, or not any more.
    pub(crate) keepalive: Option<Keepalive>,
    pid: Pid,
}

impl Attachment {
    pub(crate) fn new(keepalive: Option<Keepalive>, pid: Pid) -> Attachment {
        Attachment { keepalive, pid }
    }
}

impl Drop for Attachment {
    fn drop(&mut self) {
        // A copy made by fork promises nothing, and reports nothing.
        let reports = !guarantees_of(self.keepalive.as_ref()).is_empty();
        drop(self.keepalive.take());
        if reports {
            events::dropped(self.pid);
        }
    }
}
