//! An identity in a file: the old one or the new one, never half of one.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use rustix::fs::{FileType, Stat, fstat};
use rustix::io::Errno;

use super::place::{Place, Purpose};
use super::{IdentityError, IdentityErrorKind, ShimIdentity, text};
use crate::sys;

/// Many times what an identity has, and little enough to read whatever the file is.
const MAX_SIZE: u64 = 4096;

impl ShimIdentity {
    /// Writes the identity to `path`, in place of what was there. A reader, or the next start after
    /// a crash, finds the old identity or this one, whole: it is written and synced beside the
    /// file, in the same folder, then renamed. The file is its owner's alone (mode 0600). A
    /// symbolic link at `path` is replaced, not followed.
    ///
    /// A writer that is killed half-way may leave that other file behind,
    /// `.shim-identity-HASH.NN.tmp`. Nobody reads it, and the next `save`,
    /// [`load`](ShimIdentity::load) or
    /// [`identity_file`](crate::ShimSpawner::identity_file) of the same path removes it.
    ///
    /// # Errors
    ///
    /// Those of the file system, and
    ///
    /// - [`InvalidInput`](io::ErrorKind::InvalidInput): `path` ends with a slash, `.` or `..`, or
    ///   has a NUL byte. Every other name is as good as any;
    /// - `EBUSY`: sixteen others are writing to this path at this moment.
    ///
    /// `path` is then unchanged, and nothing is left beside it; after an error in syncing the
    /// folder itself, `path` has the new identity, which may not survive a power cut.
    pub fn save(&self, path: impl AsRef<Path>) -> io::Result<()> {
        let place = Place::open(path.as_ref(), Purpose::Write)?;
        place.sweep();
        Ok(place.write(self.compose().as_bytes())?)
    }

    /// Reads what [`save`](ShimIdentity::save) or
    /// [`identity_file`](crate::ShimSpawner::identity_file) wrote, if nobody else can have written
    /// it.
    ///
    /// An identity says which process is signalled, so a file is refused that another user could
    /// have written. That is so unless
    ///
    /// - the file and its folder belong to root or to the effective user of this process,
    /// - only its owner may write to the file (mode `0o022` is not set, which holds for ACLs too),
    /// - only its owner may write to the folder, or the folder has the sticky bit, as `/tmp` has.
    ///
    /// Folders above that one are the caller's to trust. A symbolic link is not followed.
    ///
    /// # Errors
    ///
    /// [`IdentityError`] names the file, what is wrong and, where it is one, the field;
    /// [`Untrusted`](IdentityErrorKind::Untrusted) is said of a file that was refused. Whatever the
    /// file holds, it never gives an identity that was not saved.
    pub fn load(path: impl AsRef<Path>) -> Result<ShimIdentity, IdentityError> {
        load(path.as_ref(), Trust::Owners)
    }

    /// The same, whoever could have written the file. What comes of it is a real process that the
    /// writer of the file chose: adopt it only if you would let that user choose what you signal.
    ///
    /// # Errors
    ///
    /// As [`load`](ShimIdentity::load), without `Untrusted`.
    pub fn load_untrusted(path: impl AsRef<Path>) -> Result<ShimIdentity, IdentityError> {
        load(path.as_ref(), Trust::Anybody)
    }
}

/// Who may have written a file that is read.
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

/// What is at `place`, if it can be an identity.
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
