//! Which signals the child blocks and ignores, as the caller asked for it.

use crate::SpawnError;
use crate::child::SignalSet;
use pidfd_watcher::Signal;

/// The default is an empty mask, and the signals that this process ignores except SIGPIPE.
#[derive(Debug, Default)]
pub(crate) struct Signals {
    pub(crate) keep_mask: bool,
    pub(crate) ignored: Option<Vec<Signal>>,
}

impl Signals {
    /// The set of the signals to ignore. Refuses signals that nobody can ignore.
    pub(crate) fn ignored(&self) -> Result<Option<SignalSet>, SpawnError> {
        let Some(signals) = &self.ignored else {
            return Ok(None);
        };
        if signals
            .iter()
            .any(|signal| [Signal::KILL, Signal::STOP].contains(signal))
        {
            return Err(SpawnError::invalid("SIGKILL and SIGSTOP cannot be ignored"));
        }
        let mut set = SignalSet::default();
        for signal in signals {
            let bit = signal.as_raw().unsigned_abs().saturating_sub(1);
            if let Some(word) = set.get_mut(bit as usize / 64) {
                *word |= 1 << (bit % 64);
            }
        }
        Ok(Some(set))
    }
}
