//! The place of an identity: a name in an open folder.
//!
//! A writer makes a *spare* file in the same folder, locks it by flock(2), fills and syncs it, and
//! renames it. The kernel releases the lock when the writer dies, however it dies. So a spare file
//! without a lock is a leftover, and the next user of the same place removes it. There are few
//! names for spare files, so that no process has to list the folder, which may have thousands of
//! identities.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{
    AtFlags, CWD, FlockOperation, Mode, OFlags, fchmod, flock, fstat, fsync, openat, renameat,
    statat, unlinkat,
};
use rustix::io::{Errno, retry_on_intr, write};

use super::buffer::Buffer;
use super::checksum::fnv1a;
use crate::sys::Descriptor;

/// How many writers may write to one place at the same time.
const SPARES: u64 = 16;

/// What the folder is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Needs no permission to list the folder.
    Read,
    /// The folder is synced, which needs a descriptor that is open for reading.
    Write,
}

/// A name in a folder. The folder stays the same one, even if its path comes to name another.
#[derive(Debug)]
pub(crate) struct Place {
    folder: OwnedFd,
    name: CString,
    /// Replaces the name in the names of the spare files, which have to be short.
    hash: u64,
}

impl Place {
    /// # Errors
    /// - `InvalidInput`: the path does not end with a file name. It is empty, ends with a slash,
    ///   `.` or `..`, or has a NUL byte.
    /// - `ENOENT`, `ENOTDIR`, `EACCES`, `EMFILE`: the folder cannot be opened.
    pub(crate) fn open(path: &Path, purpose: Purpose) -> io::Result<Place> {
        let path = path.as_os_str().as_bytes();
        // `Path::file_name` is not used, because it takes "name/" for "name".
        let (folder, name) = match path.iter().rposition(|&byte| byte == b'/') {
            Some(0) => (&b"/"[..], path.get(1..)),
            Some(slash) => (path.get(..slash).unwrap_or_default(), path.get(slash + 1..)),
            None => (&b"."[..], Some(path)),
        };
        let name = name.filter(|name| !matches!(*name, b"" | b"." | b".."));
        let name = CString::new(name.ok_or(io::ErrorKind::InvalidInput)?)?;
        let access = match purpose {
            Purpose::Read => OFlags::PATH,
            Purpose::Write => OFlags::RDONLY,
        };
        let flags = access | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Place {
            folder: openat(CWD, folder, flags, Mode::empty())?,
            hash: fnv1a(name.as_bytes()),
            name,
        })
    }

    pub(crate) fn folder(&self) -> &OwnedFd {
        &self.folder
    }

    /// Opens the file for reading. Does not follow a symbolic link (`ELOOP`), and does not wait for
    /// the writer of a pipe.
    pub(crate) fn read(&self) -> Result<OwnedFd, Errno> {
        self.open_at(&self.name, OFlags::RDONLY)
    }

    /// Removes the file.
    pub(crate) fn remove(&self) -> Result<(), Errno> {
        unlinkat(&self.folder, self.name.as_c_str(), AtFlags::empty())
    }

    /// Replaces the file by one with `text`, complete and on the disk. Only its owner may access
    /// the file.
    ///
    /// Async-signal-safe: the child calls it between its creation and its exec, in memory that may
    /// be the parent's. No allocation, no lock, no panic.
    ///
    /// # Errors
    /// Those of the file system. The old file is unchanged then and no other file is left, unless
    /// the sync of the folder failed, after the rename. `EBUSY`: sixteen other writers are writing
    /// to this place.
    pub(crate) fn write(&self, text: &[u8]) -> Result<(), Errno> {
        // The text did not fit into its buffer.
        if text.is_empty() {
            return Err(Errno::INVAL);
        }
        for number in 0..SPARES {
            let name = spare_name(self.hash, number);
            let name = c_str(&name)?;
            let Some(spare) = self.create(name)? else {
                continue;
            };
            let written = fill(&spare, text)
                .and_then(|()| renameat(&self.folder, name, &self.folder, self.name.as_c_str()));
            if let Err(errno) = written {
                let _ = unlinkat(&self.folder, name, AtFlags::empty());
                return Err(errno);
            }
            return self.sync();
        }
        Err(Errno::BUSY)
    }

    /// Makes a new file that is locked until we close it. `None`: the name is taken, or another
    /// process has removed the file.
    fn create(&self, name: &CStr) -> Result<Option<Descriptor>, Errno> {
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let spare = match openat(&self.folder, name, flags, Mode::RUSR | Mode::WUSR) {
            Ok(file) => Descriptor::new(file),
            Err(Errno::EXIST) => return Ok(None),
            Err(errno) => return Err(errno),
        };
        match flock(&spare, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            // Between our two calls another process took it for a leftover, and is removing it.
            Err(Errno::WOULDBLOCK) => return Ok(None),
            Err(errno) => {
                let _ = unlinkat(&self.folder, name, AtFlags::empty());
                return Err(errno);
            }
        }
        // With a link count of 0, that process has removed it already. From here on no process
        // removes it, because the removal needs the lock.
        Ok((fstat(&spare)?.st_nlink != 0).then_some(spare))
    }

    /// Makes the rename durable. A rename changes the folder, which needs its own fsync(2).
    fn sync(&self) -> Result<(), Errno> {
        match retry_on_intr(|| fsync(&self.folder)) {
            // Folders cannot be synced on this file system.
            Err(Errno::INVAL) => Ok(()),
            done => done,
        }
    }

    /// Removes the spare files of dead writers. A file that cannot be removed stays, and does no
    /// harm.
    pub(crate) fn sweep(&self) {
        for number in 0..SPARES {
            let name = spare_name(self.hash, number);
            if let Ok(name) = c_str(&name) {
                let _ = self.remove_leftover(name);
            }
        }
    }

    fn remove_leftover(&self, name: &CStr) -> Result<(), Errno> {
        // Open for writing: a network file system may require that for an exclusive lock.
        let spare = self.open_at(name, OFlags::RDWR)?;
        flock(&spare, FlockOperation::NonBlockingLockExclusive)?;
        // Its writer may have renamed it meanwhile, and another writer may have made a spare file
        // of this name.
        let (ours, named) = (
            fstat(&spare)?,
            statat(&self.folder, name, AtFlags::SYMLINK_NOFOLLOW)?,
        );
        if (ours.st_dev, ours.st_ino) == (named.st_dev, named.st_ino) {
            // The name means this file until we close it: a process changes the name only under the
            // lock.
            unlinkat(&self.folder, name, AtFlags::empty())?;
        }
        Ok(())
    }

    fn open_at(&self, name: &CStr, access: OFlags) -> Result<OwnedFd, Errno> {
        let careful = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        openat(&self.folder, name, access | careful, Mode::empty())
    }
}

/// Async-signal-safe.
fn fill(spare: &Descriptor, text: &[u8]) -> Result<(), Errno> {
    // The umask of this process may have cleared mode bits.
    fchmod(spare, Mode::RUSR | Mode::WUSR)?;
    let mut rest = text;
    while !rest.is_empty() {
        match retry_on_intr(|| write(spare, rest))? {
            0 => return Err(Errno::IO),
            written => rest = rest.get(written..).unwrap_or_default(),
        }
    }
    retry_on_intr(|| fsync(spare))
}

/// `.shim-identity-HASH.NN.tmp`, and a NUL. Async-signal-safe.
fn spare_name(hash: u64, number: u64) -> Buffer {
    let mut name = Buffer::new();
    name.push(b".shim-identity-");
    name.push_hex(hash, 16);
    name.push(b".");
    name.push_padded(number, 2);
    name.push(b".tmp\0");
    name
}

fn c_str(name: &Buffer) -> Result<&CStr, Errno> {
    CStr::from_bytes_with_nul(name.as_bytes()).map_err(|_| Errno::INVAL)
}
