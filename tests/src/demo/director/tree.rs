//! The unmodified tree under `watchdog-shim`: who is in it, and what its shim says.

use anyhow::{Context, Result, bail};

use super::Director;
use crate::clock;
use crate::demo::document::Kind;
use crate::demo::proc_fs;
use crate::demo::process::Process;
use crate::demo::setup::{TREE, TREE_GRACE};
use crate::demo::status::Said;

/// What the server prints when it has been asked to stop, and has.
const GOOD_ORDER: &str = "stopped in good order";

impl Director<'_> {
    pub(super) fn hear_shim_say(&mut self, said: &Said, at_ns: u64) -> Result<()> {
        let since_origin = Some(self.record.since_origin(at_ns));
        let killed = self.record.document.runtime.killed_ns.is_some();
        let runtime = self.record.document.runtime.pid;
        let tree = &mut self.record.document.tree;
        let (kind, text) = match said {
            Said::Started { pid } => {
                tree.shim_pids = between(runtime, *pid);
                tree.pid = tree.shim_pids.first().copied();
                tree.program_pid = Some(*pid);
                let text = format!(
                    "watchdog-shim started a server, pid {pid}, on port {}",
                    tree.port
                );
                (Kind::Started, text)
            }
            Said::Stopping { cause, grace_ms } => {
                tree.cause = Some(cause.clone());
                tree.learned_ns = since_origin;
                let text = format!("learned: {cause}; SIGTERM, and a grace of {grace_ms} ms");
                (Kind::Learned, text)
            }
            Said::Exited { code, .. } => {
                tree.exit_code = *code;
                if !killed {
                    let last_words = self.setup.last_words(TREE);
                    bail!("{TREE}: its server ended too early{last_words}");
                }
                return Ok(());
            }
            Said::Gone { killed } => {
                tree.killed = Some(*killed);
                return Ok(());
            }
            Said::Unkillable { count } => bail!("{TREE}: {count} processes do not die of SIGKILL"),
            Said::End if killed => return Ok(()),
            Said::End => {
                let last_words = self.setup.last_words(TREE);
                bail!("{TREE}: watchdog-shim ended while its runtime was alive{last_words}");
            }
        };
        let pid = tree.pid.unwrap_or_default();
        self.record.enter(at_ns, pid, TREE, kind, &text);
        Ok(())
    }

    /// Once the server answers: finds its worker, and watches the ends of all.
    pub(super) fn meet_the_tree(&mut self) -> Result<()> {
        let tree = &self.record.document.tree;
        let (shim, program) = (
            tree.pid.unwrap_or_default(),
            tree.program_pid.unwrap_or_default(),
        );
        let worker = proc_fs::all().into_iter().find(|stat| stat.ppid == program);
        let worker = worker.context("the server has no worker")?;
        let (worker, session) = (worker.pid, worker.session);
        if session != worker || !proc_fs::ignores_sigterm(worker) {
            bail!("{TREE}: the worker, pid {worker}, would not outlive its server");
        }
        // In the order in which they end, so that one look at all tells them in it.
        for pid in [program, worker, shim] {
            self.events.watch(pid)?;
        }
        self.record.document.tree.worker_pid = Some(worker);
        let text = "the server's worker: in a session of its own, ignores SIGTERM";
        self.record
            .enter(clock::now(), worker, TREE, Kind::Started, text);
        Ok(())
    }

    /// The end of one of the tree, or of its shim.
    pub(super) fn hear_tree_end(&mut self, process: Process, at_ns: u64) -> Result<()> {
        let pid = process.pid();
        let gone_ns = Some(self.record.since_origin(at_ns));
        let killed_ns = self.record.document.runtime.killed_ns;
        let tree = &mut self.record.document.tree;
        let text = if tree.program_pid == Some(pid) {
            tree.program_gone_ns = gone_ns;
            let said = std::fs::read_to_string(self.setup.log(TREE)).unwrap_or_default();
            tree.good_order = Some(said.lines().last() == Some(GOOD_ORDER));
            if tree.good_order == Some(true) {
                "server gone, stopped in good order"
            } else {
                "server gone"
            }
        } else if tree.worker_pid == Some(pid) {
            tree.worker_gone_ns = gone_ns;
            "worker gone, killed after the grace"
        } else {
            tree.gone_ns = gone_ns;
            if killed_ns.is_none() {
                bail!("{TREE}: watchdog-shim ended while its runtime was alive");
            }
            self.unreaped.push(process);
            "shim gone"
        };
        self.record.enter(at_ns, pid, TREE, Kind::Gone, text);
        Ok(())
    }

    /// What was promised of the tree, its survivors left out: they are counted.
    pub(super) fn judge_the_tree(&self) -> Result<()> {
        let document = &self.record.document;
        let tree = &document.tree;
        match tree.cause.as_deref() {
            Some("runtime-died") => {}
            Some(cause) => bail!("{TREE}: stopped since {cause}"),
            None => bail!("{TREE}: gone without having learned of the death"),
        }
        if tree.good_order != Some(true) || tree.exit_code != Some(0) {
            bail!(
                "{TREE}: its server was not stopped in good order{}",
                self.setup.last_words(TREE)
            );
        }
        let grace = u64::try_from(TREE_GRACE.as_nanos())?;
        let waited = tree.worker_gone_ns.zip(document.runtime.killed_ns);
        if waited.is_some_and(|(gone, killed)| gone.saturating_sub(killed) < grace) {
            bail!("{TREE}: its worker was killed before the grace was over");
        }
        Ok(())
    }
}

/// The ancestors of `process` below `top`, from above.
fn between(top: Option<i32>, process: i32) -> Vec<i32> {
    let parent = |pid: &i32| Some(proc_fs::stat(*pid)?.ppid).filter(|pid| *pid > 1);
    let above = std::iter::successors(parent(&process), parent);
    let mut above: Vec<i32> = above.take_while(|pid| Some(*pid) != top).collect();
    above.reverse();
    above
}
