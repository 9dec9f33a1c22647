//! What the director makes of a message, and of the end of a process.

use anyhow::{Context, Result, bail};

use super::{Director, NEW_RUNTIME, RUNTIME};
use crate::demo::document::{Kind, Shim};
use crate::demo::events::Event;
use crate::demo::process::Process;
use crate::demo::setup::TREE;
use crate::demo::wire::{Message, What};

/// In the words of [`std::process::ExitStatus`].
const SUCCESS: &str = "exit status: 0";

impl Director<'_> {
    pub(super) fn hear(&mut self, event: Event) -> Result<()> {
        match event {
            Event::Message(message) => self.hear_message(message),
            Event::Said { said, at_ns } => self.hear_shim_say(&said, at_ns),
            Event::Gone { process, at_ns } => self.hear_end(process, at_ns),
        }
    }

    fn hear_message(&mut self, message: Message) -> Result<()> {
        let Message {
            at_ns,
            pid,
            who,
            what,
        } = message;
        let since_origin = Some(self.record.since_origin(at_ns));
        let (kind, text) = match what {
            What::Ready => {
                self.record.document.runtime.ready_ns = since_origin;
                (
                    Kind::Ready,
                    "ready, has saved the detached shim's identity".to_owned(),
                )
            }
            What::Started { program } => {
                // In the order in which they end, so that one look at both tells them in it.
                self.events.watch(program)?;
                self.events.watch(pid)?;
                let shim = self.shim(&who)?;
                shim.pid = Some(pid);
                shim.program_pid = Some(program);
                let text = format!("started its program, pid {program}, on port {}", shim.port);
                (Kind::Started, text)
            }
            What::Learned { verdict } => {
                let text = format!("learned: {verdict}");
                let shim = self.shim(&who)?;
                shim.verdict = Some(verdict);
                shim.learned_ns = since_origin;
                (Kind::Learned, text)
            }
            What::Told { signal } => (Kind::Told, format!("told to stop by {signal}")),
            What::Adopted { shim, proven } => {
                if let Some(adoption) = &mut self.record.document.adoption {
                    adoption.adopted_ns = since_origin;
                    adoption.proven = Some(proven);
                }
                let proof = if proven {
                    "proven by its pidfs inode"
                } else {
                    "not provable here"
                };
                (
                    Kind::Adopted,
                    format!("adopted the detached shim, pid {shim}, {proof}"),
                )
            }
            What::Stopped { shim, status } => {
                let known = status.as_deref().unwrap_or("status unknown on this kernel");
                let text = format!("stopped the detached shim, pid {shim}: {known}");
                if let Some(adoption) = &mut self.record.document.adoption {
                    adoption.stopped_ns = since_origin;
                    adoption.status = status;
                }
                (Kind::Stopped, text)
            }
            What::Ended { status } => {
                let last_words = self.setup.last_words(&who);
                bail!("{who}: its program ended too early: {status}{last_words}");
            }
            What::Failed { error } => bail!("{who}: {error}"),
        };
        self.record.enter(at_ns, pid, &who, kind, &text);
        Ok(())
    }

    fn hear_end(&mut self, process: Process, at_ns: u64) -> Result<()> {
        let pid = Some(process.pid());
        let document = &self.record.document;
        if document.runtime.pid == pid {
            self.hear_runtime_end(&process, at_ns)
        } else if document
            .adoption
            .as_ref()
            .is_some_and(|adoption| pid == Some(adoption.pid))
        {
            self.hear_new_runtime_end(&process, at_ns)
        } else if document.tree.has(process.pid()) {
            self.hear_tree_end(process, at_ns)
        } else {
            self.hear_shim_end(process, at_ns)
        }
    }

    fn hear_runtime_end(&mut self, process: &Process, at_ns: u64) -> Result<()> {
        let status = process.reap()?.unwrap_or_default();
        let runtime = &mut self.record.document.runtime;
        if runtime.killed_ns.is_none() {
            let last_words = self.setup.last_words(RUNTIME);
            bail!("the runtime ended by itself: {status}{last_words}");
        }
        let text = format!("gone: {status}");
        self.record.document.runtime.gone_ns = Some(self.record.since_origin(at_ns));
        self.record
            .enter(at_ns, process.pid(), RUNTIME, Kind::Gone, &text);
        Ok(())
    }

    fn hear_new_runtime_end(&mut self, process: &Process, at_ns: u64) -> Result<()> {
        let status = process.reap()?.unwrap_or_default();
        if status != SUCCESS {
            let last_words = self.setup.last_words(NEW_RUNTIME);
            bail!("the new runtime failed: {status}{last_words}");
        }
        let gone_ns = Some(self.record.since_origin(at_ns));
        if let Some(adoption) = &mut self.record.document.adoption {
            adoption.gone_ns = gone_ns;
        }
        Ok(())
    }

    /// The end of a shim, or of the program behind one.
    fn hear_shim_end(&mut self, process: Process, at_ns: u64) -> Result<()> {
        let pid = process.pid();
        let gone_ns = Some(self.record.since_origin(at_ns));
        let document = &mut *self.record.document;
        let (killed, adopted) = (
            document.runtime.killed_ns.is_some(),
            document.adoption.is_some(),
        );
        let of = |shim: &&mut Shim| [shim.pid, shim.program_pid].contains(&Some(pid));
        let shim = document
            .shims
            .iter_mut()
            .find(of)
            .context("the end of a stranger")?;
        let name = shim.name.clone();

        if shim.program_pid == Some(pid) {
            // Its shim says why, and reaps it.
            shim.program_gone_ns = gone_ns;
            self.record
                .enter(at_ns, pid, &name, Kind::Gone, "program gone");
            return Ok(());
        }
        shim.gone_ns = gone_ns;
        if !killed {
            bail!("{name}: the shim ended while its runtime was alive");
        }
        if shim.detached && !adopted {
            bail!("{name}: the shim ended before anybody had told it to");
        }
        self.unreaped.push(process);
        self.record
            .enter(at_ns, pid, &name, Kind::Gone, "shim gone");
        Ok(())
    }

    /// Reaps the shims that have ended, as init would if it were not for us.
    pub(super) fn reap_shims(&mut self) -> Result<()> {
        for process in std::mem::take(&mut self.unreaped) {
            let status = process.reap()?;
            let mut shims = self.record.document.shims.iter_mut();
            if let Some(shim) = shims.find(|shim| shim.pid == Some(process.pid())) {
                shim.status = status;
            } else if self.record.document.tree.pid == Some(process.pid()) {
                self.record.document.tree.status = status;
            }
        }
        let document = &self.record.document;
        let shims = document.shims.iter();
        let statuses = shims.map(|shim| (&shim.name[..], &shim.status));
        for (name, status) in statuses.chain([(TREE, &document.tree.status)]) {
            if let Some(status) = status.as_deref().filter(|status| *status != SUCCESS) {
                bail!("{name}: the shim failed: {status}");
            }
        }
        Ok(())
    }

    fn shim(&mut self, name: &str) -> Result<&mut Shim> {
        let mut shims = self.record.document.shims.iter_mut();
        let shim = shims.find(|shim| shim.name == name);
        shim.with_context(|| format!("a message by {name}, who has no part in this"))
    }
}
