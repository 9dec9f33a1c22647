//! Programs of this machine that the verb cannot do without.

use std::env;
use std::path::Path;

use anyhow::{Result, bail};

/// A program, and the package of Debian's that has it.
const NEEDED: [(&str, &str); 10] = [
    ("apt-get", "apt"),
    ("cpio", "cpio"),
    ("dpkg-deb", "dpkg"),
    ("gzip", "gzip"),
    ("mke2fs", "e2fsprogs"),
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("strip", "binutils"),
    ("tar", "tar"),
    ("unshare", "util-linux"),
    ("xz", "xz-utils"),
];

/// All at once, so that they are installed at once.
pub(super) fn check() -> Result<()> {
    let missing = NEEDED.iter().filter(|(program, _)| !is_here(program));
    let missing: Vec<String> = missing
        .map(|(program, package)| format!("{program} (Debian package {package})"))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    bail!("not installed: {}", missing.join(", "))
}

fn is_here(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&path).collect::<Vec<_>>();
    // Where programs are that only root runs.
    let more = ["/usr/sbin", "/sbin"].map(Path::new);
    let mut folders = folders.iter().map(AsRef::as_ref).chain(more);
    folders.any(|folder: &Path| folder.join(program).is_file())
}
