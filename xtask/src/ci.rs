//! `cargo xtask ci`: the one definition of what has to pass before a merge.

use anyhow::{Context, Result};
use clap::ValueEnum;
use xshell::cmd;

use crate::{bench, demo, lint, loom, shell, test};

/// What has to pass before a merge: every step, one after the other
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Leave this one out: whoever runs it otherwise need not run it twice
    #[arg(long, value_name = "STEP")]
    skip: Vec<Step>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Step {
    /// Format, clippy, documentation, dependencies: a warning is an error
    Lint,
    /// The benchmarks compile
    Bench,
    /// The main job on real programs
    Demo,
    /// What `cargo install` makes of watchdog-shim runs
    Install,
    /// Every order of events in the watcher's registry and in the sentinel's slots
    Loom,
    /// Every test and doc test. The last, so that the last lines are the test runner's own
    Test,
}

impl Args {
    pub(crate) fn run(&self) -> Result<()> {
        let steps = Step::value_variants().iter();
        for step in steps.filter(|step| !self.skip.contains(step)) {
            step.run().with_context(|| format!("ci: {step:?} failed"))?;
        }
        Ok(())
    }
}

impl Step {
    fn run(self) -> Result<()> {
        match self {
            Step::Lint => lint::run(),
            Step::Bench => bench::compile(),
            Step::Demo => demo::Args::default().run(),
            Step::Install => install(),
            Step::Loom => loom::Args::default().run(),
            Step::Test => test::Args::default().run(),
        }
    }
}

/// Word for word as watchdog-shim's front page says.
fn install() -> Result<()> {
    let shell = shell::shell()?;
    let root = shell.create_temp_dir()?;
    let root = root.path();
    let install = cmd!(
        shell,
        "cargo install --quiet --locked --path watchdog-shim --profile shim --root {root}"
    );
    shell::run(install)?;
    shell::run(cmd!(shell, "{root}/bin/watchdog-shim -- true"))
}
