//! What a kernel starts first: busybox, the modules that reach a disk, and the job.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use xshell::{Shell, cmd};

/// In an order in which they can be loaded. Not each kernel has each as a module.
const MODULES: [&str; 10] = [
    "virtio",
    "virtio_ring",
    "virtio_anchor",
    "virtio_pci_legacy_dev",
    "virtio_pci_modern_dev",
    "virtio_pci",
    "virtio_blk",
    "virtio_console",
    "jbd2",
    "ext4",
];

/// Each is tried twice: some need one that stands behind them.
const INIT: &str = r#"#!/busybox sh
/busybox mount -t proc proc /proc
for m in $(/busybox cat /modules) $(/busybox cat /modules); do
    [ -f "/m/$m.ko" ] && /busybox insmod "/m/$m.ko" 2>/dev/null
done
/busybox mount -t devtmpfs dev /dev
until [ -b /dev/vdb ] && [ -e "$(echo /dev/vport*)" ]; do /busybox sleep 0.1; done
/busybox mount -t ext4 /dev/vda /root || /busybox poweroff -f
/busybox cp /job /root/job
/busybox umount /dev /proc
exec /busybox switch_root /root /usr/bin/busybox init
"#;

/// The file at `at`, from the modules below `kernel`.
pub(super) fn make(
    shell: &Shell,
    kernel: &Path,
    busybox: &Path,
    job: &str,
    at: &Path,
) -> Result<()> {
    let folder = shell.create_temp_dir()?;
    let folder = folder.path();
    for inner in ["dev", "m", "proc", "root"] {
        fs::create_dir(folder.join(inner))?;
    }
    fs::copy(busybox, folder.join("busybox")).context("copy busybox")?;
    let all = cmd!(shell, "find {kernel} -name *.ko -o -name *.ko.xz").quiet();
    let all = all.read().context("look for modules")?;
    let all: Vec<&Path> = all.lines().map(Path::new).collect();
    for module in MODULES {
        let plain = format!("{module}.ko");
        let named = |file: &&&Path| {
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            name.strip_suffix(".xz").unwrap_or(&name) == plain
        };
        if let Some(file) = all.iter().find(named) {
            unpack(file, &folder.join("m").join(&plain))?;
        }
    }
    fs::write(folder.join("modules"), MODULES.join(" "))?;
    fs::write(folder.join("job"), job)?;
    let init = folder.join("init");
    fs::write(&init, INIT)?;
    cmd!(shell, "chmod +x {init}").quiet().run()?;
    let pack = "find . | cpio --quiet -o -H newc -R 0:0 | gzip -1";
    let _inside = shell.push_dir(folder);
    let packed = Command::new("sh")
        .args(["-c", pack])
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(File::create(at)?)
        .status();
    ensure!(packed.context("run cpio")?.success(), "cpio failed");
    Ok(())
}

fn unpack(module: &Path, to: &PathBuf) -> Result<()> {
    if module.extension().is_some_and(|end| end == "ko") {
        fs::copy(module, to).context("copy a module")?;
        return Ok(());
    }
    let mut xz = Command::new("xz");
    xz.arg("-dc").arg(module).stdout(File::create(to)?);
    let done = xz.status().context("run xz")?;
    ensure!(done.success(), "xz cannot unpack {}", module.display());
    Ok(())
}
