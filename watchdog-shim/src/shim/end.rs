//! How OUTER ends.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use crate::failure::REFUSED;
use crate::ledger::Ledger;
use crate::options::ExitAs;

/// How the shim is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Code(u8),
    /// By this signal, as COMMAND did.
    Signal(i32),
}

impl End {
    /// As the ledger says that COMMAND ended.
    pub(crate) fn of(ledger: Ledger, exit: ExitAs) -> End {
        if let Some(code) = ledger.refusal() {
            return End::Code(code);
        }
        match ledger.status() {
            Some(status) => End::of_status(status, exit),
            // COMMAND was never seen to end: somebody else reaped it, or it never ran.
            None => End::Code(REFUSED),
        }
    }

    fn of_status(status: ExitStatus, exit: ExitAs) -> End {
        match (status.signal(), exit) {
            (Some(signal), ExitAs::Mirror) => End::Signal(signal),
            (Some(signal), ExitAs::Shell) => {
                End::Code(u8::try_from(128 + signal).unwrap_or(u8::MAX))
            }
            (None, _) => End::Code(u8::try_from(status.code().unwrap_or(0)).unwrap_or(u8::MAX)),
        }
    }
}
