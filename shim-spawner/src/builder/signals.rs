//! Which signals the child has blocked and ignored.

use crate::{ShimSpawner, Signal};

impl ShimSpawner {
    /// Whether the child keeps the signal mask of the thread that spawns it. Off unless set: its
    /// mask is empty.
    pub fn keep_signal_mask(&mut self, keep: bool) -> &mut ShimSpawner {
        self.signals.keep_mask = keep;
        self
    }

    /// The signals that the child ignores; all others have their default action. Unless set, the
    /// child ignores what this process ignores, but SIGPIPE.
    ///
    /// `[Signal::HUP]` is what nohup(1) does; `[]` takes away whatever a parent ignored.
    ///
    /// # Errors
    /// Of the spawn: [`Stage::Arguments`](crate::Stage::Arguments) for SIGKILL and SIGSTOP, which
    /// nobody ignores.
    ///
    /// # References
    /// [sigaction(2)](https://man7.org/linux/man-pages/man2/sigaction.2.html),
    /// [execve(2)](https://man7.org/linux/man-pages/man2/execve.2.html)
    pub fn ignored_signals(
        &mut self,
        signals: impl IntoIterator<Item = Signal>,
    ) -> &mut ShimSpawner {
        self.signals.ignored = Some(signals.into_iter().collect());
        self
    }
}
