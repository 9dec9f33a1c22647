//! One spawn: everything that can fail is made before the child exists, and all of it is undone on error.

use std::collections::BTreeSet;
use std::ffi::CString;
use std::os::fd::RawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fd_preserve::{ErrorChannel, PreserveFds};
use watchdog_pipe::{ChildSetup, Keepalive};

use crate::child::{Belonging, Routine};
use crate::config::{self, Sealed};
use crate::environment::{self, Environment};
use crate::identity::Record;
use crate::image::{self, Image};
use crate::internal_fds::{self, LOWEST};
use crate::stdio::{Direction, Stream};
use crate::sys::{self, Limit};
use crate::{ShimChild, ShimSpawner, SpawnError, SpawnedShim, Stage, engine};

/// Our own variables of one child: name and value.
type Variables = Vec<(&'static str, String)>;

impl ShimSpawner {
    /// Starts the shim. Comes back once it runs the program.
    ///
    /// # Errors
    /// A [`SpawnError`] that names the stage, the error number and the number or path. Nothing is left
    /// behind then: a child that existed was killed and reaped.
    ///
    /// # References
    /// [clone(2)](https://man7.org/linux/man-pages/man2/clone.2.html),
    /// [fork(2)](https://man7.org/linux/man-pages/man2/fork.2.html),
    /// [execve(2)](https://man7.org/linux/man-pages/man2/execve.2.html)
    pub fn spawn(&mut self) -> Result<SpawnedShim, SpawnError> {
        let belonging = self.belonging()?;
        let current_dir = self.current_dir.as_deref().map(c_string).transpose()?;
        image::check(&self.program, &self.args)?;
        environment::check(&self.env)?;
        let mut link = self.link()?;
        let config = match &self.config {
            Some(bytes) => Some(Sealed::new(bytes).map_err(|e| SpawnError::io(Stage::Config, e))?),
            None => None,
        };
        let (fds, variables) = self.plan(link.as_mut().map(|(_, setup)| setup), config.as_ref())?;
        let [stdin, stdout, stderr] = self.streams()?;
        let environment = Environment::new(&self.env, &variables);
        let routine = Routine {
            belonging,
            record: self.record()?,
            current_dir,
            streams: [stdin.theirs, stdout.theirs, stderr.theirs],
            hooks: self.hooks.clone(),
            fds,
            image: Image::new(&self.program, &self.args, environment),
        };
        let process = engine::start(self.engine, &routine).map_err(|error| {
            if let Some(record) = &routine.record {
                record.undo();
            }
            let path = self.path_of(error.stage());
            error.with_path(path)
        })?;
        let mut child = ShimChild::new(process, self.policy);
        child.stdin = stdin.ours.map(Into::into);
        child.stdout = stdout.ours.map(Into::into);
        child.stderr = stderr.ours.map(Into::into);
        Ok(SpawnedShim {
            child,
            keepalive: link.map(|(keepalive, _)| keepalive),
        })
    }

    fn record(&self) -> Result<Option<Record>, SpawnError> {
        let prepare = |path: &PathBuf| {
            Record::prepare(path, self.policy, !self.detached).map_err(|error| {
                let path = self.path_of(error.stage());
                error.with_path(path)
            })
        };
        self.identity_file.as_ref().map(prepare).transpose()
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

    /// The caller's numbers first; ours go to [others](crate::internal_fds).
    fn plan(
        &self,
        setup: Option<&mut ChildSetup>,
        config: Option<&Sealed>,
    ) -> Result<(fd_preserve::ChildFds, Variables), SpawnError> {
        let mut variables = Variables::new();
        let mut plan = PreserveFds::new();
        for (fd, number) in &self.fds {
            plan.map_shared_fd(Arc::clone(fd), *number)
                .map_err(SpawnError::fds)?;
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
            variables.push(setup.env());
        }
        if let Some(config) = config {
            let number = put(Arc::clone(&config.memfd))?;
            variables.push((config::ENV_VAR, config.env(number)));
        }
        // The engine has a page to report by, and no descriptor that a number of the plan could hit.
        let fds = plan.prepare(ErrorChannel::None).map_err(SpawnError::fds)?;
        Ok((fds, variables))
    }

    /// Numbers for our own descriptors that no descriptor of the caller's has.
    fn internal_numbers(&self) -> Result<impl Iterator<Item = RawFd>, SpawnError> {
        if self.internal_fds_from.is_some_and(|from| from < LOWEST) {
            return Err(SpawnError::invalid(
                "an internal descriptor is no standard stream",
            ));
        }
        let limit = sys::soft_limit(&Limit::OpenFiles).unwrap_or(u64::MAX);
        let taken: BTreeSet<RawFd> = self.fds.iter().map(|(_, number)| *number).collect();
        let candidates = internal_fds::candidates(self.internal_fds_from, limit);
        Ok(candidates.filter(move |number| !taken.contains(number)))
    }

    /// The child's ends and ours.
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
