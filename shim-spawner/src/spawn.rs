//! One spawn. Everything that can fail is made before the child exists, and an error undoes all of
//! it.

use std::collections::BTreeSet;
use std::ffi::{CString, OsString};
use std::os::fd::RawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use fd_preserve::{ErrorChannel, PreserveFds};
use pidfd_watcher::Process;
use watchdog_pipe::{ChildSetup, Keepalive, StopPolicy};

use crate::child::{Belonging, Routine};
use crate::config::{self, Sealed};
use crate::environment::{self, Environment};
use crate::identity::Record;
use crate::image::{self, Image};
use crate::internal_fds::{self, LOWEST};
use crate::listen::{self, PidVariable};
use crate::started::StatusPipe;
use crate::stdio::{Direction, Stream};
use crate::stopping::{Aim, Reports};
use crate::supervisor::{Level, Supervisor};
use crate::sys::{self, Limit, nap};
use crate::terminal::Foreground;
use crate::{
    Engine, Resource, ShimChild, ShimSpawner, SpawnError, SpawnedShim, Stage, StopTarget, engine,
    events,
};

/// Our own variables of one child: name and value.
type Variables = Vec<(&'static str, String)>;

/// The time that a supervisor has beyond the grace period to send SIGKILL to all that is left,
/// again and again.
const SWEEP: Duration = Duration::from_secs(10);

/// The supervisor of one spawn.
struct SupervisedStart<'a> {
    supervisor: &'a Supervisor,
    program: PathBuf,
    name: OsString,
    status_pipe: StatusPipe,
}

impl SupervisedStart<'_> {
    fn new(supervisor: &Supervisor) -> Result<SupervisedStart<'_>, SpawnError> {
        let (program, name) = supervisor.locate()?;
        image::check(&program, &[])?;
        let status_pipe = StatusPipe::new().map_err(|e| SpawnError::io(Stage::Supervisor, e))?;
        Ok(SupervisedStart {
            supervisor,
            program,
            name,
            status_pipe,
        })
    }

    /// Waits until the supervisor has executed COMMAND.
    fn wait(
        self,
        started: Result<Process, SpawnError>,
        spawner: &ShimSpawner,
    ) -> Result<(Process, Option<Reports>), SpawnError> {
        let process = started.map_err(|error| match error.stage() {
            Stage::Exec => error
                .with_stage(Stage::Supervisor)
                .with_path(Some(&self.program)),
            _ => spawner.explain(error),
        })?;
        let waited = self
            .status_pipe
            .wait(process, self.supervisor.time_to_start());
        let waited = waited.map_err(|error| match error.stage() {
            Stage::Supervisor => self
                .supervisor
                .explain(error)
                .with_path(Some(&self.program)),
            _ => spawner.explain(error),
        });
        let (process, reports) = waited?;
        events::executed(process.pid());
        let kept = self.supervisor.reports_the_tree();
        Ok((process, kept.then_some(reports)))
    }
}

impl ShimSpawner {
    /// Starts the shim. Returns once the shim has executed the program.
    ///
    /// # Errors
    /// A [`SpawnError`] with the stage, the errno, and the descriptor number or path. It leaves
    /// nothing behind: if a child existed, it was killed and reaped.
    ///
    /// # References
    /// [clone(2)](https://man7.org/linux/man-pages/man2/clone.2.html),
    /// [fork(2)](https://man7.org/linux/man-pages/man2/fork.2.html),
    /// [execve(2)](https://man7.org/linux/man-pages/man2/execve.2.html)
    pub fn spawn(&mut self) -> Result<SpawnedShim, SpawnError> {
        let _span = events::Spawn::begin(&self.program, self.engine_of_child());
        self.spawn_by_stages()
            .inspect(|shim| events::spawned(shim.child.pid(), shim.keepalive.is_some()))
            .inspect_err(events::not_spawned)
    }

