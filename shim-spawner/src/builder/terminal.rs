//! Session, terminal and process group.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use crate::ShimSpawner;

impl ShimSpawner {
    /// Whether the child leads a session of its own, without a controlling terminal. Off unless set
    /// for an attached shim; a [detached](ShimSpawner::detached) one does so anyway.
    ///
    /// # Errors
    /// Of the spawn: [`Stage::Session`](crate::Stage::Session), where a filter refuses it.
    /// [`Stage::Arguments`](crate::Stage::Arguments) with a
    /// [`process_group`](ShimSpawner::process_group) to join.
    ///
    /// # References
    /// [setsid(2)](https://man7.org/linux/man-pages/man2/setsid.2.html)
    pub fn session(&mut self, session: bool) -> &mut ShimSpawner {
        self.session = session;
        self
    }

    /// The controlling terminal of the child, which leads a session of its own then, and its
    /// group is the terminal's foreground group. The terminal is the slave side of a pty mostly,
    /// and belongs to no session yet. Standard streams are not touched: give them the same
    /// terminal.
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
    /// master sees no end before it is dropped.
    ///
    /// # Errors
    /// Of the spawn: [`Stage::Terminal`](crate::Stage::Terminal): `ENOTTY` for what is no terminal,
    /// `EPERM` for one that another session has, `EIO` where the master is closed.
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

    /// Makes the child's process group the foreground group of this terminal, which is the
    /// controlling terminal of this process. That is what a shell does with a job. The terminal
    /// is the caller's to take back when the child has ended: tcsetpgrp(3), with SIGTTOU blocked.
    /// After a failed spawn the group that had it before has it again.
    ///
    /// Takes a descriptor and no flag, since a process may have no descriptor of its terminal among
    /// its standard streams. The spawner keeps it: see [`map_fd`](ShimSpawner::map_fd).
    ///
    /// # Errors
    /// Of the spawn: [`Stage::Terminal`](crate::Stage::Terminal): `ENOTTY` for what is not the
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
