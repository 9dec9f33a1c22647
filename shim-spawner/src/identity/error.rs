use std::path::PathBuf;
use std::{error, fmt, io};

/// A saved identity cannot be read. The error names the file and what is wrong with it.
#[derive(Debug)]
#[non_exhaustive]
pub struct IdentityError {
    /// The file. `None` if the text came from elsewhere.
    pub path: Option<PathBuf>,
    /// What is wrong.
    pub kind: IdentityErrorKind,
}

/// What is wrong with a saved identity.
#[derive(Debug)]
#[non_exhaustive]
pub enum IdentityErrorKind {
    /// The file cannot be opened or read. `ENOENT` is [`NotFound`](io::ErrorKind::NotFound).
    Io(io::Error),
    /// It is a folder, a pipe, a device or a symbolic link.
    NotAFile,
    /// Another user could have written it: see [`ShimIdentity::load`](crate::ShimIdentity::load).
    Untrusted {
        /// Whether the user could have written to the folder, and not to the file.
        folder: bool,
        /// The owner.
        owner: u32,
        /// Its mode, `0o7777` at most.
        mode: u32,
    },
    /// It is larger than any identity (4,096 bytes).
    TooLarge,
    /// It does not begin like an identity.
    NotAnIdentity,
    /// This code does not know its version.
    Version(String),
    /// It ends too early: it was cut off, or the checksum line is damaged.
    Truncated,
    /// There is data after the checksum.
    TrailingData,
    /// The text is not what was written: the checksum does not match.
    Checksum,
    /// This field is missing.
    Missing(&'static str),
    /// This field is there twice.
    Duplicate(&'static str),
    /// This field has no valid value.
    Invalid(&'static str),
}

impl IdentityError {
    /// The wrong field, if one is wrong.
    #[must_use]
    pub fn field(&self) -> Option<&'static str> {
        match self.kind {
            IdentityErrorKind::Missing(field)
            | IdentityErrorKind::Duplicate(field)
            | IdentityErrorKind::Invalid(field) => Some(field),
            IdentityErrorKind::Checksum => Some("checksum"),
            _ => None,
        }
    }
}

impl From<IdentityErrorKind> for IdentityError {
    fn from(kind: IdentityErrorKind) -> IdentityError {
        IdentityError { path: None, kind }
    }
}

impl fmt::Display for IdentityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.path {
            Some(path) => write!(f, "shim identity {}: {}", path.display(), self.kind),
            None => write!(f, "shim identity: {}", self.kind),
        }
    }
}

impl fmt::Display for IdentityErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            IdentityErrorKind::Io(_) => f.write_str("cannot be read"),
            IdentityErrorKind::NotAFile => f.write_str("not a regular file"),
            IdentityErrorKind::Untrusted {
                folder,
                owner,
                mode,
            } => {
                let what = if *folder { "folder" } else { "file" };
                write!(
                    f,
                    "another user could have written it: its {what} belongs to user {owner} and \
                     has mode {mode:04o}"
                )
            }
            IdentityErrorKind::TooLarge => f.write_str("too large"),
            IdentityErrorKind::NotAnIdentity => f.write_str("not a shim identity"),
            IdentityErrorKind::Version(found) => write!(f, "unknown version {found:?}"),
            IdentityErrorKind::Truncated => f.write_str("cut off before its checksum"),
            IdentityErrorKind::TrailingData => f.write_str("data after the checksum"),
            IdentityErrorKind::Checksum => f.write_str("damaged: checksum does not match"),
            IdentityErrorKind::Missing(field) => write!(f, "field {field} is missing"),
            IdentityErrorKind::Duplicate(field) => write!(f, "field {field} is there twice"),
            IdentityErrorKind::Invalid(field) => write!(f, "field {field} has no valid value"),
        }
    }
}

impl error::Error for IdentityError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match &self.kind {
            IdentityErrorKind::Io(error) => Some(error),
            _ => None,
        }
    }
}

/// The process of a saved identity is not available. Another process is never returned instead.
#[derive(Debug)]
#[non_exhaustive]
pub enum AdoptError {
    /// It is gone, and no process has its pid.
    Gone,
    /// It is gone, and another process has its pid.
    PidReused,
    /// The system was booted again since: it is gone.
    OtherBoot,
    /// The identity was made in another PID namespace, where its pid means another process. It may
    /// be alive, but only a process of that namespace can find out.
    OtherNamespace,
    /// A process has the pid, but it is not certain whether it is the right one: `/proc` is missing
    /// or hides what must be compared (`hidepid`, a filter), or no descriptor is left to read it
    /// with.
    Unproven(io::Error),
    /// A process may exist, but it could not be opened.
    Process(pidfd_watcher::Error),
    /// `/proc` does not show which boot and which PID namespace this is.
    Io(io::Error),
}

impl fmt::Display for AdoptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            AdoptError::Gone => "shim is gone",
            AdoptError::PidReused => "shim is gone and its pid belongs to another process",
            AdoptError::OtherBoot => "shim was started in another boot of this system",
            AdoptError::OtherNamespace => "shim was started from another PID namespace",
            AdoptError::Unproven(_) => "cannot tell whether the process is the shim",
            AdoptError::Process(_) => "cannot open the shim's process",
            AdoptError::Io(_) => "cannot read which boot and PID namespace this is",
        })
    }
}

impl error::Error for AdoptError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            AdoptError::Unproven(error) | AdoptError::Io(error) => Some(error),
            AdoptError::Process(error) => Some(error),
            _ => None,
        }
    }
}
