//! The terminals of a spawn.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use pidfd_watcher::Pid;
use rustix::termios::{tcgetpgrp, tcsetpgrp};

use crate::sys::BlockedSignals;

/// What the caller asked for.
#[derive(Debug, Default)]
pub(crate) struct Terminal {
    /// Becomes the controlling terminal of the child's own session.
    pub(crate) controlling: Option<Arc<OwnedFd>>,
    /// The controlling terminal of this session. The child's group becomes its foreground group.
    pub(crate) foreground: Option<Arc<OwnedFd>>,
}

/// A terminal and the group that was in its foreground before a spawn.
#[derive(Debug)]
pub(crate) struct Foreground {
    terminal: Arc<OwnedFd>,
    before: Pid,
}

impl Foreground {
    /// `None` if the spawn changes no foreground, or if this call fails: then the kernel will
    /// refuse the spawn for the same reason.
    pub(crate) fn of(terminal: &Terminal) -> Option<Foreground> {
        let terminal = Arc::clone(terminal.foreground.as_ref()?);
        let before = tcgetpgrp(&terminal).ok()?;
        Some(Foreground { terminal, before })
    }

    /// Runs after a spawn that failed, because the group of a child that is gone has no member.
    pub(crate) fn restore(self) {
        // SIGTTOU would stop a process that is not in the foreground itself.
        if let Ok(_blocked) = BlockedSignals::all() {
            let _ = tcsetpgrp(&self.terminal, self.before);
        }
    }
}
