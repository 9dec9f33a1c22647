//! Session, terminal and process group.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use crate::ShimSpawner;

impl ShimSpawner {
    /// Whether the child leads a session of its own, without a controlling terminal. The default is
    /// no for an attached shim. A [detached](ShimSpawner::detached) shim always does.
    ///
    /// # Errors
    /// From the spawn: [`Stage::Session`](crate::Stage::Session), if a filter refuses it.
    /// [`Stage::Arguments`](crate::Stage::Arguments) with a
    /// [`process_group`](ShimSpawner::process_group) to join.
    ///
    /// # References
    /// [setsid(2)](https://man7.org/linux/man-pages/man2/setsid.2.html)
    pub fn session(&mut self, session: bool) -> &mut ShimSpawner {
        self.session = session;
        self
    }

    /// The controlling terminal of the child. The child then leads a session of its own, and its
    /// group is the terminal's foreground group. The terminal is usually the slave side of a pty,
    /// and must not belong to a session yet. This does not change the standard streams: give them
    /// the same terminal.
    ///
    /// ```no_run
    /// # fn terminal() -> std::os::fd::OwnedFd { unimplemented!() }
    /// use shim_spawner::ShimSpawner;
    ///
    /// let terminal = terminal(); // openpt, grantpt, unlockpt, and the slave's path opened
    /// let shell = ShimSpawner::new("bash")
    ///     .stdin(terminal.try_clone()?)
    ///     .stdout(terminal.try_clone()?)
    ///     .stderr(terminal.try_clone()?)
    ///     .controlling_terminal(terminal)
    ///     .spawn()?;
    /// # drop(shell);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// The spawner keeps the descriptor: see [`map_fd`](ShimSpawner::map_fd). A reader of the
    /// master sees no end of file before the spawner is dropped.
    ///
    /// # Errors
    /// From the spawn: [`Stage::Terminal`](crate::Stage::Terminal): `ENOTTY` if it is no terminal,
    /// `EPERM` if another session has it, `EIO` if the master is closed.
    /// [`Stage::Arguments`](crate::Stage::Arguments) with a
    /// [`process_group`](ShimSpawner::process_group) to join.
    ///
    /// # References
    /// [TIOCSCTTY(2const)](https://man7.org/linux/man-pages/man2/TIOCSCTTY.2const.html),
    /// [pty(7)](https://man7.org/linux/man-pages/man7/pty.7.html)
    pub fn controlling_terminal(&mut self, terminal: impl Into<OwnedFd>) -> &mut ShimSpawner {
        self.terminal.controlling = Some(Arc::new(terminal.into()));
        self
    }

    /// Makes the child's process group the foreground group of this terminal, which must be the
    /// controlling terminal of this process. A shell does this with a job. When the child has
    /// ended, the caller has to take the terminal back: tcsetpgrp(3), with SIGTTOU blocked. After a
    /// failed spawn the group that was in the foreground before is there again.
    ///
    /// This takes a descriptor and not a flag, because a process may have no descriptor of its
    /// terminal among its standard streams. The spawner keeps it: see
    /// [`map_fd`](ShimSpawner::map_fd).
    ///
    /// # Errors
    /// From the spawn: [`Stage::Terminal`](crate::Stage::Terminal): `ENOTTY` if it is not the
    /// controlling terminal of this session. [`Stage::Arguments`](crate::Stage::Arguments) with a
    /// session of its own, whose leader is in the foreground of its terminal anyway.
    ///
    /// # References
    /// [tcsetpgrp(3)](https://man7.org/linux/man-pages/man3/tcsetpgrp.3.html)
    pub fn foreground(&mut self, terminal: impl Into<OwnedFd>) -> &mut ShimSpawner {
        self.terminal.foreground = Some(Arc::new(terminal.into()));
        self
    }
}
