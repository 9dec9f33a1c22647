//! The terminals that a spawn is about.

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
    /// Is that of this session; the child's group goes to its foreground.
    pub(crate) foreground: Option<Arc<OwnedFd>>,
}

/// A terminal and the group that was in its foreground before a spawn.
#[derive(Debug)]
pub(crate) struct Foreground {
    terminal: Arc<OwnedFd>,
    before: Pid,
}

impl Foreground {
    /// `None` where the spawn changes no foreground, or will be refused by the kernel for the same
    /// reason that this one is.
    pub(crate) fn of(terminal: &Terminal) -> Option<Foreground> {
        let terminal = Arc::clone(terminal.foreground.as_ref()?);
        let before = tcgetpgrp(&terminal).ok()?;
        Some(Foreground { terminal, before })
    }

    /// After a spawn that failed: the group that a child leaves behind is nobody's.
    pub(crate) fn restore(self) {
        // SIGTTOU would stop a process that is not in the foreground itself.
        if let Ok(_blocked) = BlockedSignals::all() {
            let _ = tcsetpgrp(&self.terminal, self.before);
        }
    }
}
