//! `cargo xtask kernels`: the tests on real kernels, each in an emulated machine.

mod apt;
mod cross;
mod disk;
mod initrd;
mod job;
mod kernel;
mod machine;
mod needed;
mod programs;
mod result;
mod system;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use xshell::Shell;

use crate::shell;
use apt::{Apt, Mirror};
use job::Job;
use kernel::{Arch, Kernel};
use machine::Machine;
use programs::Programs;
use result::Results;

/// The tests on real kernels, each in an emulated machine
///
/// The kernels are Debian's packages. Nothing is installed: they are unpacked below the target
/// folder.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// 5.10, 6.1, 6.12, newest, 6.1:aarch64; all of them if none is named
    #[arg(value_name = "KERNEL")]
    kernels: Vec<Kernel>,
    /// Only the tests with one of these in the names of their programs
    #[arg(long, value_name = "PART")]
    only: Vec<String>,
    /// How much longer the tests wait than on a machine that is not emulated
    #[arg(long, value_name = "FACTOR", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    slowness: u32,
}

impl Args {
    pub(crate) fn run(&self) -> Result<()> {
        let kernels = if self.kernels.is_empty() {
            kernel::ALL.to_vec()
        } else {
            self.kernels.clone()
        };
        needed::check(&kernels)?;
        let shell = shell::shell()?;
        let folder = shell::target().join("kernels");
        fs::create_dir_all(&folder).context("make a folder for kernels")?;
        let mirror = Mirror::of_this_machine(&shell)?;
        let mut failed = 0;
        for kernel in &kernels {
            let lab = Lab::prepare(&shell, &folder, &mirror, kernel.arch)?;
            let results = self.run_on(&shell, &lab, &mirror, kernel)?;
            println!(
                "{kernel} ({}): {} passed, {} failed, {} skipped something, {} s",
                results.release,
                results.passed,
                results.failed.len(),
                results.skipped.len(),
                results.seconds,
            );
            for (name, why) in &results.failed {
                println!("FAILED {name}\n{why}\n");
            }
            for (name, why) in &results.skipped {
                println!("skipped something: {name}: {why:?}");
            }
            failed += results.failed.len();
        }
        if failed > 0 {
            bail!("{failed} tests failed");
        }
        Ok(())
    }

    fn run_on(
        &self,
        shell: &Shell,
        lab: &Lab,
        mirror: &Mirror,
        kernel: &Kernel,
    ) -> Result<Results> {
        let folder = lab.folder.join(kernel.id());
        fs::create_dir_all(&folder)?;
        let (image, modules) = boot_files(shell, &lab.folder, mirror, kernel)?;
        let mut job = Job::new(&lab.places, self.slowness);
        for tests in &lab.programs.tests {
            if self.is_wanted(&tests.name) {
                job.tests(tests);
            }
        }
        if self.is_wanted("demo") {
            job.demo(&lab.programs);
        }
        let initrd = folder.join("initrd");
        initrd::make(shell, &modules, &lab.busybox, job.text(), &initrd)?;
        let console = folder.join("console");
        let machine = Machine {
            arch: kernel.arch,
            kernel: &image,
            initrd: &initrd,
            disks: [&lab.system, &lab.work],
            console: &console,
            limit: Duration::from_secs(3600),
        };
        machine.run(|ended| {
            eprintln!(
                "{kernel}: {} {} s, {} failed",
                ended.name, ended.seconds, ended.failures
            );
        })
    }

    fn is_wanted(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|part| name.contains(part))
    }
}

/// The kernel and its modules.
fn boot_files(
    shell: &Shell,
    folder: &Path,
    mirror: &Mirror,
    kernel: &Kernel,
) -> Result<(PathBuf, PathBuf)> {
    let apt = Apt::open(
        shell,
        &folder.join("apt"),
        mirror,
        kernel.suite,
        kernel.arch,
    )?;
    let name = format!("linux-image-cloud-{}", kernel.arch.debian());
    let packages = apt.fetch(shell, "kernel", &[&name])?;
    let root = folder.join(kernel.id()).join("unpacked");
    shell.remove_path(&root)?;
    fs::create_dir_all(&root)?;
    for package in packages {
        if package.name.starts_with("linux-") {
            package.unpack(&root)?;
        }
    }
    for entry in fs::read_dir(root.join("boot")).context("look for the kernel")? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with("vmlinuz") {
            return Ok((entry.path(), root));
        }
    }
    bail!("the packages have no kernel")
}

/// What all kernels of an architecture need.
#[derive(Debug)]
struct Lab {
    folder: PathBuf,
    system: PathBuf,
    busybox: PathBuf,
    programs: Programs,
    work: PathBuf,
    places: Vec<PathBuf>,
}

impl Lab {
    fn prepare(shell: &Shell, folder: &Path, mirror: &Mirror, arch: Arch) -> Result<Lab> {
        let apt = Apt::open(shell, &folder.join("apt"), mirror, &mirror.suite, arch)?;
        let own = folder.join(arch.machine());
        fs::create_dir_all(&own)?;
        let (system, busybox) = system::make(shell, &apt, &own)?;
        let programs = Programs::build(shell, None)?;
        let (work, places) = programs.disk(shell, &own, arch)?;
        Ok(Lab {
            folder: folder.to_owned(),
            system,
            busybox,
            programs,
            work,
            places,
        })
    }
}
