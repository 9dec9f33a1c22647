//! The pipe that continues OUTER.

use std::io;
use std::os::fd::OwnedFd;

use crate::sys;

/// A pipe that makes the kernel continue OUTER when the tree is gone.
///
/// OUTER may be stopped at that time: by COMMAND, or by Ctrl-Z, which stops both. If the runtime
/// has let go, nobody else would continue OUTER, and it would stay for ever.
///
/// The kernel sends SIGCONT to OUTER when a byte is written, and when the last process below OUTER
/// has ended. The pipe is made before those processes start, because OUTER may be stopped at any
/// time.
pub(crate) struct Wake {
    read: OwnedFd,
    write: OwnedFd,
}

/// The read end. OUTER keeps it open, because the kernel sends the signal for it.
pub(crate) struct WakeOfOuter {
    _read: OwnedFd,
}

impl Wake {
    pub(crate) fn make() -> io::Result<Wake> {
        let (read, write) = sys::pipe()?;
        // A filter may refuse this. OUTER works without it, but a stopped OUTER is not continued.
        let _ = sys::continue_at_news_of(&read);
        Ok(Wake { read, write })
    }

    /// In OUTER: closes its copy of the write end.
    pub(crate) fn into_outer(self) -> WakeOfOuter {
        WakeOfOuter { _read: self.read }
    }

    /// Called in a process below OUTER when the tree is gone.
    pub(crate) fn done(&self) {
        let _ = rustix::io::write(&self.write, &[0]);
    }
}
