//! A disk of an emulated machine: a folder as a file system in a file.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use xshell::{Shell, cmd};

/// Room beyond what is in the folder, in MiB. The file is sparse: room that nobody takes costs
/// nothing.
const ROOM: u64 = 2048;

/// The file, beside the folder.
///
/// All files in it belong to root. Nothing is mounted.
pub(super) fn make(shell: &Shell, folder: &Path) -> Result<PathBuf> {
    let image = folder.with_extension("img");
    let used = cmd!(shell, "du -sm {folder}").quiet().read()?;
    let used = used.split_whitespace().next().unwrap_or_default();
    let used: u64 = used.parse().context("read du's answer")?;
    let size = format!("{}M", used + used / 4 + ROOM);
    shell.remove_path(&image)?;
    let mke2fs = ["mke2fs", "-q", "-t", "ext4", "-m", "0", "-d"];
    let made = cmd!(
        shell,
        "unshare --map-root-user {mke2fs...} {folder} {image} {size}"
    );
    let made = made.quiet().env("PATH", path()).run();
    made.with_context(|| format!("make a file system of {}", folder.display()))?;
    Ok(image)
}

/// With the folders of root's programs.
fn path() -> String {
    let path = std::env::var("PATH").unwrap_or_default();
    format!("{path}:/usr/sbin:/sbin")
}
