//! Programs of the system that a test runs.

use std::env;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Whether all of these programs are here. Says so of each that is not.
#[must_use]
pub fn installed(names: &[&str]) -> bool {
    let missing = names.iter().filter(|name| path_of(name).is_none());
    missing
        .inspect(|name| eprintln!("skipped: {name} is not installed"))
        .count()
        == 0
}

/// Where a program is: on `PATH`, or among those that only root runs.
#[must_use]
pub fn path_of(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&path).chain(["/usr/sbin", "/sbin"].map(PathBuf::from));
    folders
        .map(|folder| folder.join(name))
        .find(|file| is_executable(file))
}

fn is_executable(file: &Path) -> bool {
    file.metadata()
        .is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
}
