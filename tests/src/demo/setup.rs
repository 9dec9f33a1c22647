//! What the front gives to the director, and where in the run's folder things are.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::actors::Actors;
use super::options::Options;
use super::probe;
use super::wire::{Plan, ShimPlan, TreePlan};

/// The tree in all its places: the timeline, the log, errors.
pub(super) const TREE: &str = "tree";
/// Between the stop signal and SIGKILL, for the tree's worker, which ignores the first.
pub(super) const TREE_GRACE: Duration = Duration::from_millis(300);

/// Lines of a log that stand behind an error.
const LAST_WORDS: usize = 3;

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Setup {
    /// The run's own folder; its path is the run's mark too.
    pub(super) run: PathBuf,
    pub(super) actors: Actors,
    pub(super) options: Options,
    pub(super) colour: bool,
}

impl Setup {
    /// The shims to start, on ports that are free.
    pub(super) fn plan(&self) -> Result<Plan> {
        let mut ports = probe::free_ports(self.attached() + 2).context("find free ports")?;
        let tree = self.tree(ports.pop().context("a port")?);
        let shims = ports.into_iter().enumerate();
        Ok(Plan {
            shim: self.actors.shim.clone(),
            identity: self.run.join("detached.identity"),
            shims: shims.map(|(index, port)| self.shim(index, port)).collect(),
            tree,
        })
    }

    fn attached(&self) -> usize {
        self.options.attached.into()
    }

    /// The attached ones come first, the detached one is the last.
    fn shim(&self, index: usize, port: u16) -> ShimPlan {
        let detached = index == self.attached();
        let name = if detached {
            "detached".to_owned()
        } else {
            format!("attached {}", index + 1)
        };
        let built_in = self.actors.http_server.to_string_lossy();
        ShimPlan {
            detached,
            command: self.options.command(&built_in, port),
            port,
            log: self.log(&name),
            messages: self.socket(),
            name,
        }
    }

    /// A server of ours in any case: only of this one is known that it has a worker, and what it
    /// prints.
    fn tree(&self, port: u16) -> TreePlan {
        let server = self.actors.http_server.to_string_lossy().into_owned();
        TreePlan {
            supervisor: self.supervisor(),
            command: vec![server, port.to_string(), "with-worker".to_owned()],
            port,
            log: self.log(TREE),
            status: self.status(),
            grace: TREE_GRACE,
        }
    }

    /// The program `watchdog-shim`, by its own name.
    pub(super) fn supervisor(&self) -> PathBuf {
        self.run.join("watchdog-shim")
    }

    /// The named pipe with what `watchdog-shim` says.
    pub(super) fn status(&self) -> PathBuf {
        self.run.join("tree.status")
    }

    /// Where the messages arrive.
    pub(super) fn socket(&self) -> PathBuf {
        self.run.join("messages")
    }

    /// Where the output of an actor goes, or that of the program behind it.
    pub(super) fn log(&self, who: &str) -> PathBuf {
        self.run.join(format!("{who}.log"))
    }

    /// The end of what was printed there, to stand behind an error.
    pub(super) fn last_words(&self, who: &str) -> String {
        let log = std::fs::read(self.log(who)).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().filter(|line| !line.trim().is_empty()).collect();
        if lines.is_empty() {
            return String::new();
        }
        let last = lines[lines.len().saturating_sub(LAST_WORDS)..].join("\n  ");
        format!("; its last words:\n  {last}")
    }
}
