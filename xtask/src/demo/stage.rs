//! The stage: starts the actors, kills the runtime, and writes down what becomes of the others.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use super::actors::Actors;
use super::document::{Adoption, Document, Entry, Kind, Shim};
use super::events::{Event, Events};
use super::options::Options;
use super::process::Process;
use super::text::Text;
use super::wire::{Plan, Report, ShimPlan, What, now_ns};
use super::{leaks, probe, proc_fs};

const RUNTIME: &str = "runtime";
const NEW_RUNTIME: &str = "new runtime";
/// In the words of [`std::process::ExitStatus`].
const SUCCESS: &str = "exit status: 0";
/// Between two rounds of asking programs that do not answer yet.
const PROBE_PAUSE: Duration = Duration::from_millis(10);

/// What the front gives to the stage.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Setup {
    /// The run's own folder; its path is the run's mark too.
    pub(super) run: PathBuf,
    pub(super) actors: Actors,
    pub(super) options: Options,
    pub(super) colour: bool,
}

pub(super) struct Stage<'a> {
    setup: &'a Setup,
    text: &'a Text,
    document: &'a mut Document,
    events: Events,
    plan: Plan,
    /// When the run began, in nanoseconds of `CLOCK_MONOTONIC`.
    origin_ns: u64,
    /// Entries before this one are on the screen.
    shown: usize,
    /// Shims that have ended, to be reaped at the end of the act. A shim may be dead before the runtime
    /// has let go of it, and only then becomes our child; and the detached one's zombie stays until the
    /// new runtime has seen its status.
    unreaped: Vec<Process>,
    /// What leaked while everything was alive.
    leaks: Vec<String>,
}

/// The shims to start, on ports that are free.
pub(super) fn plan(setup: &Setup) -> Result<Plan> {
    let options = &setup.options;
    let ports = probe::free_ports(options.attached + 1).context("find free ports")?;
    let built_in = setup.actors.http_server.to_string_lossy();
    let shims = ports.into_iter().enumerate().map(|(index, port)| {
        let detached = index == options.attached;
        let name = if detached {
            "detached".to_owned()
        } else {
            format!("attached {}", index + 1)
        };
        ShimPlan {
            detached,
            command: options.command(&built_in, port),
            port,
            log: setup.run.join(format!("{name}.log")),
            reports: socket(&setup.run),
            name,
        }
    });
    Ok(Plan {
        shim: setup.actors.shim.clone(),
        identity: setup.run.join("detached.identity"),
        shims: shims.collect(),
    })
}

fn socket(run: &Path) -> PathBuf {
    run.join("reports")
}

