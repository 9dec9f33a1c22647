//! `cargo xtask kernels`: the tests on real kernels, each in an emulated machine.

mod apt;
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
    "demo",
    "process_cases",
    "shim_life",
    "shim_methods",
    "watchdog_death",
    "watchdog_sentinel",
];

/// Under emulation. It only bounds a failure.
const SLOWNESS: u32 = 10;

/// In minutes.
const LIMIT: u64 = 90;

/// The tests on real kernels, each in an emulated machine
///
/// The kernels are Debian's packages. Nothing is installed: they are unpacked below the target
/// folder.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// 5.10, 6.1, 6.12, newest; all of them if none is named
    #[arg(value_name = "KERNEL")]
    kernels: Vec<Kernel>,
    /// Watchdog, spawn and demo alone, on the oldest kernel and the newest
    #[arg(long, conflicts_with_all = ["kernels", "only"])]
    quick: bool,
    /// Only the tests in this file of tests/tests
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// Write the page of kernels in docs, from this run and the last one on each other kernel
    #[arg(long, conflicts_with = "only")]
    page: bool,
    /// How much longer the tests wait than on a machine that is not emulated
    #[arg(long, value_name = "FACTOR", default_value_t = SLOWNESS)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    slowness: u32,
    /// When a machine is switched off, in minutes
    #[arg(long, value_name = "MINUTES", default_value_t = LIMIT)]
    limit: u64,
}

impl Args {
    pub(crate) fn run(&self) -> Result<()> {
        let kernels = self.kernels();
        needed::check()?;
        let interrupt = Interrupt::catch()?;
        let shell = shell::shell()?;
        let lab = Lab::prepare(&shell, Arch::Amd64, &self.tests())?;
        let job = self.job(&lab);
        let mut prepared = Vec::new();
        for kernel in kernels {
            interrupt.check()?;
            prepared.push(lab.kernel(&shell, kernel, &job)?);
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

    /// The tests that are to run, by the names that cargo knows them by; none stands for all.
    fn tests(&self) -> Vec<&str> {
        if self.quick {
            return QUICK.to_vec();
        }
        self.only.iter().map(String::as_str).collect()
    }

    fn job(&self, lab: &Lab) -> Job {
        let mut job = Job::new(&lab.places, self.slowness);
        for tests in &lab.programs.tests {
            job.tests(tests);
        }
        if self.quick || self.only.is_empty() {
            job.demo(&lab.programs);
        }
        job
    }
}
