//! One spawn: everything that can fail is made before the child exists, and all of it is undone on error.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Child, Command};
use std::sync::Arc;

use fd_preserve::{ErrorChannel, PreserveFds};
use pidfd_watcher::Process;
use watchdog_pipe::{ChildSetup, Keepalive};

use crate::child::{Belonging, Routine};
use crate::config::{self, Sealed};
use crate::stdio::Direction;
use crate::sys::SharedReport;
use crate::{ShimChild, ShimSpawner, SpawnError, SpawnedShim, Stage};

impl ShimSpawner {
    /// Starts the shim.
    ///
    /// # Errors
    /// A [`SpawnError`] that names the stage, the error number and the number or path. Nothing is left
    /// behind then: a child that existed was killed and reaped.
    ///
    /// # References
    /// [fork(2)](https://man7.org/linux/man-pages/man2/fork.2.html),
    /// [execve(2)](https://man7.org/linux/man-pages/man2/execve.2.html)
    pub fn spawn(&mut self) -> Result<SpawnedShim, SpawnError> {
        let belonging = self.belonging()?;
        let current_dir = self.current_dir.as_deref().map(c_string).transpose()?;
        let mut command = self.command()?;
        let mut link = self.link()?;
        let config = match &self.config {
            Some(bytes) => Some(Sealed::new(bytes).map_err(|e| SpawnError::io(Stage::Config, e))?),
            None => None,
        };
        let fds = self.plan(
            &mut command,
            link.as_mut().map(|(_, setup)| setup),
            config.as_ref(),
        )?;
        let streams = self.streams(&mut command)?;
        let report = SharedReport::map().map_err(|e| SpawnError::io(Stage::Report, e))?;
        let report = Arc::new(report);
        let hooks = self.hooks.clone();
        let routine = Routine {
            report: Arc::clone(&report),
            belonging,
            current_dir,
            hooks,
            fds,
        };
        routine.install(&mut command);

        let spawned = command.spawn();
        // The child's ends and the reservations go now, whatever came of it.
        drop(command);
        let mut std_child = spawned.map_err(|error| self.explain(error, &report))?;
        let process = self.confirm(&mut std_child, &report)?;
        let mut child = ShimChild::new(process, self.policy);
        let [stdin, stdout, stderr] = streams;
        child.stdin = stdin.map(Into::into);
        child.stdout = stdout.map(Into::into);
        child.stderr = stderr.map(Into::into);
        Ok(SpawnedShim {
            child,
            keepalive: link.map(|(keepalive, _)| keepalive),
        })
    }

    fn belonging(&self) -> Result<Belonging, SpawnError> {
        match (self.detached, self.process_group.unwrap_or(0)) {
            (_, ..0) => Err(SpawnError::invalid("a process group is not negative")),
            (true, 0) => Ok(Belonging::OwnSession),
            (true, _) => Err(SpawnError::invalid(
                "a detached shim leads a session of its own",
            )),
            (false, group) => Ok(Belonging::Group(group)),
        }
    }

    fn command(&self) -> Result<Command, SpawnError> {
        // Std would only say so at its own spawn, as an error like any other.
        c_string(&self.program)?;
        let nul = |text: &std::ffi::OsStr| text.as_bytes().contains(&0);
        if self.args.iter().any(|arg| nul(arg)) {
            return Err(SpawnError::invalid("an argument has a NUL byte"));
        }
        let mut command = Command::new(&self.program);
        command.args(&self.args);
        for change in &self.env {
            if let crate::spawner::EnvChange::Set(name, value) = change
                && (nul(name) || nul(value) || name.is_empty() || name.as_bytes().contains(&b'='))
            {
                return Err(SpawnError::invalid(
                    "an environment variable's name or value is not one",
                ));
            }
            change.apply(&mut command);
        }
        // What this process inherited itself is not this child's.
        command
            .env_remove(watchdog_pipe::ENV_VAR)
            .env_remove(config::ENV_VAR);
        Ok(command)
    }

    fn link(&self) -> Result<Option<(Keepalive, ChildSetup)>, SpawnError> {
        if self.detached {
            return Ok(None);
        }
        let channel = watchdog_pipe::Builder::new()
            .stop_policy(self.policy)
            .channel();
        channel
            .map(Some)
            .map_err(|error| SpawnError::io(Stage::Watchdog, error))
    }

