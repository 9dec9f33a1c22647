//! Programs of this machine that the verb cannot do without.

use std::env;
use std::path::Path;

use anyhow::{Result, bail};

use super::kernel::{Arch, Kernel};

/// A program, and the package of Debian's that has it.
const ALWAYS: [(&str, &str); 8] = [
    ("apt-get", "apt"),
    ("cpio", "cpio"),
    ("dpkg-deb", "dpkg"),
    ("gzip", "gzip"),
    ("mke2fs", "e2fsprogs"),
    ("strip", "binutils"),
    ("tar", "tar"),
    ("unshare", "util-linux"),
];

const AMD64: [(&str, &str); 1] = [("qemu-system-x86_64", "qemu-system-x86")];

const ARM64: [(&str, &str); 3] = [
    ("qemu-system-aarch64", "qemu-system-arm"),
    ("aarch64-linux-gnu-gcc", "gcc-aarch64-linux-gnu"),
    ("aarch64-linux-gnu-strip", "binutils-aarch64-linux-gnu"),
];

/// All at once, so that they are installed at once.
pub(super) fn check(kernels: &[Kernel]) -> Result<()> {
    let mut needed = ALWAYS.to_vec();
    let has = |arch| kernels.iter().any(|kernel| kernel.arch == arch);
    if has(Arch::Amd64) {
        needed.extend(AMD64);
    }
    if has(Arch::Arm64) {
        needed.extend(ARM64);
    }
    let missing = needed.iter().filter(|(program, _)| !is_here(program));
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