    fn spawn_by_stages(&self) -> Result<SpawnedShim, SpawnError> {
        self.check()?;
        let belonging = self.belonging()?;
        let aim = self.aim(belonging)?;
        let ignored = self.signals.ignored()?;
        let current_dir = match (&self.current_dir, &self.credentials.root) {
            (None, Some(_)) => Some(c"/".to_owned()),
            (dir, _) => dir.as_deref().map(c_string).transpose()?,
        };
        let root = self.credentials.root.as_deref().map(c_string).transpose()?;
        let mut link = self.link()?;
        let config = match &self.config {
            Some(bytes) => Some(Sealed::new(bytes).map_err(|e| SpawnError::io(Stage::Config, e))?),
            None => None,
        };
        let supervised = self
            .supervisor
            .as_ref()
            .map(SupervisedStart::new)
            .transpose()?;
        let (fds, variables, status) = self.plan(
            link.as_mut().map(|(_, setup)| setup),
            config.as_ref(),
            supervised
                .as_ref()
                .map(|supervised| &supervised.status_pipe),
        )?;
        let [stdin, stdout, stderr] = self.streams()?;
        let (hidden, pid_variable) = if self.listen.is_empty() {
            (&[][..], None)
        } else {
            (&listen::VARIABLES[..], Some(PidVariable::new()))
        };
        let environment = Environment::new(&self.env, &variables, hidden);
        let image = if let (Some(supervised), Some(status)) = (&supervised, status) {
            let args = supervised
                .supervisor
                .args(status, &self.program, &self.args);
            let name = supervised.name.as_os_str();
            Image::new(&supervised.program, name, &args, environment, pid_variable)
        } else {
            let name = self.arg0.as_deref().unwrap_or(self.program.as_os_str());
            Image::new(&self.program, name, &self.args, environment, pid_variable)
        };
        let routine = Routine {
            cgroup: self.cgroup.as_deref(),
            ignored,
            keeps_mask: self.signals.keep_mask,
            kill_on_close: self.kill_on_close,
            belonging,
            terminal: &self.terminal,
            record: self.record(aim.target())?,
            streams: [stdin.theirs, stdout.theirs, stderr.theirs],
            limits: &self.limits,
            root,
            credentials: &self.credentials,
            current_dir,
            closures: &self.closures,
            fds,
            image,
        };
        events::prepared(self);
        let foreground = Foreground::of(&self.terminal);
        let started = self.start(&routine);
        let Routine {
            record,
            fds,
            streams,
            ..
        } = routine;
        // Closes our copies of the child's descriptors. The reports end when the last copy is
        // closed.
        drop((fds, streams));
        if let Ok(process) = &started {
            events::started(process.pid());
        }
        let started = match supervised {
            Some(supervised) => supervised.wait(started, self),
            None => started
                .map(|process| (process, None))
                .map_err(|error| self.explain(error)),
        };
        let (process, reports) = started.inspect_err(|_| {
            if let Some(record) = &record {
                record.undo();
            }
            if let Some(foreground) = foreground {
                foreground.restore();
            }
        })?;
        let aim = match aim {
            Aim::Tree(_) => Aim::Tree(reports.map(Arc::new)),
            aim => aim,
        };
        let mut child = ShimChild::new(process, self.policy_of_child(), aim, self.level());
        child.set_killed_on_close(self.kill_on_close);
        child.stdin = stdin.ours.map(Into::into);
        child.stdout = stdout.ours.map(Into::into);
        child.stderr = stderr.ours.map(Into::into);
        Ok(SpawnedShim {
            child,
            keepalive: link.map(|(keepalive, _)| keepalive),
        })
    }

    fn engine_of_child(&self) -> Engine {
        if self.closures.is_empty() {
            self.engine
        } else {
            Engine::Fork
        }
    }

    /// Refuses impossible settings before anything is made.
    fn check(&self) -> Result<(), SpawnError> {
        image::check(&self.program, self.arg0.iter().chain(&self.args))?;
        environment::check(&self.env)?;
        listen::check(&self.listen)?;
        self.limits.check()?;
        self.credentials.check()?;
        self.check_kill_on_close()?;
        let Some(supervisor) = &self.supervisor else {
            return Ok(());
        };
        supervisor.check()?;
        let refused = [
            (self.detached, "a detached shim cannot have a supervisor"),
            (
                self.credentials.root.is_some(),
                "a supervisor needs its program and /proc below its root",
            ),
            (self.arg0.is_some(), "a supervisor names the program itself"),
            (
                !self.listen.is_empty(),
                "LISTEN_PID would not be the pid of a supervised program",
            ),
        ];
        match refused.into_iter().find(|(is_asked_for, _)| *is_asked_for) {
            Some((_, text)) => Err(SpawnError::invalid(text)),
            None => Ok(()),
        }
    }

    fn check_kill_on_close(&self) -> Result<(), SpawnError> {
        let refused = [
            (self.detached, "a detached shim outlives its handle"),
            (
                self.supervisor.is_some(),
                "a supervisor that is killed cannot stop its tree in good order",
            ),
            (
                self.engine_of_child() == Engine::Fork,
                "fork cannot make a child that is killed on close",
            ),
        ];
        match refused.into_iter().find(|(is_so, _)| *is_so) {
            Some((_, text)) if self.kill_on_close => Err(SpawnError::invalid(text)),
            _ => Ok(()),
        }
    }

