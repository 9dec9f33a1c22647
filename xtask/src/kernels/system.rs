//! The system that the kernels start: packages of Debian's, unpacked, with the guest's script.
//!
//! No package is configured: what its scripts would do is not needed here.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use xshell::Shell;

use super::apt::{Apt, Package};
use super::disk;

/// What the tests run. busybox is the init, and fills the gaps.
const PACKAGES: [&str; 24] = [
    "base-passwd",
    "bash",
    "bubblewrap",
    "busybox-static",
    "coreutils",
    "dash",
    "dumb-init",
    "findutils",
    "grep",
    "hostname",
    "less",
    "libc6",
    "libgcc-s1",
    "make",
    "mount",
    "procps",
    "psmisc",
    "python3-minimal",
    "sed",
    "strace",
    "systemd",
    "tini",
    "util-linux",
    "zsh",
];

const GUEST: &str = include_str!("guest.sh");

/// Folders of the root that are links since Debian 12; links into folders that are empty at first.
const LINKS: [&str; 5] = ["bin", "lib", "lib32", "lib64", "sbin"];

const FOLDERS: [&str; 10] = [
    "dev", "etc", "proc", "root", "run", "sys", "tmp", "usr", "var/tmp", "work",
];

/// The disk, and busybox for the initrd. Made anew when a package or the script has changed.
pub(super) fn make(shell: &Shell, apt: &Apt, folder: &Path) -> Result<(PathBuf, PathBuf)> {
    let packages = apt.fetch(shell, "system", &PACKAGES, |_| true)?;
    let root = folder.join("system");
    let busybox = root.join("usr/bin/busybox");
    let image = root.with_extension("img");
    let made_of = made_of(&packages);
    let stamp = folder.join("system.stamp");
    if image.exists() && fs::read_to_string(&stamp).is_ok_and(|stamp| stamp == made_of) {
        return Ok((image, busybox));
    }
    shell.remove_path(&stamp)?;
    shell.remove_path(&root)?;
    lay_out(&root).context("make the root folder of a system")?;
    for package in &packages {
        package.unpack(&root)?;
    }
    accounts(&root).context("make the accounts of a system")?;
    fs::write(root.join("guest.sh"), GUEST)?;
    fs::write(
        root.join("etc/inittab"),
        "::sysinit:/usr/bin/busybox sh /guest.sh\n",
    )?;
    let image = disk::make(shell, &root)?;
    fs::write(stamp, made_of)?;
    Ok((image, busybox))
}

fn made_of(packages: &[Package]) -> String {
    let files = packages.iter().map(Package::file_name);
    files.collect::<Vec<_>>().join("\n") + GUEST
}

fn lay_out(root: &Path) -> Result<()> {
    for folder in FOLDERS {
        fs::create_dir_all(root.join(folder))?;
    }
    for link in LINKS {
        let target = format!("usr/{link}");
        fs::create_dir_all(root.join(&target))?;
        symlink(target, root.join(link))?;
    }
    Ok(())
}

/// As the packages' own scripts make them.
fn accounts(root: &Path) -> Result<()> {
    let etc = root.join("etc");
    for name in ["passwd", "group"] {
        let master = root.join(format!("usr/share/base-passwd/{name}.master"));
        fs::copy(master, etc.join(name))?;
    }
    fs::write(etc.join("hosts"), "127.0.0.1 localhost\n")?;
    Ok(())
}
