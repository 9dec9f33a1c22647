//! The configuration: bytes in a sealed memory file, which the child reads at its start.
//!
//! Not on the command line, where everyone reads it, and not in a pipe, where a large one would
//! block both sides. Sealed: what the child reads is what the parent wrote, whoever else holds the
//! descriptor.
//!
//! `SHIM_CONFIG=fd=4,memfd=1:77`: the number in the child, and the file's device and inode, by
//! which a program that merely inherited the variable is told from the one that was meant.

use std::env;
use std::error::Error;
use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, memfd_create};
use rustix::io::Errno;

use crate::stdio::above_stdio;
use crate::sys::{self, Limit};

/// The largest configuration, in bytes: 16 MiB. It lies in memory until the child has read it.
pub const CONFIG_MAX: usize = 16 * 1024 * 1024;

/// The name of the environment variable.
pub(crate) const ENV_VAR: &str = "SHIM_CONFIG";

const SEALS: SealFlags = SealFlags::SEAL
    .union(SealFlags::SHRINK)
    .union(SealFlags::GROW)
    .union(SealFlags::WRITE);

/// A configuration on its way to a child.
#[derive(Debug)]
pub(crate) struct Sealed {
    pub(crate) memfd: Arc<OwnedFd>,
    device: u64,
    inode: u64,
}

impl Sealed {
    /// `EFBIG` for what is larger than [`CONFIG_MAX`] or than `RLIMIT_FSIZE` lets this process
    /// write.
    pub(crate) fn new(bytes: &[u8]) -> io::Result<Sealed> {
        // Asked first: a write past the limit raises SIGXFSZ, which ends a process by default.
        let limit = sys::soft_limit(Limit::FileSize).unwrap_or(u64::MAX);
        if bytes.len() > CONFIG_MAX || bytes.len() as u64 > limit {
            return Err(Errno::FBIG.into());
        }
        let mut file = File::from(above_stdio(create()?)?);
        file.write_all(bytes)?;
        file.rewind()?;
        let memfd = OwnedFd::from(file);
        fcntl_add_seals(&memfd, SEALS)?;
        let (device, inode) = sys::inspect(memfd.as_raw_fd())?;
        Ok(Sealed {
            memfd: Arc::new(memfd),
            device,
            inode,
        })
    }

    /// The variable's value for a child that has the file as `child_fd`.
    pub(crate) fn env(&self, child_fd: RawFd) -> String {
        format!("fd={child_fd},memfd={}:{}", self.device, self.inode)
    }
}

fn create() -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    // NOEXEC_SEAL (Linux 6.3) is what a hardened kernel (vm.memfd_noexec=2) insists on; older ones
    // say EINVAL.
    match memfd_create("shim-config", flags | MemfdFlags::NOEXEC_SEAL) {
        Err(Errno::INVAL) => Ok(memfd_create("shim-config", flags)?),
        created => Ok(created?),
    }
}

/// Why the configuration could not be read. Nothing was closed or changed, but in
/// [`ConfigError::Io`].
#[derive(Debug)]
#[non_exhaustive]
pub enum ConfigError {
    /// The variable is there and is not what this crate writes.
    Malformed {
        /// Its value.
        value: OsString,
    },
    /// The file is not sealed against change.
    NotSealed {
        /// The number.
        fd: RawFd,
    },
    /// A system call failed: `ENOMEM`.
    Io(io::Error),
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConfigError::Malformed { value } => {
                write!(f, "malformed {ENV_VAR}={}", value.display())
            }
            ConfigError::NotSealed { fd } => write!(f, "descriptor {fd} is not sealed"),
            ConfigError::Io(_) => f.write_str("the configuration could not be read"),
        }
    }
}

impl Error for ConfigError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            ConfigError::Io(error) => Some(error),
            _ => None,
        }
    }
}

/// Keeps the kernel's number where there is one. What is no error of the kernel is
/// [`InvalidData`](io::ErrorKind::InvalidData), with the [`ConfigError`] inside.
impl From<ConfigError> for io::Error {
    fn from(error: ConfigError) -> io::Error {
        match error {
            ConfigError::Io(error) => error,
            other => io::Error::new(io::ErrorKind::InvalidData, other),
        }
    }
}

