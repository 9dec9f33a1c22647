//! Which signals the child blocks and ignores.

use crate::{ShimSpawner, Signal};

impl ShimSpawner {
    /// Whether the child keeps the signal mask of the thread that spawns it. By default its mask is
    /// empty.
    pub fn keep_signal_mask(&mut self, keep: bool) -> &mut ShimSpawner {
        self.signals.keep_mask = keep;
        self
    }

    /// The signals that the child ignores. All others have their default action. By default the
    /// child ignores what this process ignores, except SIGPIPE.
    ///
    /// `[Signal::HUP]` does what nohup(1) does. `[]` resets everything that a parent ignored.
    ///
    /// # Errors
    /// From the spawn: [`Stage::Arguments`](crate::Stage::Arguments) for SIGKILL and SIGSTOP, which
    /// cannot be ignored.
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
