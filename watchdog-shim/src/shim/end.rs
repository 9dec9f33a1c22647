//! How OUTER ends.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use crate::failure::Failure;
use crate::ledger::Ledger;
use crate::options::ExitAs;

/// How the shim must end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Code(u8),
    /// By this signal, as COMMAND did.
    Signal(i32),
}

impl End {
    /// Ends as COMMAND ended, according to the ledger.
    pub(crate) fn of(ledger: Ledger, exit: ExitAs) -> Result<End, Failure> {
        if let Some(code) = ledger.refusal() {
            return Ok(End::Code(code));
        }
        let status = ledger.status();
        // COMMAND was never seen to end: somebody else has reaped it, or it never ran.
        let unknown = || Failure::refused("INNER was killed: nobody saw how COMMAND ended");
        let status = status.ok_or_else(unknown)?;
        Ok(End::of_status(status, exit))
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