    /// Starts the child. As long as exec fails because some process has the program open for
    /// writing, tries again until `retry_busy` has passed.
    fn start(&self, routine: &Routine<'_>) -> Result<Process, SpawnError> {
        /// The pause between two tries. The usual cause is another child between fork and exec,
        /// which mostly takes less time.
        const PAUSE: Duration = Duration::from_millis(1);
        if self.retry_busy.is_zero() {
            return engine::start(self.engine, routine);
        }
        let began = Instant::now();
        loop {
            let started = engine::start(self.engine, routine);
            let is_busy = |error: &SpawnError| {
                error.stage() == Stage::Exec && error.raw_os_error() == Some(libc::ETXTBSY)
            };
            match &started {
                Err(error) if is_busy(error) && began.elapsed() < self.retry_busy => nap(PAUSE),
                _ => return started,
            }
        }
    }

    /// Adds what the child cannot know.
    fn explain(&self, error: SpawnError) -> SpawnError {
        let stage = error.stage();
        if stage == Stage::Limits {
            let index = error.fd().and_then(|index| usize::try_from(index).ok());
            let limit = index.and_then(|index| self.limits.resources.get(index));
            let resource = limit.map(|(resource, _)| *resource);
            return error.with_fd(None).with_resource(resource);
        }
        error.with_path(self.path_of(stage))
    }

    fn record(&self, target: StopTarget) -> Result<Option<Record>, SpawnError> {
        let prepare = |path: &PathBuf| {
            let policy = self.policy_of_child();
            Record::prepare(path, policy, target, !self.detached).map_err(|error| {
                let path = self.path_of(error.stage());
                error.with_path(path)
            })
        };
        self.identity_file.as_ref().map(prepare).transpose()
    }

    /// How the child itself is stopped. A supervisor inherits the policy and stops the tree by it;
    /// the child's own policy only waits for the supervisor.
    fn policy_of_child(&self) -> StopPolicy {
        match &self.supervisor {
            Some(_) => StopPolicy::new().grace(self.policy.grace_period().saturating_add(SWEEP)),
            None => self.policy,
        }
    }

    fn level(&self) -> Level {
        self.supervisor
            .as_ref()
            .map_or(Level::Told, Supervisor::level)
    }

    fn belonging(&self) -> Result<Belonging, SpawnError> {
        let own_session = self.detached || self.session || self.terminal.controlling.is_some();
        if own_session && self.terminal.foreground.is_some() {
            return Err(SpawnError::invalid(
                "a shim with its own session cannot be in the foreground of this one",
            ));
        }
        match (own_session, self.process_group.unwrap_or(0)) {
            (_, ..0) => Err(SpawnError::invalid("a process group cannot be negative")),
            (true, 0) => Ok(Belonging::OwnSession),
            (true, _) => Err(SpawnError::invalid(
                "a shim that leads a session cannot join a process group",
            )),
            (false, group) => Ok(Belonging::Group(group)),
        }
    }

    /// Which processes a stop signals.
    fn aim(&self, belonging: Belonging) -> Result<Aim, SpawnError> {
        let joined = matches!(belonging, Belonging::Group(1..));
        let supervised = self.supervisor.is_some();
        let target = self.stop_target.unwrap_or(match (supervised, joined) {
            (true, _) => StopTarget::Tree,
            (false, true) => StopTarget::Leader,
            (false, false) => StopTarget::Group,
        });
        let refused = match target {
            StopTarget::Tree if !supervised => "only a supervised shim can be stopped as a tree",
            StopTarget::Group if joined => "a shim that joins a group does not lead it",
            StopTarget::Cgroup if self.stop_cgroup.is_none() => "no cgroup was set to be stopped",
            StopTarget::Leader | StopTarget::Group | StopTarget::Cgroup if supervised => {
                "the supervisor stops the tree: set its signal_to instead"
            }
            StopTarget::Cgroup => return Ok(Aim::Cgroup(self.stop_cgroup.clone())),
            target => return Ok(Aim::new(target)),
        };
        Err(SpawnError::invalid(refused))
    }

    fn link(&self) -> Result<Option<(Keepalive, ChildSetup)>, SpawnError> {
        if self.detached {
            return Ok(None);
        }
        let channel = watchdog_pipe::Builder::new()
            .stop_policy(self.policy)
            .sentinel(self.sentinel)
            .channel();
        channel
            .map(Some)
            .map_err(|error| SpawnError::io(Stage::Watchdog, error))
    }