    /// The caller's numbers first; ours go to the lowest ones that are free.
    fn plan(
        &self,
        command: &mut Command,
        setup: Option<&mut ChildSetup>,
        config: Option<&Sealed>,
    ) -> Result<fd_preserve::ChildFds, SpawnError> {
        let mut plan = PreserveFds::new();
        for (fd, number) in &self.fds {
            plan.map_borrowed_fd(fd, *number).map_err(SpawnError::fds)?;
        }
        if let Some(setup) = setup {
            let numbers: Result<Vec<_>, _> = setup
                .fds()
                .map(|(fd, _)| plan.next_borrowed_fd(fd))
                .collect();
            setup.renumber_each(numbers.map_err(SpawnError::fds)?);
            let (name, value) = setup.env();
            command.env(name, value);
        }
        if let Some(config) = config {
            let number = plan
                .next_borrowed_fd(&config.memfd)
                .map_err(SpawnError::fds)?;
            command.env(config::ENV_VAR, config.env(number));
        }
        plan.prepare(ErrorChannel::Socket).map_err(SpawnError::fds)
    }

    /// Gives the child's ends to the command and keeps ours.
    fn streams(&self, command: &mut Command) -> Result<[Option<OwnedFd>; 3], SpawnError> {
        let open = |stdio: &crate::Stdio, direction| {
            stdio
                .open(direction)
                .map_err(|error| SpawnError::io(Stage::Stdio, error))
        };
        let stdin = open(&self.stdin, Direction::In)?;
        let stdout = open(&self.stdout, Direction::Out)?;
        let stderr = open(&self.stderr, Direction::Out)?;
        if let Some(theirs) = stdin.theirs {
            command.stdin(theirs);
        }
        if let Some(theirs) = stdout.theirs {
            command.stdout(theirs);
        }
        if let Some(theirs) = stderr.theirs {
            command.stderr(theirs);
        }
        Ok([stdin.ours, stdout.ours, stderr.ours])
    }

    fn explain(&self, error: io::Error, report: &SharedReport) -> SpawnError {
        let stage = report.stage();
        SpawnError::io(stage, error)
            .with_path(self.path_of(stage))
            .with_fd(report.number())
    }

    fn path_of(&self, stage: Stage) -> Option<&Path> {
        match stage {
            Stage::CurrentDir => self.current_dir.as_deref(),
            Stage::Exec => Some(&self.program),
            _ => None,
        }
    }

    /// A child is there: has it become the program, and can it be held?
    fn confirm(&self, child: &mut Child, report: &SharedReport) -> Result<Process, SpawnError> {
        if report.stage() != Stage::Exec || never_executed(child.id()) {
            let stage = report.stage();
            return Err(
                SpawnError::died(stage, kill_and_reap(child)).with_path(self.path_of(stage))
            );
        }
        Process::from_child(child).map_err(|error| {
            kill_and_reap(child);
            SpawnError::process(error)
        })
    }
}

/// Whether our child, not reaped yet, was killed on its way to the program.
///
/// Std takes the end of its error channel for success, and a death is such an end too. The kernel clears
/// `PF_FORKNOEXEC` (0x40 in field 9 of /proc/PID/stat) before it closes that channel in an execve. Without
/// /proc, the death is one of the program.
fn never_executed(pid: u32) -> bool {
    const PF_FORKNOEXEC: u64 = 0x40;
    let flags = || {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The command name may hold spaces and brackets: the last one closes it.
        stat.rsplit_once(") ")?
            .1
            .split(' ')
            .nth(6)?
            .parse::<u64>()
            .ok()
    };
    flags().is_some_and(|flags| flags & PF_FORKNOEXEC != 0)
}

fn kill_and_reap(child: &mut Child) -> Option<std::process::ExitStatus> {
    let _ = child.kill();
    child.wait().ok()
}

fn c_string(path: impl AsRef<Path>) -> Result<CString, SpawnError> {
    let bytes = path.as_ref().as_os_str().as_bytes();
    CString::new(bytes).map_err(|_| SpawnError::invalid("a path has a NUL byte"))
}
