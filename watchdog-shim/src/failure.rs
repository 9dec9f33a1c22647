//! Why the shim did not start COMMAND: one line that names the thing and the way out, and an exit code.

use std::fmt;
use std::io::{self, Write};

/// Exit codes of the shim's own, as env(1), nice(1) and timeout(1) have them.
pub(crate) const REFUSED: u8 = 125;
pub(crate) const NOT_EXECUTABLE: u8 = 126;
pub(crate) const NOT_FOUND: u8 = 127;

/// The shim gives up before COMMAND runs.
#[derive(Debug)]
pub(crate) struct Failure {
    code: u8,
    message: String,
}

impl Failure {
    /// The shim itself cannot go on, or a requirement is not met.
    pub(crate) fn refused(message: impl Into<String>) -> Failure {
        Failure {
            code: REFUSED,
            message: message.into(),
        }
    }

    /// `what` failed with an error of the kernel's.
    pub(crate) fn io(what: impl fmt::Display, error: &io::Error) -> Failure {
        Failure::refused(format!("{what}: {error}"))
    }

    /// COMMAND could not be executed.
    pub(crate) fn exec(program: &std::ffi::OsStr, error: &io::Error) -> Failure {
        let code = match error.raw_os_error() {
            Some(libc::ENOENT | libc::ENOTDIR) => NOT_FOUND,
            _ => NOT_EXECUTABLE,
        };
        Failure {
            code,
            message: format!("{}: {error}", program.display()),
        }
    }

    /// COMMAND was killed before it was executed.
    pub(crate) fn killed(program: &std::ffi::OsStr, signal: i32) -> Failure {
        Failure {
            code: NOT_EXECUTABLE,
            message: format!(
                "{}: killed by signal {signal} before it was executed",
                program.display()
            ),
        }
    }

    pub(crate) fn code(&self) -> u8 {
        self.code
    }

    /// Says it on standard error. Nobody need be there to read it: `eprintln!` would panic then.
    pub(crate) fn tell(&self) {
        let _ = io::stderr().write_all(format!("{self}\n").as_bytes());
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "watchdog-shim: {}", self.message)
    }
}