    /// Plans the child's descriptors: first the caller's, then ours on [other
    /// numbers](crate::internal_fds).
    fn plan(
        &self,
        setup: Option<&mut ChildSetup>,
        config: Option<&Sealed>,
        status_pipe: Option<&StatusPipe>,
    ) -> Result<(fd_preserve::ChildFds, Variables, Option<RawFd>), SpawnError> {
        let mut variables = Variables::new();
        let mut plan = PreserveFds::new();
        let listening = self.listen.iter().map(|(_, fd)| fd).zip(listen::FIRST..);
        for (fd, number) in self
            .fds
            .iter()
            .map(|(fd, number)| (fd, *number))
            .chain(listening)
        {
            plan.map_shared_fd(Arc::clone(fd), number)
                .map_err(SpawnError::fds)?;
        }
        if !self.listen.is_empty() {
            variables.extend(listen::variables(&self.listen));
        }
        let mut numbers = self.internal_numbers()?;
        let mut put = |fd| {
            let number = numbers.next().ok_or_else(|| {
                SpawnError::invalid("no number is left for an internal descriptor")
            })?;
            plan.map_shared_fd(fd, number).map_err(SpawnError::fds)?;
            Ok(number)
        };
        if let Some(setup) = setup {
            let numbers: Result<Vec<_>, SpawnError> =
                setup.shared_fds().map(|(fd, _)| put(fd)).collect();
            setup.renumber_each(numbers?);
            if self.closures.is_empty() {
                // The write end is made after the caller's descriptors, and the child closes every
                // descriptor that the plan does not name.
                setup.promise_no_writer();
            }
            variables.push(setup.env());
        }
        if let Some(config) = config {
            let number = put(Arc::clone(&config.memfd))?;
            variables.push((config::ENV_VAR, config.env(number)));
        }
        let status = status_pipe.map(|status_pipe| put(Arc::clone(&status_pipe.write)));
        let status = status.transpose()?;
        // The engine reports errors through a shared page, so no number of the plan can hit a
        // descriptor of the engine's.
        let fds = plan.prepare(ErrorChannel::None).map_err(SpawnError::fds)?;
        Ok((fds, variables, status))
    }

    /// Numbers for our own descriptors that no descriptor of the caller has.
    fn internal_numbers(&self) -> Result<impl Iterator<Item = RawFd>, SpawnError> {
        if self.internal_fds_from.is_some_and(|from| from < LOWEST) {
            return Err(SpawnError::invalid(
                "an internal descriptor cannot be a standard stream",
            ));
        }
        let limit = sys::soft_limit(Limit::OpenFiles).unwrap_or(u64::MAX);
        // A descriptor above the child's own limit would work, but a program may look only below
        // the limit.
        let of_child = self.limits.soft(Resource::Nofile);
        let limit = limit.min(of_child.unwrap_or(u64::MAX));
        let listening = (listen::FIRST..).take(self.listen.len());
        let taken = self.fds.iter().map(|(_, number)| *number).chain(listening);
        let taken: BTreeSet<RawFd> = taken.collect();
        let candidates = internal_fds::candidates(self.internal_fds_from, limit);
        Ok(candidates.filter(move |number| !taken.contains(number)))
    }

    /// Opens both ends of the three standard streams.
    fn streams(&self) -> Result<[Stream; 3], SpawnError> {
        let open = |stdio: &crate::Stdio, direction| {
            stdio
                .open(direction)
                .map_err(|error| SpawnError::io(Stage::Stdio, error))
        };
        Ok([
            open(&self.stdin, Direction::In)?,
            open(&self.stdout, Direction::Out)?,
            open(&self.stderr, Direction::Out)?,
        ])
    }

    fn path_of(&self, stage: Stage) -> Option<&Path> {
        match stage {
            Stage::Identity => Some(Path::new("/proc")),
            Stage::IdentityFile => self.identity_file.as_deref(),
            Stage::Chroot => self.credentials.root.as_deref(),
            Stage::CurrentDir => self.current_dir.as_deref(),
            Stage::Exec => Some(&self.program),
            _ => None,
        }
    }
}

fn c_string(path: impl AsRef<Path>) -> Result<CString, SpawnError> {
    let bytes = path.as_ref().as_os_str().as_bytes();
    CString::new(bytes).map_err(|_| SpawnError::invalid("a path has a NUL byte"))
}
