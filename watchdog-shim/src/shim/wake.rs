//! The pipe that continues OUTER.

use std::io;
use std::os::fd::OwnedFd;

use crate::sys;

/// A pipe by which the kernel continues OUTER when the tree is gone.
///
/// COMMAND may have stopped OUTER, and Ctrl-Z stops both. Nobody else would continue it once the
/// runtime has let go, and OUTER would stay for ever.
///
/// The kernel sends SIGCONT when something is written, and when the last process below OUTER has
/// ended. The pipe is made before those processes, since OUTER may be stopped at any time.
pub(crate) struct Wake {
    read: OwnedFd,
    write: OwnedFd,
}

/// What OUTER keeps of it: the end that the signal belongs to.
pub(crate) struct WakeOfOuter {
    _read: OwnedFd,
}

impl Wake {
    pub(crate) fn make() -> io::Result<Wake> {
        let (read, write) = sys::pipe()?;
        // A filter may refuse it. Then OUTER works, but nothing continues it.
        let _ = sys::continue_at_news_of(&read);
        Ok(Wake { read, write })
    }

    /// In OUTER: closes its copy of the write end.
    pub(crate) fn into_outer(self) -> WakeOfOuter {
        WakeOfOuter { _read: self.read }
    }

    /// In a process below OUTER: nothing is left to be done.
    pub(crate) fn done(&self) {
        let _ = rustix::io::write(&self.write, &[0]);
    }
}
