//! Why the shim did not start COMMAND: one line with the cause and a way out, and an exit code.

use std::ffi::OsStr;
use std::fmt::{self, Write as _};
use std::fs::{self, Metadata};
use std::io::{self, Write as _};

/// The shim's own exit codes, the same as those of env(1), nice(1) and timeout(1).
pub(crate) const REFUSED: u8 = 125;
pub(crate) const NOT_EXECUTABLE: u8 = 126;
pub(crate) const NOT_FOUND: u8 = 127;

/// Why the shim gave up before COMMAND ran.
#[derive(Debug)]
pub(crate) struct Failure {
    code: u8,
    message: String,
}

impl Failure {
    /// The shim itself cannot continue, or a requirement is not met.
    pub(crate) fn refused(message: impl Into<String>) -> Failure {
        Failure {
            code: REFUSED,
            message: message.into(),
        }
    }

    /// `what` failed with this error.
    pub(crate) fn io(what: impl fmt::Display, error: &io::Error) -> Failure {
        let way_out = match error.raw_os_error() {
            Some(libc::EMFILE) => "; raise the limit on open files (ulimit -n) to 32 or more",
            Some(libc::ENFILE) => "; raise the machine's limit in /proc/sys/fs/file-max",
            Some(libc::EAGAIN) => {
                "; raise the limit on processes (ulimit -u), or pids.max of the cgroup"
            }
            _ => "",
        };
        Failure::refused(format!("{what}: {error}{way_out}"))
    }

    /// The shim cannot use the descriptor that an option names.
    pub(crate) fn descriptor(option: &str, error: &io::Error) -> Failure {
        let way_out = match error.raw_os_error() {
            Some(libc::EBADF) => "; whoever starts the shim has to pass that descriptor on",
            _ => "",
        };
        Failure::refused(format!("{option}: {error}{way_out}"))
    }

    /// No PID namespace can be made, or it cannot be used.
    pub(crate) fn no_namespace(error: &io::Error) -> Failure {
        let way_out = match error.raw_os_error() {
            // unshare(2): there are too many, or too many are nested.
            Some(libc::ENOSPC | libc::EUSERS) => {
                "raise the limits in /proc/sys/user, or use --contain=subreaper"
            }
            _ => "use --contain=subreaper, or run it with CAP_SYS_ADMIN",
        };
        Failure::refused(format!(
            "--contain=pidns: no PID namespace can be made here ({error}); {way_out}"
        ))
    }

    /// COMMAND could not be executed.
    pub(crate) fn exec(program: &OsStr, error: &io::Error) -> Failure {
        let code = match error.raw_os_error() {
            Some(libc::ENOENT | libc::ENOTDIR) => NOT_FOUND,
            _ => NOT_EXECUTABLE,
        };
        let message = match why_not(program, error) {
            Some(reason) => format!("{}: {reason}", program.display()),
            None => format!("{}: {error}", program.display()),
        };
        Failure { code, message }
    }

    /// COMMAND was killed before it was executed.
    pub(crate) fn killed(program: &OsStr, signal: i32) -> Failure {
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

    /// Writes the line to standard error. `eprintln!` would panic if standard error cannot be
    /// written to.
    pub(crate) fn print(&self) {
        let _ = io::stderr().write_all(format!("{self}\n").as_bytes());
    }
}

/// Explains the error for a COMMAND of that name, with a way out. `None` if the error alone says
/// enough.
fn why_not(program: &OsStr, error: &io::Error) -> Option<&'static str> {
    if program.is_empty() {
        return Some("COMMAND is empty; name a program");
    }
    let is_path = program.as_encoded_bytes().contains(&b'/');
    let file = is_path.then(|| fs::metadata(program).ok()).flatten();
    match error.raw_os_error()? {
        libc::ENOENT if !is_path => {
            Some("not found in PATH; mend PATH, or give the program's path")
        }
        libc::ENOENT if file.is_some() => {
            Some("its interpreter or its loader was not found; install what its first line names")
        }
        libc::ENOENT | libc::ENOTDIR => Some("not found; see that the path is right"),
        libc::EACCES if file.as_ref().is_some_and(Metadata::is_dir) => {
            Some("a directory; name a program in it")
        }
        libc::EACCES if is_path && file.is_none() => {
            Some("a directory on the way may not be entered by this user")
        }
        libc::EACCES => Some("this user may not execute it; see chmod(1), and mount(8) for noexec"),
        libc::ENOEXEC => Some(
            "no program for this machine; a script begins with a line as #!/bin/sh, which this \
             does not",
        ),
        _ => None,
    }
}

/// Always one line, whatever it quotes.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("watchdog-shim: ")?;
        self.message.chars().try_for_each(|letter| {
            if letter.is_control() {
                write!(f, "{}", letter.escape_default())
            } else {
                f.write_char(letter)
            }
        })
    }
}
