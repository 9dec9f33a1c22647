//! What the machines need: prepared once for all kernels of an architecture.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use xshell::Shell;

use super::apt::{Apt, Mirror};
use super::job::Job;
use super::kernel::{Arch, Kernel};
use super::programs::Programs;
use super::run::Prepared;
use super::{initrd, system};
use crate::shell;

#[derive(Debug)]
pub(super) struct Lab {
    arch: Arch,
    folder: PathBuf,
    mirror: Mirror,
    system: PathBuf,
    busybox: PathBuf,
    pub(super) programs: Programs,
    work: PathBuf,
    /// What of the disk with the tests is at the path that it has here.
    pub(super) places: Vec<PathBuf>,
}

impl Lab {
    /// With these tests alone, or with all if none is named.
    pub(super) fn prepare(shell: &Shell, arch: Arch, tests: &[&str]) -> Result<Lab> {
        let folder = shell::target().join("kernels");
        let own = folder.join(arch.machine());
        fs::create_dir_all(&own).context("make a folder for machines")?;
        let mirror = Mirror::of_this_machine(shell)?;
        let apt = Apt::open(shell, &folder.join("apt"), &mirror, &mirror.suite, arch)?;
        let (system, busybox) = system::make(shell, &apt, &own)?;
        let programs = Programs::build(shell, tests)?;
        let (work, places) = programs.disk(shell, &own)?;
        Ok(Lab {
            arch,
            folder,
            mirror,
            system,
            busybox,
            programs,
            work,
            places,
        })
    }

    pub(super) fn kernel(&self, shell: &Shell, kernel: Kernel, job: &Job) -> Result<Prepared> {
        let folder = self.folder.join(kernel.id());
        fs::create_dir_all(&folder)?;
        let (image, modules) = self.boot_files(shell, kernel, &folder)?;
        let initrd = folder.join("initrd");
        initrd::make(shell, &modules, &self.busybox, job.text(), &initrd)?;
        Ok(Prepared {
            kernel,
            image,
            initrd,
            disks: [self.system.clone(), self.work.clone()],
            console: folder.join("console"),
            programs: job.programs,
        })
    }

    /// The kernel, and the folder with its modules.
    ///
    /// A kernel is several packages, which differ from version to version. The one that depends on
    /// all of them has the same name in each.
    fn boot_files(
        &self,
        shell: &Shell,
        kernel: Kernel,
        folder: &Path,
    ) -> Result<(PathBuf, PathBuf)> {
        let packages = self.folder.join("apt");
        let apt = Apt::open(shell, &packages, &self.mirror, kernel.suite, self.arch)?;
        let name = format!("linux-image-cloud-{}", self.arch.debian());
        let of_the_kernel = |name: &str| name.starts_with("linux-");
        let packages = apt.fetch(shell, "kernel", &[&name], of_the_kernel)?;
        let root = folder.join("unpacked");
        shell.remove_path(&root)?;
        fs::create_dir_all(&root)?;
        for package in packages {
            package.unpack(&root)?;
        }
        for entry in fs::read_dir(root.join("boot")).context("look for a kernel")? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with("vmlinuz") {
                return Ok((entry.path(), root));
            }
        }
        bail!("the packages of {kernel} have no kernel")
    }
}