impl<'a> Stage<'a> {
    pub(super) fn new(
        setup: &'a Setup,
        plan: Plan,
        text: &'a Text,
        document: &'a mut Document,
    ) -> Result<Stage<'a>> {
        Ok(Stage {
            setup,
            text,
            document,
            events: Events::new(&socket(&setup.run))?,
            plan,
            origin_ns: now_ns(),
            shown: 0,
            unreaped: Vec::new(),
            leaks: Vec::new(),
        })
    }

    /// The whole play. What leaked while all were alive, when it came to its end.
    pub(super) fn play(mut self) -> Result<Vec<String>> {
        let played = self.acts();
        self.show();
        played.map(|()| self.leaks)
    }

    fn acts(&mut self) -> Result<()> {
        self.start_the_runtime()?;
        self.hear_every_program_answer()?;
        self.leaks = self.survey_descriptors();
        self.kill_the_runtime()?;
        self.hear_the_detached_one_again()?;
        self.adopt_and_stop()
    }

    fn start_the_runtime(&mut self) -> Result<()> {
        let plan = self.setup.run.join("plan.json");
        std::fs::write(&plan, serde_json::to_vec(&self.plan)?).context("write the plan")?;
        let pid = self.spawn_runtime(RUNTIME, "start", &plan)?;
        self.document.runtime.pid = Some(pid);
        self.enter(now_ns(), pid, RUNTIME, Kind::Started, "started".to_owned());
        self.until("every shim to start its program", |document| {
            document.shims.iter().all(|shim| shim.program_pid.is_some())
        })
    }

    fn hear_every_program_answer(&mut self) -> Result<()> {
        let deadline = self.deadline();
        loop {
            let mut silent = None;
            for index in 0..self.document.shims.len() {
                let shim = &self.document.shims[index];
                if shim.answer.is_some() {
                    continue;
                }
                match probe::ask(shim.port) {
                    Ok(line) => {
                        self.enter_answer(index, &line);
                        self.document.shims[index].answer = Some(line);
                    }
                    Err(error) => silent = Some((index, error)),
                }
            }
            self.show();
            let Some((index, error)) = silent else {
                return Ok(());
            };
            if Instant::now() > deadline {
                let shim = &self.document.shims[index];
                bail!(
                    "{}: its program (pid {}) gave no answer on 127.0.0.1:{} within {:?}: {error}{}",
                    shim.name,
                    shim.program_pid.unwrap_or_default(),
                    shim.port,
                    self.setup.options.timeout,
                    self.last_words(&shim.name)
                );
            }
            // A program that ended will never answer: its shim says so.
            while let Some(event) = self.events.next(Instant::now() + PROBE_PAUSE)? {
                self.hear(event)?;
            }
        }
    }

    /// While everything is alive: does anybody hold what is another's?
    fn survey_descriptors(&self) -> Vec<String> {
        let holder = |who: &str, pid: i32| leaks::Holder {
            who: format!("{who} (pid {pid})"),
            fds: proc_fs::fds_of(pid),
        };
        let runtime = holder(RUNTIME, self.document.runtime.pid.unwrap_or_default());
        let shims: Vec<_> = self
            .document
            .shims
            .iter()
            .filter_map(|shim| Some(holder(&shim.name, shim.pid?)))
            .collect();
        // Whatever else belongs to the run is a program, or was started by one.
        let known: Vec<i32> = self
            .document
            .shims
            .iter()
            .filter_map(|shim| shim.pid)
            .collect();
        let programs: Vec<_> = proc_fs::marked(&self.setup.run.to_string_lossy())
            .into_iter()
            .map(|stat| stat.pid)
            .filter(|pid| !known.contains(pid) && Some(*pid) != self.document.runtime.pid)
            .map(|pid| holder("program", pid))
            .collect();
        leaks::survey(&runtime, &shims, &programs)
    }

    fn kill_the_runtime(&mut self) -> Result<()> {
        let pid = self.document.runtime.pid.unwrap_or_default();
        let at_ns = self.events.kill(pid)?;
        self.document.runtime.killed_ns = Some(at_ns.saturating_sub(self.origin_ns));
        self.enter(at_ns, pid, RUNTIME, Kind::Killed, "SIGKILL".to_owned());
        self.until(
            "every attached shim and its program to be gone",
            |document| {
                document.runtime.gone_ns.is_some()
                    && document
                        .attached()
                        .all(|shim| shim.gone_ns.is_some() && shim.program_gone_ns.is_some())
            },
        )?;
        self.reap_shims()?;
        for shim in self.document.attached() {
            match shim.verdict.as_deref() {
                Some("ParentExited") => {}
                Some(verdict) => bail!("{}: the verdict was {verdict}", shim.name),
                None => bail!("{}: gone without having learned of the death", shim.name),
            }
        }
        Ok(())
    }

    fn hear_the_detached_one_again(&mut self) -> Result<()> {
        for index in 0..self.document.shims.len() {
            let shim = &self.document.shims[index];
            if shim.detached {
                let line = probe::ask(shim.port).with_context(|| {
                    format!("{}: no answer after the runtime's death", shim.name)
                })?;
                self.enter_answer(index, &line);
                self.document.shims[index].answer_after_kill = Some(line);
            }
        }
        self.show();
        Ok(())
    }

    fn adopt_and_stop(&mut self) -> Result<()> {
        let identity = self.plan.identity.clone();
        let pid = self.spawn_runtime(NEW_RUNTIME, "adopt", &identity)?;
        self.document.adoption = Some(Adoption {
            pid,
            ..Adoption::default()
        });
        self.until(
            "the new runtime to adopt and stop the detached shim",
            |document| {
                document
                    .adoption
                    .as_ref()
                    .is_some_and(|adoption| adoption.gone_ns.is_some())
                    && document
                        .detached()
                        .all(|shim| shim.gone_ns.is_some() && shim.program_gone_ns.is_some())
            },
        )?;
        self.reap_shims()?;
        match &self.document.adoption {
            Some(Adoption {
                stopped_ns: Some(_),
                ..
            }) => Ok(()),
            _ => bail!("the new runtime ended before it had stopped the shim"),
        }
    }

    /// Listens until `done`, or for as long as the timeout allows.
    fn until(&mut self, what: &str, done: impl Fn(&Document) -> bool) -> Result<()> {
        let deadline = self.deadline();
        while !done(self.document) {
            match self.events.next(deadline)? {
                Some(event) => self.hear(event)?,
                None => bail!("waited {:?} in vain for {what}", self.setup.options.timeout),
            }
        }
        self.show();
        Ok(())
    }

    fn hear(&mut self, event: Event) -> Result<()> {
        match event {
            Event::Report(report) => self.hear_report(report),
            Event::Gone { process, at_ns } => self.hear_end(process, at_ns),
        }
    }

    fn hear_report(
        &mut self,
        Report {
            at_ns,
            pid,
            who,
            what,
        }: Report,
    ) -> Result<()> {
        let since_origin = at_ns.saturating_sub(self.origin_ns);
        match what {
            What::Started { program } => {
                // In the order in which they end, so that one look at both tells them in it.
                self.events.watch(program)?;
                self.events.watch(pid)?;
                let shim = self.shim(&who)?;
                shim.pid = Some(pid);
                shim.program_pid = Some(program);
                let text = format!("started its program, pid {program}, on port {}", shim.port);
                self.enter(at_ns, pid, &who, Kind::Started, text);
            }
            What::Learned { verdict } => {
                let shim = self.shim(&who)?;
                shim.verdict = Some(verdict.clone());
                shim.learned_ns = Some(since_origin);
                self.enter(
                    at_ns,
                    pid,
                    &who,
                    Kind::Learned,
                    format!("learned: {verdict}"),
                );
            }
            What::Told { signal } => {
                self.enter(
                    at_ns,
                    pid,
                    &who,
                    Kind::Told,
                    format!("told to stop by {signal}"),
                );
            }
            What::Adopted { shim, proven } => {
                if let Some(adoption) = &mut self.document.adoption {
                    adoption.adopted_ns = Some(since_origin);
                    adoption.proven = Some(proven);
                }
                let proof = if proven {
                    "proven by its pidfs inode"
                } else {
                    "not provable here"
                };
                let text = format!("adopted the detached shim, pid {shim}, {proof}");
                self.enter(at_ns, pid, &who, Kind::Adopted, text);
            }
            What::Stopped { shim, status } => {
                let text = status.as_deref().unwrap_or("status unknown on this kernel");
                let text = format!("stopped the detached shim, pid {shim}: {text}");
                if let Some(adoption) = &mut self.document.adoption {
                    adoption.stopped_ns = Some(since_origin);
                    adoption.status = status;
                }
                self.enter(at_ns, pid, &who, Kind::Stopped, text);
            }
            What::Ended { status } => {
                bail!(
                    "{who}: its program ended too early: {status}{}",
                    self.last_words(&who)
                );
            }
            What::Failed { error } => bail!("{who}: {error}"),
        }
        Ok(())
    }

    fn hear_end(&mut self, process: Process, at_ns: u64) -> Result<()> {
        let pid = process.pid();
        let since_origin = Some(at_ns.saturating_sub(self.origin_ns));
        let killed = self.document.runtime.killed_ns.is_some();
        if self.document.runtime.pid == Some(pid) {
            let status = process.reap()?.unwrap_or_default();
            if !killed {
                bail!(
                    "the runtime ended by itself: {status}{}",
                    self.last_words(RUNTIME)
                );
            }
            self.document.runtime.gone_ns = since_origin;
            self.enter(at_ns, pid, RUNTIME, Kind::Gone, format!("gone: {status}"));
            return Ok(());
        }
        if let Some(adoption) = &mut self.document.adoption
            && adoption.pid == pid
        {
            adoption.gone_ns = since_origin;
            let status = process.reap()?.unwrap_or_default();
            if status != SUCCESS {
                bail!(
                    "the new runtime failed: {status}{}",
                    self.last_words(NEW_RUNTIME)
                );
            }
            return Ok(());
        }
        let adopted = self.document.adoption.is_some();
        let shims = &mut self.document.shims;
        let Some(shim) = shims
            .iter_mut()
            .find(|s| [s.pid, s.program_pid].contains(&Some(pid)))
        else {
            return Ok(());
        };
        let name = shim.name.clone();
        if shim.program_pid == Some(pid) {
            // Its shim says why, and reaps it.
            shim.program_gone_ns = since_origin;
            self.enter(at_ns, pid, &name, Kind::Gone, "program gone".to_owned());
            return Ok(());
        }
        shim.gone_ns = since_origin;
        if shim.detached && !adopted {
            bail!("{name}: the shim ended before anybody had told it to");
        }
        if !killed {
            bail!("{name}: the shim ended while its runtime was alive");
        }
        self.unreaped.push(process);
        self.enter(at_ns, pid, &name, Kind::Gone, "shim gone".to_owned());
        Ok(())
    }

    /// Reaps the shims that have ended, as init would if it were not for us.
    fn reap_shims(&mut self) -> Result<()> {
        for process in std::mem::take(&mut self.unreaped) {
            let status = process.reap()?;
            let mut shims = self.document.shims.iter_mut();
            if let Some(shim) = shims.find(|shim| shim.pid == Some(process.pid())) {
                shim.status = status;
            }
        }
        for shim in &self.document.shims {
            if let Some(status) = shim.status.as_deref().filter(|status| *status != SUCCESS) {
                bail!("{}: the shim failed: {status}", shim.name);
            }
        }
        Ok(())
    }

    fn spawn_runtime(&mut self, who: &str, verb: &str, file: &Path) -> Result<i32> {
        let log = File::create(self.log(who)).context("create the runtime's log")?;
        let child = Command::new(&self.setup.actors.runtime)
            .arg(verb)
            .arg(file)
            .arg(socket(&self.setup.run))
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

    fn shim(&mut self, name: &str) -> Result<&mut Shim> {
        let mut shims = self.document.shims.iter_mut();
        shims
            .find(|shim| shim.name == name)
            .with_context(|| format!("a report by {name}?"))
    }

    fn enter_answer(&mut self, index: usize, line: &str) {
        let shim = &self.document.shims[index];
        let (pid, name) = (shim.program_pid.unwrap_or_default(), shim.name.clone());
        let still = if self.document.runtime.killed_ns.is_some() {
            "still answers"
        } else {
            "answers"
        };
        self.enter(
            now_ns(),
            pid,
            &name,
            Kind::Answered,
            format!("{still}: {line}"),
        );
    }

    fn enter(&mut self, at_ns: u64, pid: i32, who: &str, kind: Kind, text: String) {
        let at_ns = at_ns.saturating_sub(self.origin_ns);
        self.document.timeline.push(Entry {
            at_ns,
            pid,
            who: who.to_owned(),
            kind,
            text,
        });
    }

    /// Puts what is new on the screen, in the order in which it happened: a report may be overtaken.
    fn show(&mut self) {
        let killed_ns = self.document.runtime.killed_ns;
        let new = &mut self.document.timeline[self.shown..];
        new.sort_by_key(|entry| entry.at_ns);
        for entry in new {
            self.text.entry(entry, killed_ns);
        }
        self.shown = self.document.timeline.len();
    }

    fn deadline(&self) -> Instant {
        Instant::now() + self.setup.options.timeout
    }

    fn log(&self, who: &str) -> PathBuf {
        self.setup.run.join(format!("{who}.log"))
    }

    /// The end of what a process printed, to stand behind an error.
    fn last_words(&self, who: &str) -> String {
        let log = std::fs::read(self.log(who)).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().filter(|line| !line.trim().is_empty()).collect();
        let last = lines[lines.len().saturating_sub(3)..].join("\n  ");
        if last.is_empty() {
            last
        } else {
            format!("; its last words:\n  {last}")
        }
    }
}
