//! `cargo xtask kernels`: the tests on real kernels, each in an emulated machine.

mod apt;
mod cross;
mod disk;
mod initrd;
mod job;
mod kernel;
mod lab;
mod machine;
mod needed;
mod page;
mod programs;
mod result;
mod run;
mod summary;
mod system;

use std::time::Duration;

use anyhow::{Result, bail};

use crate::long::Interrupt;
use crate::shell;
use job::Job;
use kernel::{Arch, Kernel};
use lab::Lab;

/// A part that has the main promises, and fits in minutes.
const QUICK: [&str; 6] = [
    "tests::demo",
    "tests::process_cases",
    "tests::shim_life",
    "tests::shim_methods",
    "tests::watchdog_death",
    "tests::watchdog_sentinel",
];

/// Under emulation. It only bounds a failure.
const SLOWNESS: u32 = 10;

/// In minutes.
const LIMIT: u64 = 90;

/// The tests on real kernels, each in an emulated machine
///
/// The kernels are Debian's packages. Nothing is installed: they are unpacked below the target
/// folder.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct Args {
    /// 5.10, 6.1, 6.12, newest, 6.1:aarch64; all of them if none is named
    #[arg(value_name = "KERNEL")]
    kernels: Vec<Kernel>,
    /// Watchdog, spawn and demo alone, on the oldest kernel and the newest
    #[arg(long, conflicts_with_all = ["kernels", "only"])]
    quick: bool,
    /// Only the tests with one of these in the names of their programs
    #[arg(long, value_name = "PART")]
    only: Vec<String>,
    /// Write docs/kernels.md, from this run and the last one on each other kernel
    #[arg(long, conflicts_with = "only")]
    page: bool,
    /// How much longer the tests wait than on a machine that is not emulated
    #[arg(long, value_name = "FACTOR", default_value_t = SLOWNESS, value_parser = clap::value_parser!(u32).range(1..))]
    slowness: u32,
    /// When a machine is switched off, in minutes
    #[arg(long, value_name = "MINUTES", default_value_t = LIMIT)]
    limit: u64,
}

/// The quick part, with all its defaults. Says so where this machine cannot.
pub(crate) fn quick() -> Result<()> {
    let args = Args {
        quick: true,
        slowness: SLOWNESS,
        limit: LIMIT,
        ..Args::default()
    };
    if let Err(error) = needed::check(&args.kernels()) {
        eprintln!("skipped: no emulated machines: {error:#}");
        return Ok(());
    }
    args.run()
}

impl Args {
    pub(crate) fn run(&self) -> Result<()> {
        let kernels = self.kernels();
        needed::check(&kernels)?;
        let interrupt = Interrupt::catch()?;
        let shell = shell::shell()?;
        let mut prepared = Vec::new();
        for arch in [Arch::Amd64, Arch::Arm64] {
            let kernels = kernels.iter().filter(|kernel| kernel.arch == arch);
            let kernels: Vec<_> = kernels.collect();
            if kernels.is_empty() {
                continue;
            }
            let lab = Lab::prepare(&shell, arch)?;
            let job = self.job(&lab);
            for kernel in kernels {
                interrupt.check()?;
                prepared.push(lab.kernel(&shell, *kernel, &job)?);
            }
        }
        let limit = Duration::from_secs(60 * self.limit);
        let results = run::all(&prepared, limit, &interrupt)?;
        let kernels = prepared.iter().map(|prepared| prepared.kernel);
        let results: Vec<_> = kernels.zip(results).collect();
        if self.page {
            let part = if self.quick { "quick" } else { "everything" };
            page::keep(&shell, part, &results)?;
            page::write()?;
        }
        println!("{}", summary::of(&results));
        let failed: usize = results
            .iter()
            .map(|(_, results)| results.failed.len())
            .sum();
        if failed > 0 {
            bail!("{failed} tests failed");
        }
        Ok(())
    }

    fn kernels(&self) -> Vec<Kernel> {
        if self.quick {
            Kernel::oldest_and_newest().to_vec()
        } else if self.kernels.is_empty() {
            kernel::ALL.to_vec()
        } else {
            self.kernels.clone()
        }
    }

    fn job(&self, lab: &Lab) -> Job {
        let mut job = Job::new(&lab.places, self.slowness);
        for tests in &lab.programs.tests {
            if self.is_wanted(&tests.name) {
                job.tests(tests);
            }
        }
        if self.is_wanted("demo") {
            job.demo(&lab.programs);
        }
        job
    }

    fn is_wanted(&self, name: &str) -> bool {
        if self.quick {
            return QUICK.contains(&name) || name == "demo";
        }
        self.only.is_empty() || self.only.iter().any(|part| name.contains(part))
    }
}
