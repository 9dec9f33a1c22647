//! The director: starts the actors, kills the runtime, and sees what becomes of the others.

mod hear;
mod tree;

use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::document::{Adoption, Document, Kind, Listener, Shim};
use super::events::Events;
use super::process::Process;
use super::record::Record;
use super::setup::{Setup, TREE};
use super::wire::Plan;
use super::{leaks, probe, proc_fs};
use crate::clock;

const RUNTIME: &str = "runtime";
const NEW_RUNTIME: &str = "new runtime";
/// Between two rounds of asking programs that do not answer yet.
const PROBE_PAUSE: Duration = Duration::from_millis(10);

pub(super) struct Director<'a> {
    setup: &'a Setup,
    plan: Plan,
    events: Events,
    record: Record<'a>,
    /// Shims that have ended, to be reaped at the end of the act. A shim may be dead before the
    /// runtime has let go of it, and only then becomes our child; and the detached one's zombie
    /// stays until the new runtime has seen its status.
    unreaped: Vec<Process>,
}

impl<'a> Director<'a> {
    pub(super) fn new(setup: &'a Setup, plan: Plan, record: Record<'a>) -> Result<Director<'a>> {
        let events = Events::new(&setup.socket(), &setup.status())?;
        Ok(Director {
            setup,
            plan,
            events,
            record,
            unreaped: Vec::new(),
        })
    }

    /// The whole play. Gives what had leaked while everybody was alive.
    pub(super) fn play(mut self) -> Result<Vec<String>> {
        let played = self.acts();
        self.record.show();
        played
    }

    fn acts(&mut self) -> Result<Vec<String>> {
        self.start_the_runtime()?;
        self.hear_every_program_answer()?;
        self.meet_the_tree()?;
        self.record.show();
        let leaks = self.survey_descriptors();
        self.kill_the_runtime()?;
        self.hear_the_detached_one_again()?;
        self.adopt_and_stop()?;
        Ok(leaks)
    }

    fn start_the_runtime(&mut self) -> Result<()> {
        let plan = self.setup.run.join("plan.json");
        std::fs::write(&plan, serde_json::to_vec(&self.plan)?).context("write the plan")?;
        let pid = self.spawn_runtime(RUNTIME, "start", &plan)?;
        self.record.document.runtime.pid = Some(pid);
        self.record
            .enter(clock::now(), pid, RUNTIME, Kind::Started, "started");
        self.until("every shim to start its program", |document| {
            document.runtime.ready_ns.is_some()
                && document.shims.iter().all(|shim| shim.program_pid.is_some())
                && document.tree.program_pid.is_some()
        })
    }

    fn hear_every_program_answer(&mut self) -> Result<()> {
        let deadline = self.deadline();
        loop {
            let mut silent = None;
            for program in self.record.document.unanswered() {
                match probe::ask(program.port) {
                    Ok(line) => self.keep_answer(&program, line),
                    Err(error) => silent = Some((program, error)),
                }
            }
            self.record.show();
            let Some((program, error)) = silent else {
                return Ok(());
            };
            if Instant::now() > deadline {
                bail!(
                    "{}: its program, pid {}, gave no answer on 127.0.0.1:{} within {:?}: \
                     {error}{}",
                    program.who,
                    program.pid,
                    program.port,
                    self.setup.options.timeout,
                    self.setup.last_words(&program.who)
                );
            }
            // A program that has ended will never answer: its shim says so.
            while let Some(event) = self.events.next(Instant::now() + PROBE_PAUSE)? {
                self.hear(event)?;
            }
        }
    }

    fn keep_answer(&mut self, program: &Listener, line: String) {
        let Listener { who, pid, .. } = program;
        let text = format!("answers: {line}");
        self.record
            .enter(clock::now(), *pid, who, Kind::Answered, &text);
        self.record.document.keep_answer(program, line);
    }

    /// While everything is alive: does anybody hold what is another's?
    fn survey_descriptors(&self) -> Vec<String> {
        let holder = |who: &str, pid: i32| leaks::Holder {
            who: format!("{who} (pid {pid})"),
            fds: proc_fs::fds_of(pid).into_iter().collect(),
        };
        let document = &self.record.document;
        let runtime = document.runtime.pid.unwrap_or_default();
        let shims = document
            .shims
            .iter()
            .filter_map(|shim| Some((shim.pid?, &shim.name)));
        let shims: Vec<(i32, &String)> = shims.collect();
        let tree = &document.tree.shim_pids;
        // Whatever else belongs to the run is a program, or was started by one.
        let programs = proc_fs::marked(&self.setup.run.to_string_lossy())
            .into_iter()
            .map(|stat| stat.pid)
            .filter(|pid| *pid != runtime && shims.iter().all(|(shim, _)| shim != pid))
            .filter(|pid| !tree.contains(pid))
            .map(|pid| holder("program", pid));
        leaks::survey(
            &holder(RUNTIME, runtime),
            &shims
                .iter()
                .map(|(pid, name)| holder(name, *pid))
                .chain([leaks::Holder {
                    who: format!("{TREE}'s shim"),
                    fds: tree.iter().flat_map(|pid| proc_fs::fds_of(*pid)).collect(),
                }])
                .collect::<Vec<_>>(),
            &programs.collect::<Vec<_>>(),
        )
    }

    fn kill_the_runtime(&mut self) -> Result<()> {
        let pid = self.record.document.runtime.pid.unwrap_or_default();
        let at_ns = self.events.kill(pid)?;
        self.record.document.runtime.killed_ns = Some(self.record.since_origin(at_ns));
        self.record
            .enter(at_ns, pid, RUNTIME, Kind::Killed, "SIGKILL");
        self.until(
            "every attached shim, the tree's, and their programs to be gone",
            |document| {
                document.runtime.gone_ns.is_some()
                    && document.attached().all(Shim::is_gone)
                    && document.tree.gone_ns.is_some()
            },
        )?;
        self.reap_shims()?;
        for shim in self.record.document.attached() {
            match shim.verdict.as_deref() {
                Some("ParentExited") => {}
                Some(verdict) => bail!("{}: the verdict was {verdict}", shim.name),
                None => bail!("{}: gone without having learned of the death", shim.name),
            }
        }
        self.judge_the_tree()
    }

    fn hear_the_detached_one_again(&mut self) -> Result<()> {
        for index in 0..self.record.document.shims.len() {
            let shim = &self.record.document.shims[index];
            if shim.detached {
                let line = probe::ask(shim.port).with_context(|| {
                    format!("{}: no answer after the runtime's death", shim.name)
                })?;
                self.enter_answer(index, &format!("still answers: {line}"));
                self.record.document.shims[index].answer_after_kill = Some(line);
            }
        }
        self.record.show();
        Ok(())
    }

    fn adopt_and_stop(&mut self) -> Result<()> {
        let identity = self.plan.identity.clone();
        let pid = self.spawn_runtime(NEW_RUNTIME, "adopt", &identity)?;
        self.record.document.adoption = Some(Adoption {
            pid,
            ..Adoption::default()
        });
        self.until(
            "the new runtime to adopt and stop the detached shim",
            |document| {
                let adoption = document.adoption.as_ref();
                adoption.is_some_and(|adoption| adoption.gone_ns.is_some())
                    && document.detached().all(Shim::is_gone)
            },
        )?;
        self.reap_shims()?;
        let adoption = self.record.document.adoption.as_ref();
        if adoption.is_none_or(|adoption| adoption.stopped_ns.is_none()) {
            bail!("the new runtime ended before it had stopped the shim");
        }
        Ok(())
    }

    /// Listens until `done`, or for as long as the timeout allows.
    fn until(&mut self, what: &str, done: impl Fn(&Document) -> bool) -> Result<()> {
        let deadline = self.deadline();
        while !done(self.record.document) {
            match self.events.next(deadline)? {
                Some(event) => self.hear(event)?,
                None => bail!("waited {:?} in vain for {what}", self.setup.options.timeout),
            }
        }
        self.record.show();
        Ok(())
    }

    fn spawn_runtime(&mut self, who: &str, verb: &str, file: &Path) -> Result<i32> {
        let log = File::create(self.setup.log(who)).context("create the runtime's log")?;
        let child = Command::new(&self.setup.actors.runtime)
            .arg(verb)
            .arg(file)
            .arg(self.setup.socket())
            .env(proc_fs::MARK, &self.setup.run)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("start {}", self.setup.actors.runtime.display()))?;
        let pid = i32::try_from(child.id())?;
        self.events.watch(pid)?;
        Ok(pid)
    }

    fn enter_answer(&mut self, index: usize, text: &str) {
        let shim = &self.record.document.shims[index];
        let (pid, name) = (shim.program_pid.unwrap_or_default(), shim.name.clone());
        self.record
            .enter(clock::now(), pid, &name, Kind::Answered, text);
    }

    fn deadline(&self) -> Instant {
        Instant::now() + self.setup.options.timeout
    }
}
