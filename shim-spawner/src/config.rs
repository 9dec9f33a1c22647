//! The configuration: bytes in a sealed memory file, which the child reads at its start.
//!
//! The command line is no place for it, because every user can read that. A pipe would block both
//! sides if the configuration is large. The seals make sure that the child reads what the parent
//! wrote, whoever else has the descriptor.
//!
//! `SHIM_CONFIG=fd=4,memfd=1:77` names the descriptor in the child, and the file's device and
//! inode. By the inode, a program that only inherited the variable finds out that the
//! configuration is not for it.

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

/// The largest configuration, in bytes: 16 MiB. It uses memory until the child has read it.
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
    /// # Errors
    /// `EFBIG` if `bytes` is larger than [`CONFIG_MAX`], or than `RLIMIT_FSIZE` lets this process
    /// write.
    pub(crate) fn new(bytes: &[u8]) -> io::Result<Sealed> {
        // Checked first: a write past the limit raises SIGXFSZ, which ends a process by default.
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
    // A hardened kernel (vm.memfd_noexec=2) requires NOEXEC_SEAL (Linux 6.3). Older kernels return
    // EINVAL.
    match memfd_create("shim-config", flags | MemfdFlags::NOEXEC_SEAL) {
        Err(Errno::INVAL) => Ok(memfd_create("shim-config", flags)?),
        created => Ok(created?),
    }
}

/// Why the configuration could not be read. Nothing was closed or changed, except after
/// [`ConfigError::Io`].
#[derive(Debug)]
#[non_exhaustive]
pub enum ConfigError {
    /// The value of the variable is not one that this crate writes.
    Malformed {
        /// Its value.
        value: OsString,
    },
    /// The file is not sealed against change.
    NotSealed {
        /// The descriptor number.
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

/// Keeps the errno if there is one. Otherwise the error is
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
/// [`ShimSpawner::config`](crate::ShimSpawner::config). `Ok(None)` if it passed none to this
/// process. The variable may be there all the same: this process may have inherited it from a
/// process that it was for.
///
/// The configuration can be read once. The call closes the descriptor and removes the variable from
/// the environment, so that no child of this process takes it for its own. A second call returns
/// `Ok(None)`.
///
/// # Errors
/// A [`ConfigError`]: the variable is damaged, or it names something that the spawner has not
/// sealed. Nothing was closed or changed, except after [`ConfigError::Io`].
///
/// # Safety
/// - The call takes ownership of the descriptor number in the variable. It is sound if nothing else
///   in this process owns that number: call it early in `main`, before any other inherited
///   descriptor is adopted. The call checks that the number is the very memory file that the
///   variable names.
/// - Meanwhile, no other thread uses the environment except through [`std::env`](mod@std::env).
///
/// # References
/// [memfd_create(2)](https://man7.org/linux/man-pages/man2/memfd_create.2.html)
#[allow(unsafe_code, reason = "it owns a number by the promise of its caller")]
pub unsafe fn shim_config() -> Result<Option<Vec<u8>>, ConfigError> {
    let own = |number| {
        // SAFETY: `from_environment` calls this for a number that it found open as the memory file
        // that the variable names. By our caller's promise, nothing else owns the number.
        unsafe { sys::own(number) }
    };
    let forget = |name| {
        // SAFETY: by our caller's promise, no thread reads the environment except through
        // `std::env`.
        unsafe { sys::remove_variable(name) }
    };
    from_environment(own, forget)
}

/// Reads what the environment names. `own` makes an owner of a number that passed every check.
/// `forget` removes the variable from the environment, so that no child of this process inherits
/// it.
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
        // Not for this process: it inherited the variable, or the file was already read.
        Ok(_) | Err(_) => {
            forget(ENV_VAR);
            return Ok(None);
        }
    }
    let memfd = own(fd);
    if !is_sealed(memfd.as_fd()) {
        // It is not what the variable promises, so it may not be ours to close.
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
