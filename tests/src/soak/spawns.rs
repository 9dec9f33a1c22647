//! How the runtime of a soak spawns, and says how long things took.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use shim_spawner::{
    Contain, Engine, ShimHandler, ShimSpawner, SpawnError, Stage, Stdio, StopPolicy, Supervisor,
};

use super::wire::{Step, Told, say};
use crate::clock;
use crate::fd_table::fixture;

/// Longer than anything takes that obeys.
const GRACE: Duration = Duration::from_secs(20);

#[derive(Debug)]
pub(super) struct Spawns {
    pub(super) random: fastrand::Rng,
    /// Where identities are kept.
    pub(super) folder: PathBuf,
    shim: PathBuf,
    supervisor: PathBuf,
    /// Containments that this machine does not have.
    refused: Vec<Contain>,
}

impl Spawns {
    pub(super) fn new(seed: u64, folder: &Path) -> Spawns {
        Spawns {
            random: fastrand::Rng::with_seed(seed),
            folder: folder.to_owned(),
            shim: fixture("shim_box"),
            supervisor: fixture("shim_under_test"),
            refused: Vec::new(),
        }
    }

    /// A spawner of shims, by an engine that the seed chooses, and which engine it is.
    fn spawner(&mut self) -> (ShimSpawner, Engine) {
        let engine = self.random.choice([Engine::Vfork, Engine::Fork]);
        let engine = engine.unwrap_or(Engine::Vfork);
        let mut spawner = ShimSpawner::new(&self.shim);
        spawner
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stop_policy(StopPolicy::new().grace(GRACE))
            .engine(engine)
            .sentinel(self.random.bool());
        (spawner, engine)
    }

    /// A shim that has adopted its watchdog.
    pub(super) fn attached(&mut self) -> Result<ShimHandler> {
        let (mut spawner, engine) = self.spawner();
        let before = clock::now();
        let shim = spawner.spawn()?;
        let step = match engine {
            Engine::Fork => Step::Fork,
            _ => Step::Spawn,
        };
        took(step, before, clock::now())?;
        up(shim.into(), "attached")
    }

    /// A shim that has none, and the file that finds it again.
    pub(super) fn detached(&mut self, identity: &Path) -> Result<ShimHandler> {
        let (mut spawner, _) = self.spawner();
        let shim = spawner.detached(true).identity_file(identity).spawn()?;
        up(shim.into(), "detached")
    }

    /// A tree of a shell and two sleepers, one of which the shell knows nothing of any more; `None`
    /// where this machine cannot contain it so.
    pub(super) fn tree(&mut self, contain: Contain) -> Result<Option<ShimHandler>> {
        if self.refused.contains(&contain) {
            return Ok(None);
        }
        let supervisor = if self.random.bool() {
            Supervisor::this_program()
        } else {
            Supervisor::at(&self.supervisor)
        };
        let before = clock::now();
        let script = match contain {
            // What the program leaves behind is nobody's to stop.
            Contain::Nothing => "exec sleep 1000",
            _ => "(sleep 1000 &); exec sleep 1000",
        };
        match spawn_tree(script, supervisor.contain(contain)) {
            Ok(tree) => {
                took(Step::TreeSpawn, before, clock::now())?;
                Ok(Some(tree))
            }
            Err(error) if error.stage() == Stage::Supervisor && contain != Contain::Auto => {
                self.refused.push(contain);
                let why = format!("{contain:?}: {:#}", anyhow::Error::from(error));
                tell(&Told::Skipped { why })?;
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// A tree that starts an orphan every second, for as long as it lives.
    pub(super) fn lasting_tree(&self) -> Result<ShimHandler> {
        let script = "while :; do (sleep 0 &); sleep 1; done";
        Ok(spawn_tree(script, Supervisor::at(&self.supervisor))?)
    }
}

fn spawn_tree(script: &str, supervisor: Supervisor) -> Result<ShimHandler, SpawnError> {
    let mut spawner = ShimSpawner::new("/bin/sh");
    spawner.args(["-c", script]);
    spawner.stdin(Stdio::null()).stdout(Stdio::null());
    spawner.stop_policy(StopPolicy::new().grace(GRACE));
    Ok(spawner.supervised(supervisor).spawn()?.into())
}

/// Waits until the shim says what it is.
fn up(mut shim: ShimHandler, what: &str) -> Result<ShimHandler> {
    let mut said = String::new();
    let stdout = shim.take_stdout().context("its output is piped")?;
    BufReader::new(stdout).read_line(&mut said)?;
    ensure!(said.trim_end() == what, "a shim said {said:?}");
    Ok(shim)
}

/// Tells how long something took.
pub(super) fn took(step: Step, before: u64, after: u64) -> Result<()> {
    let ns = after.saturating_sub(before);
    tell(&Told::Took { step, ns })
}

pub(super) fn tell(what: &Told) -> Result<()> {
    say(&mut std::io::stdout(), what).context("the director listens")
}
