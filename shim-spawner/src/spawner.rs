//! The builder, in the words of std's `Command`.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use watchdog_pipe::StopPolicy;

use crate::Engine;
use crate::child::Hook;
use crate::environment::EnvChange;
use crate::stdio::Stdio;

/// Spawns helper processes. Can spawn more than once.
///
/// The child gets the three standard streams, what [`preserve_fd`](ShimSpawner::preserve_fd) and
/// [`map_fd`](ShimSpawner::map_fd) name, and no other descriptor; an empty signal mask and the default
/// SIGPIPE; a process group of its own, or when [detached](ShimSpawner::detached) a session of its own.
pub struct ShimSpawner {
    pub(crate) program: PathBuf,
    pub(crate) args: Vec<OsString>,
    pub(crate) env: Vec<EnvChange>,
    pub(crate) current_dir: Option<PathBuf>,
    pub(crate) stdin: Stdio,
    pub(crate) stdout: Stdio,
    pub(crate) stderr: Stdio,
    pub(crate) process_group: Option<i32>,
    pub(crate) detached: bool,
    pub(crate) config: Option<Vec<u8>>,
    pub(crate) policy: StopPolicy,
    pub(crate) engine: Engine,
    pub(crate) fds: Vec<(Arc<OwnedFd>, RawFd)>,
    pub(crate) internal_fds_from: Option<RawFd>,
    pub(crate) hooks: Vec<Arc<Hook>>,
}

impl ShimSpawner {
    /// A spawner of `program`, which is looked up in `PATH` unless it has a slash.
    pub fn new(program: impl AsRef<OsStr>) -> ShimSpawner {
        ShimSpawner {
            program: PathBuf::from(program.as_ref()),
            args: Vec::new(),
            env: Vec::new(),
            current_dir: None,
            stdin: Stdio::inherit(),
            stdout: Stdio::inherit(),
            stderr: Stdio::inherit(),
            process_group: None,
            detached: false,
            config: None,
            policy: StopPolicy::new(),
            engine: Engine::default(),
            fds: Vec::new(),
            internal_fds_from: None,
            hooks: Vec::new(),
        }
    }

    /// Adds an argument.
    pub fn arg(&mut self, arg: impl AsRef<OsStr>) -> &mut ShimSpawner {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    pub fn args(&mut self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> &mut ShimSpawner {
        self.args
            .extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Sets an environment variable.
    pub fn env(&mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> &mut ShimSpawner {
        self.env.push(EnvChange::Set(
            name.as_ref().to_owned(),
            value.as_ref().to_owned(),
        ));
        self
    }

    /// Sets environment variables.
    pub fn envs(
        &mut self,
        vars: impl IntoIterator<Item = (impl AsRef<OsStr>, impl AsRef<OsStr>)>,
    ) -> &mut ShimSpawner {
        for (name, value) in vars {
            self.env(name, value);
        }
        self
    }

    /// Removes an environment variable.
    pub fn env_remove(&mut self, name: impl AsRef<OsStr>) -> &mut ShimSpawner {
        self.env.push(EnvChange::Remove(name.as_ref().to_owned()));
        self
    }

    /// Starts from an empty environment.
    pub fn env_clear(&mut self) -> &mut ShimSpawner {
        self.env.push(EnvChange::Clear);
        self
    }

    /// The child's working directory. A relative program path is looked up from there.
    pub fn current_dir(&mut self, dir: impl AsRef<Path>) -> &mut ShimSpawner {
        self.current_dir = Some(dir.as_ref().to_owned());
        self
    }

    /// The child's standard input; inherited unless set.
    pub fn stdin(&mut self, stdio: impl Into<Stdio>) -> &mut ShimSpawner {
        self.stdin = stdio.into();
        self
    }

    /// The child's standard output; inherited unless set.
    pub fn stdout(&mut self, stdio: impl Into<Stdio>) -> &mut ShimSpawner {
        self.stdout = stdio.into();
        self
    }

    /// The child's standard error; inherited unless set.
    pub fn stderr(&mut self, stdio: impl Into<Stdio>) -> &mut ShimSpawner {
        self.stderr = stdio.into();
        self
    }

    /// The child's process group; 0, the default, is one of its own. Of no use with a session of its own.
    pub fn process_group(&mut self, group: i32) -> &mut ShimSpawner {
        self.process_group = Some(group);
        self
    }

    /// Passes a descriptor on under the number it has here.
    pub fn preserve_fd(&mut self, fd: impl Into<OwnedFd>) -> &mut ShimSpawner {
        let fd = fd.into();
        let number = fd.as_raw_fd();
        self.map_fd(fd, number)
    }

    /// Passes a descriptor on under a number of your choice. Bad numbers are errors of the spawn.
    pub fn map_fd(&mut self, fd: impl Into<OwnedFd>, child_fd: RawFd) -> &mut ShimSpawner {
        self.fds.push((Arc::new(fd.into()), child_fd));
        self
    }

    /// The lowest number in the child for the descriptors that this crate adds: the watchdog's pipe and page, and the
    /// configuration. They go to the lowest numbers from `first` up that no descriptor of yours has.
    ///
    /// Unless set, they lie on 49, 48 and 47, or on the highest free numbers below a lower limit of open files: out
    /// of the way of numbers that an inherited variable names (`MAKEFLAGS`, `LISTEN_FDS`) or a shell script uses
    /// (`exec 3>file`). A number below 3, or one at the soft `RLIMIT_NOFILE`, is an error of the spawn.
    pub fn internal_fds_from(&mut self, first: RawFd) -> &mut ShimSpawner {
        self.internal_fds_from = Some(first);
        self
    }

    /// Whether the shim outlives its runtime: then it gets a session of its own and no watchdog.
    pub fn detached(&mut self, detached: bool) -> &mut ShimSpawner {
        self.detached = detached;
        self
    }

    /// Bytes that the child reads by [`shim_config`](crate::shim_config), at most
    /// [`CONFIG_MAX`](crate::CONFIG_MAX). They never stand on a command line.
    pub fn config(&mut self, bytes: impl Into<Vec<u8>>) -> &mut ShimSpawner {
        self.config = Some(bytes.into());
        self
    }

    /// How the shim is stopped, by [`ShimHandler::stop`](crate::ShimHandler::stop) and by its own watchdog.
    pub fn stop_policy(&mut self, policy: StopPolicy) -> &mut ShimSpawner {
        self.policy = policy;
        self
    }

    /// How the child is created; [`Engine::Vfork`] unless set.
    pub fn engine(&mut self, engine: Engine) -> &mut ShimSpawner {
        self.engine = engine;
        self
    }
}

/// Names what is spawned; environment and configuration may hold secrets and are left out.
impl fmt::Debug for ShimSpawner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ShimSpawner")
            .field("program", &self.program)
            .field("args", &self.args)
            .field("detached", &self.detached)
            .field("engine", &self.engine)
            .field("fds", &self.fds)
            .finish_non_exhaustive()
    }
}