/// The configuration that the spawner passed by
/// [`ShimSpawner::config`](crate::ShimSpawner::config). `Ok(None)`: it passed none to this process,
/// which may have inherited the variable.
///
/// Reads it once: the descriptor is closed and the variable is taken out of the environment, so
/// that nothing that this process starts mistakes it for its own. A second call gives `Ok(None)`.
///
/// # Errors
/// A [`ConfigError`]: the variable is damaged, or what it names is not what the spawner has sealed.
/// Nothing was closed or changed then, but in [`ConfigError::Io`].
///
/// # Safety
/// - Takes ownership of the descriptor number in the variable. Sound if nothing else in this
///   process owns that number: call it early in `main`, before any other inherited descriptor is
///   adopted. That the number is the very memory file the variable was written for is checked.
/// - No other thread uses the environment meanwhile, other than by the functions of
///   [`std::env`](mod@std::env).
///
/// # References
/// [memfd_create(2)](https://man7.org/linux/man-pages/man2/memfd_create.2.html)
#[allow(unsafe_code, reason = "it owns a number by the promise of its caller")]
pub unsafe fn shim_config() -> Result<Option<Vec<u8>>, ConfigError> {
    let own = |number| {
        // SAFETY: `from_environment` calls this for a number that it found open as the memory file
        // which the variable names; that no one else owns it is our caller's promise.
        unsafe { sys::own(number) }
    };
    let forget = |name| {
        // SAFETY: nobody reads the environment behind the back of `std::env`, by our caller's
        // promise.
        unsafe { sys::remove_variable(name) }
    };
    from_environment(own, forget)
}

/// Reads what the environment names. `own` makes an owner of a number that passed every check, and
/// `forget` takes the variable out of the environment: what this process starts inherits neither.
fn from_environment(
    own: impl FnOnce(RawFd) -> OwnedFd,
    forget: impl FnOnce(&'static str),
) -> Result<Option<Vec<u8>>, ConfigError> {
    let Some(value) = env::var_os(ENV_VAR) else {
        return Ok(None);
    };
    let Some((fd, identity)) = value.to_str().and_then(parse) else {
        return Err(ConfigError::Malformed { value });
    };
    match sys::inspect(fd) {
        Ok(found) if found == identity => {}
        Err(error) if error.raw_os_error() != Some(libc::EBADF) => {
            return Err(ConfigError::Io(error));
        }
        // Not for this process: somebody above has inherited it, or has read the file.
        Ok(_) | Err(_) => {
            forget(ENV_VAR);
            return Ok(None);
        }
    }
    let memfd = own(fd);
    if !is_sealed(memfd.as_fd()) {
        // Not what we were promised, so not ours to close either.
        let _ = std::os::fd::IntoRawFd::into_raw_fd(memfd);
        return Err(ConfigError::NotSealed { fd });
    }
    let mut bytes = Vec::new();
    File::from(memfd)
        .read_to_end(&mut bytes)
        .map_err(ConfigError::Io)?;
    forget(ENV_VAR);
    Ok(Some(bytes))
}

fn is_sealed(memfd: std::os::fd::BorrowedFd<'_>) -> bool {
    fcntl_get_seals(memfd).is_ok_and(|seals| seals.contains(SEALS))
}

fn parse(text: &str) -> Option<(RawFd, (u64, u64))> {
    let (fd, memfd) = text.strip_prefix("fd=")?.split_once(",memfd=")?;
    let (device, inode) = memfd.split_once(':')?;
    let fd = fd.parse().ok().filter(|fd| *fd >= 0)?;
    Some((fd, (device.parse().ok()?, inode.parse().ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_configuration_cannot_be_changed_and_reads_back() {
        let sealed = Sealed::new(b"secret").unwrap();
        let mut file = File::from(sealed.memfd.try_clone().expect("a duplicate"));
        assert_eq!(
            file.write(b"x").unwrap_err().raw_os_error(),
            Some(libc::EPERM)
        );
        assert_eq!(
            file.set_len(0).unwrap_err().raw_os_error(),
            Some(libc::EPERM)
        );
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(text, "secret");
    }

    #[test]
    fn an_oversized_configuration_is_refused() {
        let error = Sealed::new(&vec![0; CONFIG_MAX + 1]).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EFBIG));
        assert!(Sealed::new(&vec![0; CONFIG_MAX]).is_ok());
    }

    #[test]
    fn the_variable_is_parsed_strictly() {
        assert_eq!(parse("fd=4,memfd=1:77"), Some((4, (1, 77))));
        for text in [
            "",
            "4",
            "fd=4",
            "fd=-4,memfd=1:77",
            "fd=4,memfd=1",
            "fd=4,memfd=1:77,",
        ] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }
}
