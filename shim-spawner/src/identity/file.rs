//! An identity in a file: the old one or the new one, never half of one.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::OFlags;
use rustix::io::Errno;

use super::{IdentityError, IdentityErrorKind, ShimIdentity, text};

/// Many times what an identity has, and little enough to read whatever the file is.
const MAX_SIZE: u64 = 4096;

impl ShimIdentity {
    /// Writes the identity to `path`, in place of what was there. A reader, or the next start after a
    /// crash, finds the old identity or this one, whole: it is written and synced beside the file,
    /// in the same folder, then renamed. The file is its owner's alone (mode 0600).
    ///
    /// A writer that is killed half-way may leave that other file behind, `.NAME.PID.N.tmp`; nobody
    /// reads it.
    ///
    /// # Errors
    ///
    /// Those of the file system. `path` is then unchanged, and nothing is left beside it; after an
    /// error in syncing the folder itself, `path` has the new identity, which may not survive a
    /// power cut.
    pub fn save(&self, path: &Path) -> io::Result<()> {
        let mut beside = Beside::create(path)?;
        beside.file.set_permissions(Permissions::from_mode(0o600))?;
        beside.file.write_all(self.to_string().as_bytes())?;
        beside.file.sync_all()?;
        beside.rename(path)?;
        sync_folder(path)
    }

    /// Reads what [`save`](ShimIdentity::save) wrote.
    ///
    /// # Errors
    ///
    /// [`IdentityError`] names the file, what is wrong and, where it is one, the field. Whatever the
    /// file holds, it never gives an identity that was not saved.
    pub fn load(path: &Path) -> Result<ShimIdentity, IdentityError> {
        read(path)
            .and_then(|text| text::parse(&text))
            .map_err(|kind| IdentityError {
                path: Some(path.to_owned()),
                kind,
            })
    }
}

fn read(path: &Path) -> Result<Vec<u8>, IdentityErrorKind> {
    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed();
    // NONBLOCK: without it, opening a pipe that nobody writes to would block.
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags)
        .open(path)
        .map_err(IdentityErrorKind::Io)?;
    if !file.metadata().map_err(IdentityErrorKind::Io)?.is_file() {
        return Err(IdentityErrorKind::NotAFile);
    }
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

/// The file that is written beside the one it will replace; removed when it did not come to that.
struct Beside {
    file: File,
    path: PathBuf,
    renamed: bool,
}

impl Beside {
    fn create(path: &Path) -> io::Result<Beside> {
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        loop {
            let path = path.with_file_name(unused_name(name));
            // create_new is O_EXCL: what is there already, a link included, is nobody's to overwrite.
            match OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&path)
            {
                Ok(file) => {
                    return Ok(Beside {
                        file,
                        path,
                        renamed: false,
                    });
                }
                // Left behind by a writer that was killed and had our pid.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn rename(&mut self, to: &Path) -> io::Result<()> {
        fs::rename(&self.path, to)?;
        self.renamed = true;
        Ok(())
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        if !self.renamed {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// `.NAME.PID.N.tmp`, another one at each call.
fn unused_name(name: &std::ffi::OsStr) -> OsString {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let mut unused = OsString::from(".");
    unused.push(name);
    unused.push(format!(
        ".{}.{}.tmp",
        process::id(),
        NEXT.fetch_add(1, Ordering::Relaxed)
    ));
    unused
}

/// Makes the rename last: it is a change of the folder, which has to be synced by itself, fsync(2).
fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    match File::open(folder)?.sync_all() {
        // A file system on which folders cannot be synced.
        Err(error) if error.raw_os_error() == Some(Errno::INVAL.raw_os_error()) => Ok(()),
        result => result,
    }
}
