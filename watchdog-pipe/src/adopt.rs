//! Taking on the child's end: which number, and is it truly ours.

use std::error::Error;
use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::io;
use std::os::fd::{IntoRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::readiness::Readiness;
use crate::sentinel::{self, Damaged, Found};
use crate::sys::{self, Inspected};
use crate::variable::{ENV_VAR, Variable};
use crate::{StopPolicy, Watchdog};

/// Set while the descriptor of the environment is owned by a [`Watchdog`], that is for ever.
static CLAIMED: AtomicBool = AtomicBool::new(false);

/// Why a child's end was not adopted. Nothing was claimed, closed or changed.
#[derive(Debug)]
#[non_exhaustive]
pub enum AdoptError {
    /// The variable is there and is not what this crate writes.
    Malformed {
        /// Its value.
        value: OsString,
    },
    /// The environment holds the variable more than once.
    SetTwice,
    /// Adopted before: a process has one watchdog from its environment.
    AlreadyClaimed,
    /// The number is not open (`EBADF`). Also what a program sees that inherited only the variable.
    NotOpen {
        /// The number.
        fd: RawFd,
    },
    /// The number is open as something else than the pipe which the variable was written for: it was
    /// inherited from an ancestor.
    Stale {
        /// The number.
        fd: RawFd,
    },
    /// The descriptor is no pipe.
    NotAPipe {
        /// The number.
        fd: RawFd,
    },
    /// The descriptor is not the read end.
    WrongEnd {
        /// The number.
        fd: RawFd,
    },
    /// This process holds a write end of the same pipe: it would hold itself in life.
    HoldsWriter {
        /// The number of the read end.
        fd: RawFd,
        /// The number of the write end.
        writer: RawFd,
    },
    /// The descriptor is the sentinel's page that the variable names, and is not as a parent makes it: a seal is
    /// missing, or the word lies outside of it. (A number that is closed or is something else is no error: the
    /// spawner passed the pipe on alone, and the child follows that.)
    DamagedPage {
        /// The number.
        fd: RawFd,
    },
    /// A system call failed: `EMFILE`, `ENFILE` or `ENOMEM` where the event descriptors are made,
    /// `ENOSPC` where the user has no epoll watch left.
    Io(io::Error),
}

impl fmt::Display for AdoptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AdoptError::Malformed { value } => {
                write!(f, "malformed {ENV_VAR}={}", value.display())
            }
            AdoptError::SetTwice => write!(f, "{ENV_VAR} is set more than once"),
            AdoptError::AlreadyClaimed => f.write_str("the watchdog was adopted before"),
            AdoptError::NotOpen { fd } => write!(f, "descriptor {fd} is not open"),
            AdoptError::Stale { fd } => {
                write!(
                    f,
                    "{ENV_VAR} was inherited: descriptor {fd} is not the pipe it names"
                )
            }
            AdoptError::NotAPipe { fd } => write!(f, "descriptor {fd} is not a pipe"),
            AdoptError::WrongEnd { fd } => {
                write!(f, "descriptor {fd} is not the read end of a pipe")
            }
            AdoptError::HoldsWriter { fd, writer } => write!(
                f,
                "descriptor {writer} is a write end of the pipe that descriptor {fd} watches"
            ),
            AdoptError::DamagedPage { fd } => {
                write!(f, "descriptor {fd} is not a page as a sentinel makes it")
            }
            AdoptError::Io(_) => f.write_str("the watchdog could not be set up"),
        }
    }
}

impl Error for AdoptError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            AdoptError::Io(error) => Some(error),
            _ => None,
        }
    }
}

impl From<io::Error> for AdoptError {
    fn from(error: io::Error) -> AdoptError {
        AdoptError::Io(error)
    }
}

impl From<rustix::io::Errno> for AdoptError {
    fn from(error: rustix::io::Errno) -> AdoptError {
        AdoptError::Io(error.into())
    }
}

/// Adopts what the environment names. `own` makes an owner of a number that passed every check.
pub(crate) fn from_environment(
    own: impl Fn(RawFd) -> OwnedFd,
) -> Result<Option<Watchdog>, AdoptError> {
    let Some(variable) = Variable::from_environment()? else {
        return Ok(None);
    };
    if CLAIMED.swap(true, Ordering::AcqRel) {
        return Err(AdoptError::AlreadyClaimed);
    }
    let adopted = claim(&variable, own);
    if adopted.is_err() {
        CLAIMED.store(false, Ordering::Release);
    }
    adopted.map(Some)
}

fn claim(variable: &Variable, own: impl Fn(RawFd) -> OwnedFd) -> Result<Watchdog, AdoptError> {
    let fd = variable.pipe_fd;
    let inspected = inspect(fd)?;
    if (inspected.device, inspected.inode) != (variable.device, variable.inode) {
        return Err(AdoptError::Stale { fd });
    }
    check(fd, &inspected)?;
    let (page, lookout) = match &variable.sentinel {
        None => (None, None),
        Some(address) => match sentinel::adopt(address) {
            Ok(Found::Nothing) => (None, None),
            Ok(Found::Page(lookout)) => (Some(address.fd), lookout),
            Err(Damaged) => return Err(AdoptError::DamagedPage { fd: address.fd }),
        },
    };
    let readiness = Readiness::new()?;
    let watchdog = Watchdog::new(own(fd), readiness, lookout, variable.policy);
    let watchdog = watchdog.map_err(|(pipe, error)| {
        // Not claimed, so not ours to close.
        let _ = pipe.into_raw_fd();
        error
    })?;
    // The mapping is what counts.
    drop(page.map(own));
    Ok(watchdog)
}

/// Adopts a descriptor that came by a protocol of the caller's own.
pub(crate) fn from_fd(pipe: OwnedFd, policy: Option<StopPolicy>) -> Result<Watchdog, AdoptError> {
    let fd = sys::number(&pipe);
    check(fd, &inspect(fd)?)?;
    Watchdog::new(pipe, Readiness::new()?, None, policy).map_err(|(_, error)| error.into())
}

fn inspect(fd: RawFd) -> Result<Inspected, AdoptError> {
    sys::inspect(fd).map_err(|error| match error.raw_os_error() {
        Some(libc::EBADF) => AdoptError::NotOpen { fd },
        _ => AdoptError::Io(error),
    })
}

fn check(fd: RawFd, inspected: &Inspected) -> Result<(), AdoptError> {
    if !inspected.is_fifo {
        return Err(AdoptError::NotAPipe { fd });
    }
    if !inspected.readable || inspected.writable {
        return Err(AdoptError::WrongEnd { fd });
    }
    match own_writer(inspected) {
        Some(writer) => Err(AdoptError::HoldsWriter { fd, writer }),
        None => Ok(()),
    }
}

/// A descriptor of this process that could write to the pipe.
fn own_writer(pipe: &Inspected) -> Option<RawFd> {
    let writes = |fd: &RawFd| {
        sys::inspect(*fd).is_ok_and(|other| {
            other.writable && (other.device, other.inode) == (pipe.device, pipe.inode)
        })
    };
    match fs::read_dir("/proc/self/fd") {
        Ok(entries) => entries
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .find(writes),
        // Without /proc: every number there can be, up to a bound that keeps the start quick. A write
        // end above it is missed, and with it only this check, not the link.
        Err(_) => (0..highest_number()).find(writes),
    }
}

fn highest_number() -> RawFd {
    const BOUND: RawFd = 65_536;
    sys::descriptor_limit().unwrap_or(BOUND).min(BOUND)
}
