//! An identity in a file. The file has the old identity or the new one, never a part of one.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use rustix::fs::{FileType, Stat, fstat};
use rustix::io::Errno;

use super::place::{Place, Purpose};
use super::{IdentityError, IdentityErrorKind, ShimIdentity, text};
use crate::sys;

/// Many times the size of an identity, and small enough to read from any file.
const MAX_SIZE: u64 = 4096;

impl ShimIdentity {
    /// Writes the identity to `path` and replaces what was there. A reader, or the next start after
    /// a crash, finds either the old identity or this one, complete: the new file is written and
    /// synced in the same folder, then renamed. Only its owner may access the file (mode 0600). A
    /// symbolic link at `path` is replaced, not followed.
    ///
    /// A writer that is killed half-way may leave that new file behind,
    /// `.shim-identity-HASH.NN.tmp`. Nothing reads it. The next `save`,
    /// [`load`](ShimIdentity::load) or [`identity_file`](crate::ShimSpawner::identity_file) of the
    /// same path removes it.
    ///
    /// # Errors
    ///
    /// Those of the file system, and
    ///
    /// - [`InvalidInput`](io::ErrorKind::InvalidInput): `path` ends with a slash, `.` or `..`, or
    ///   has a NUL byte. Every other name is allowed;
    /// - `EBUSY`: sixteen other writers are writing to this path at this moment.
    ///
    /// After an error, `path` is unchanged and no other file is left. There is one exception: if
    /// the sync of the folder itself failed, `path` has the new identity, which may not survive a
    /// power cut.
    pub fn save(&self, path: impl AsRef<Path>) -> io::Result<()> {
        let place = Place::open(path.as_ref(), Purpose::Write)?;
        place.sweep();
        Ok(place.write(self.compose().as_bytes())?)
    }

    /// Reads what [`save`](ShimIdentity::save) or
    /// [`identity_file`](crate::ShimSpawner::identity_file) wrote, if no other user can have
    /// written it.
    ///
    /// An identity decides which process is signalled. So a file is refused if another user could
    /// have written it. It is accepted if all of this is true:
    ///
    /// - the file and its folder belong to root or to the effective user of this process,
    /// - only its owner may write to the file (mode `0o022` is not set, which includes ACLs),
    /// - only its owner may write to the folder, or the folder has the sticky bit, as `/tmp` has.
    ///
    /// Whether to trust the folders above is up to the caller. A symbolic link is not followed.
    ///
    /// # Errors
    ///
    /// [`IdentityError`] names the file, what is wrong and, if it is a field, the field. A file
    /// that is refused is [`Untrusted`](IdentityErrorKind::Untrusted). Whatever the file contains,
    /// the result is never an identity that was not saved.
    pub fn load(path: impl AsRef<Path>) -> Result<ShimIdentity, IdentityError> {
        load(path.as_ref(), Trust::Owners)
    }

    /// The same, whoever could have written the file. The result may be a real process that the
    /// writer of the file chose. Adopt it only if you would let that user choose what you signal.
    ///
    /// # Errors
    ///
    /// As [`load`](ShimIdentity::load), without `Untrusted`.
    pub fn load_untrusted(path: impl AsRef<Path>) -> Result<ShimIdentity, IdentityError> {
        load(path.as_ref(), Trust::Anybody)
    }
}

/// Who may have written a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trust {
    Owners,
    Anybody,
}

fn load(path: &Path, trust: Trust) -> Result<ShimIdentity, IdentityError> {
    let read = || {
        let place = Place::open(path, Purpose::Read).map_err(IdentityErrorKind::Io)?;
        place.sweep();
        let file = open(&place)?;
        if trust == Trust::Owners {
            check_owners(&place, &file)?;
        }
        text::parse(&read(file)?)
    };
    read().map_err(|kind| IdentityError {
        path: Some(path.to_owned()),
        kind,
    })
}

/// The content of the file at `place`, if it can be an identity.
pub(super) fn contents(place: &Place) -> Result<Vec<u8>, IdentityErrorKind> {
    read(open(place)?)
}

fn open(place: &Place) -> Result<File, IdentityErrorKind> {
    let file = place.read().map_err(|errno| match errno {
        // A symbolic link, or a socket.
        Errno::LOOP | Errno::NXIO => IdentityErrorKind::NotAFile,
        errno => IdentityErrorKind::Io(errno.into()),
    })?;
    if FileType::from_raw_mode(stat(&file)?.st_mode) != FileType::RegularFile {
        return Err(IdentityErrorKind::NotAFile);
    }
    Ok(File::from(file))
}

fn read(file: File) -> Result<Vec<u8>, IdentityErrorKind> {
    let mut text = Vec::new();
    let size = file
        .take(MAX_SIZE + 1)
        .read_to_end(&mut text)
        .map_err(IdentityErrorKind::Io)?;
    if size as u64 > MAX_SIZE {
        return Err(IdentityErrorKind::TooLarge);
    }
    Ok(text)
}

fn check_owners(place: &Place, file: &File) -> Result<(), IdentityErrorKind> {
    const OTHERS_WRITE: u32 = 0o022;
    const STICKY: u32 = 0o1000;
    let user = sys::effective_user().map_err(|errno| IdentityErrorKind::Io(errno.into()))?;
    let check = |stat: Stat, folder: bool| {
        let (owner, mode) = (stat.st_uid, stat.st_mode & 0o7777);
        let writers = mode & OTHERS_WRITE != 0 && !(folder && mode & STICKY != 0);
        if writers || (owner != 0 && owner != user) {
            return Err(IdentityErrorKind::Untrusted {
                folder,
                owner,
                mode,
            });
        }
        Ok(())
    };
    check(stat(file)?, false)?;
    check(stat(place.folder())?, true)
}

fn stat(file: impl std::os::fd::AsFd) -> Result<Stat, IdentityErrorKind> {
    fstat(file).map_err(|errno| IdentityErrorKind::Io(errno.into()))
}
