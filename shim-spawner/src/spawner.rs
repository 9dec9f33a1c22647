//! The builder, with the method names of std's `Command`.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::io::fcntl_dupfd_cloexec;
use watchdog_pipe::StopPolicy;

use crate::cgroup::CgroupFolder;
use crate::child::PreExecClosure;
use crate::credentials::Credentials;
use crate::environment::EnvChange;
use crate::internal_fds::LOWEST;
use crate::limits::Limits;
use crate::listen::ListenFds;
use crate::signals::Signals;
use crate::stdio::Stdio;
use crate::supervisor::Supervisor;
use crate::terminal::Terminal;
use crate::{Engine, SpawnError, Stage, StopTarget};

/// Spawns helper processes. Can spawn more than once.
///
/// By default, the child gets:
/// - the three standard streams, the descriptors that [`preserve_fd`](ShimSpawner::preserve_fd) and
///   [`map_fd`](ShimSpawner::map_fd) name, our own
///   ([`internal_fds_from`](ShimSpawner::internal_fds_from)), and no others;
/// - an empty signal mask and the default SIGPIPE;
/// - a process group of its own, or a session of its own if it is
///   [detached](ShimSpawner::detached).
///
/// Methods change these defaults.
///
/// The spawner keeps every descriptor that it was given until it is dropped: see
/// [`map_fd`](ShimSpawner::map_fd).
///
#[doc = include_str!("std_command.md")]
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is what one method was told, and none bears on another"
)]
pub struct ShimSpawner {
    pub(crate) program: PathBuf,
    pub(crate) arg0: Option<OsString>,
    pub(crate) args: Vec<OsString>,
    pub(crate) env: Vec<EnvChange>,
    pub(crate) current_dir: Option<PathBuf>,
    pub(crate) stdin: Stdio,
    pub(crate) stdout: Stdio,
    pub(crate) stderr: Stdio,
    pub(crate) cgroup: Option<Arc<OwnedFd>>,
    pub(crate) signals: Signals,
    pub(crate) session: bool,
    pub(crate) process_group: Option<i32>,
    pub(crate) terminal: Terminal,
    pub(crate) limits: Limits,
    pub(crate) credentials: Credentials,
    pub(crate) detached: bool,
    pub(crate) identity_file: Option<PathBuf>,
    pub(crate) config: Option<Vec<u8>>,
    pub(crate) policy: StopPolicy,
    pub(crate) stop_target: Option<StopTarget>,
    pub(crate) stop_cgroup: Option<Arc<CgroupFolder>>,
    pub(crate) sentinel: bool,
    pub(crate) kill_on_close: bool,
    pub(crate) supervisor: Option<Supervisor>,
    pub(crate) engine: Engine,
    pub(crate) fds: Vec<(Arc<OwnedFd>, RawFd)>,
    pub(crate) listen: ListenFds,
    pub(crate) internal_fds_from: Option<RawFd>,
    pub(crate) retry_busy: Duration,
    pub(crate) closures: Vec<Arc<PreExecClosure>>,
}

impl ShimSpawner {
    /// A spawner of `program`. If the name has no slash, it is looked up in `PATH`.
    pub fn new(program: impl AsRef<OsStr>) -> ShimSpawner {
        ShimSpawner {
            program: PathBuf::from(program.as_ref()),
            arg0: None,
            args: Vec::new(),
            env: Vec::new(),
            current_dir: None,
            stdin: Stdio::inherit(),
            stdout: Stdio::inherit(),
            stderr: Stdio::inherit(),
            cgroup: None,
            signals: Signals::default(),
            session: false,
            process_group: None,
            terminal: Terminal::default(),
            limits: Limits::default(),
            credentials: Credentials::default(),
            detached: false,
            identity_file: None,
            config: None,
            policy: StopPolicy::new(),
            stop_target: None,
            stop_cgroup: None,
            sentinel: true,
            kill_on_close: false,
            supervisor: None,
            engine: Engine::default(),
            fds: Vec::new(),
            listen: ListenFds::new(),
            internal_fds_from: None,
            retry_busy: Duration::ZERO,
            closures: Vec::new(),
        }
    }

    /// The first of the program's arguments, its own name. The default is the program as it was
    /// given.
    ///
    /// # Errors
    /// From the spawn: [`Stage::Arguments`](crate::Stage::Arguments) for a NUL byte, and with a
    /// [supervisor](ShimSpawner::supervised), which sets this name itself.
    pub fn arg0(&mut self, name: impl AsRef<OsStr>) -> &mut ShimSpawner {
        self.arg0 = Some(name.as_ref().to_owned());
        self
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

    /// The child's working directory. A relative program path is resolved from there.
    pub fn current_dir(&mut self, dir: impl AsRef<Path>) -> &mut ShimSpawner {
        self.current_dir = Some(dir.as_ref().to_owned());
        self
    }

    /// The child's standard input. Inherited by default. The spawner keeps a descriptor that is
    /// given here: see [`map_fd`](ShimSpawner::map_fd).
    pub fn stdin(&mut self, stdio: impl Into<Stdio>) -> &mut ShimSpawner {
        self.stdin = stdio.into();
        self
    }

    /// The child's standard output. Inherited by default. The spawner keeps a descriptor that is
    /// given here: see [`map_fd`](ShimSpawner::map_fd).
    pub fn stdout(&mut self, stdio: impl Into<Stdio>) -> &mut ShimSpawner {
        self.stdout = stdio.into();
        self
    }

    /// The child's standard error. Inherited by default. The spawner keeps a descriptor that is
    /// given here: see [`map_fd`](ShimSpawner::map_fd).
    pub fn stderr(&mut self, stdio: impl Into<Stdio>) -> &mut ShimSpawner {
        self.stderr = stdio.into();
        self
    }

    /// The child's process group. 0, the default, means a new group. Any other number means a group
    /// of this session that the child joins. Has no use with a session of its own.
    ///
    /// # Errors
    /// From the spawn: [`Stage::Session`](crate::Stage::Session): `EPERM` for a group of another
    /// session, or one that does not exist. [`Stage::Arguments`](crate::Stage::Arguments) for a
    /// negative number, and for a group to join together with a session of its own.
    ///
    /// # References
    /// [setpgid(2)](https://man7.org/linux/man-pages/man2/setpgid.2.html)
    pub fn process_group(&mut self, group: i32) -> &mut ShimSpawner {
        self.process_group = Some(group);
        self
    }

    /// Gives the child a descriptor on the number it has here. The spawner keeps it: see
    /// [`map_fd`](ShimSpawner::map_fd).
    pub fn preserve_fd(&mut self, fd: impl Into<OwnedFd>) -> &mut ShimSpawner {
        let fd = fd.into();
        let number = fd.as_raw_fd();
        self.map_fd(fd, number)
    }

    /// Gives the child a duplicate of `fd` on the number that `fd` has here. The duplicate is made
    /// now, close-on-exec, and the spawner keeps it: see [`map_fd`](ShimSpawner::map_fd).
    ///
    /// # Errors
    /// [`Stage::Descriptors`](crate::Stage::Descriptors): `EMFILE`, if it cannot be duplicated.
    pub fn preserve_borrowed_fd(&mut self, fd: impl AsFd) -> Result<&mut ShimSpawner, SpawnError> {
        let fd = fd.as_fd();
        self.map_borrowed_fd(fd, fd.as_raw_fd())
    }

    /// Gives the child a descriptor on a number of your choice. The spawn fails if a number is
    /// negative, given twice, or not below the limit on open files.
    ///
    /// The spawner keeps the descriptor open until it is dropped, so that it can spawn again.
    /// **Until then, a reader in this process sees no end of file** on a pipe or socket whose other
    /// end it gave here, even after the shim's exit. Drop the spawner after its last spawn, or
    /// spawn in the statement that makes it:
    ///
    /// ```
    /// use std::io::{self, Read};
    /// use shim_spawner::ShimSpawner;
    ///
    /// let (mut reader, writer) = io::pipe()?;
    /// let shim = ShimSpawner::new("sh")
    ///     .args(["-c", "echo ready >&3"])
    ///     .map_fd(writer, 3)
    ///     .spawn()?;
    /// // The spawner is gone now, and our copy of the writer with it.
    /// let mut said = String::new();
    /// reader.read_to_string(&mut said)?;
    /// assert_eq!(said, "ready\n");
    /// # drop(shim);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn map_fd(&mut self, fd: impl Into<OwnedFd>, child_fd: RawFd) -> &mut ShimSpawner {
        self.map_shared_fd(Arc::new(fd.into()), child_fd)
    }

    /// Gives the child a descriptor that has other owners too, on a number of your choice. Makes no
    /// system call and no copy. The spawner shares it until it is dropped: see
    /// [`map_fd`](ShimSpawner::map_fd).
    pub fn map_shared_fd(&mut self, fd: Arc<OwnedFd>, child_fd: RawFd) -> &mut ShimSpawner {
        self.fds.push((fd, child_fd));
        self
    }

    /// Gives the child a duplicate of `fd` on a number of your choice. The duplicate is made now,
    /// close-on-exec, and the spawner keeps it: see [`map_fd`](ShimSpawner::map_fd). `fd` itself
    /// stays yours, and may be closed.
    ///
    /// # Errors
    /// [`Stage::Descriptors`](crate::Stage::Descriptors): `EMFILE`, if it cannot be duplicated.
    pub fn map_borrowed_fd(
        &mut self,
        fd: impl AsFd,
        child_fd: RawFd,
    ) -> Result<&mut ShimSpawner, SpawnError> {
        let copy = fcntl_dupfd_cloexec(fd, LOWEST)
            .map_err(|errno| SpawnError::io(Stage::Descriptors, errno).with_fd(Some(child_fd)))?;
        Ok(self.map_fd(copy, child_fd))
    }

    /// The lowest number in the child for the descriptors that this crate adds: the watchdog's pipe
    /// and page, and the configuration. They get the lowest numbers from `first` up that none of
    /// your descriptors has.
    ///
    /// By default they get 49, 48 and 47, or the highest free numbers below a lower limit on open
    /// files. So they do not take numbers that an inherited variable names (`MAKEFLAGS`,
    /// `LISTEN_FDS`) or that a shell script uses (`exec 3>file`). The spawn fails for a number
    /// below 3, or at the soft `RLIMIT_NOFILE`.
    pub fn internal_fds_from(&mut self, first: RawFd) -> &mut ShimSpawner {
        self.internal_fds_from = Some(first);
        self
    }

    /// Whether the shim is left alone when its runtime ends. A detached shim gets a session of its
    /// own and no link. By default a shim is not detached, and learns of the runtime's end. But a
    /// program without a [`Watchdog`](watchdog_pipe::Watchdog) does not listen, and goes on.
    pub fn detached(&mut self, detached: bool) -> &mut ShimSpawner {
        self.detached = detached;
        self
    }

    /// Bytes that the child reads by [`shim_config`](crate::shim_config), at most
    /// [`CONFIG_MAX`](crate::CONFIG_MAX). They never appear on a command line.
    pub fn config(&mut self, bytes: impl Into<Vec<u8>>) -> &mut ShimSpawner {
        self.config = Some(bytes.into());
        self
    }

    /// The path of a file for the shim's identity. The file is complete and on the disk before the
    /// shim executes its program. So if the runtime is killed at any instant, no shim is without a
    /// file. The next runtime finds each shim by [`ShimIdentity::load`](crate::ShimIdentity::load)
    /// and [`ShimHandler::adopt`](crate::ShimHandler::adopt).
    ///
    /// The child writes the file. At that time it already has its own session or group, and has not
    /// changed its directory yet. If [`spawn`](ShimSpawner::spawn) returns a shim, the file exists
    /// and is equal to [`ShimHandler::identity`](crate::ShimHandler::identity). If it fails,
    /// nothing of the file is left, and an identity that was there before is restored. Nobody
    /// removes the file when the shim ends.
    ///
    /// A file at `path` is replaced in one step, by a rename. The spawn fails, and changes nothing,
    /// if `path` is not a regular file, or is larger than any identity (4,096 bytes). Each shim
    /// needs its own path. A relative path is resolved from the working directory of this process.
    /// This process must be allowed to read the folder. As with
    /// [`save`](crate::ShimIdentity::save), only the owner may access the file. A writer that was
    /// killed half-way leaves a spare file next to it, which the next writer removes.
    ///
    /// The spawn takes as long as the file system needs to sync the file and its folder. It needs
    /// `/proc`.
    ///
    /// # Errors
    /// From the spawn: [`Stage::Identity`](crate::Stage::Identity),
    /// [`Stage::IdentityFile`](crate::Stage::IdentityFile).
    pub fn identity_file(&mut self, path: impl AsRef<Path>) -> &mut ShimSpawner {
        self.identity_file = Some(path.as_ref().to_owned());
        self
    }

    /// How the shim is stopped, by [`ShimHandler::stop`](crate::ShimHandler::stop) and by its own
    /// watchdog.
    pub fn stop_policy(&mut self, policy: StopPolicy) -> &mut ShimSpawner {
        self.policy = policy;
        self
    }

    /// Which processes [`ShimHandler::stop`](crate::ShimHandler::stop) stops. The default is the
    /// process group if the shim leads one, otherwise the shim alone; under a
    /// [supervisor](ShimSpawner::supervised) the tree.
    ///
    /// The shim's own watchdog ignores this: it stops only the shim.
    ///
    /// # Errors
    /// From the spawn, [`Stage::Arguments`](crate::Stage::Arguments): [`StopTarget::Group`] for a
    /// shim that joins an existing group, because this process itself may be in it;
    /// [`StopTarget::Cgroup`] without a [cgroup](ShimSpawner::stop_cgroup); [`StopTarget::Tree`]
    /// without a supervisor, and all others with one.
    pub fn stop_target(&mut self, target: StopTarget) -> &mut ShimSpawner {
        self.stop_target = Some(target);
        self
    }

    /// A stop stops the cgroup (version 2) with this folder, and the cgroups below it:
    /// [`StopTarget::Cgroup`]. It does not matter how the shim gets into the cgroup. A spawner and
    /// its handlers share the descriptor.
    pub fn stop_cgroup(&mut self, folder: impl Into<OwnedFd>) -> &mut ShimSpawner {
        self.stop_cgroup = Some(Arc::new(CgroupFolder::new(folder.into())));
        self.stop_target(StopTarget::Cgroup)
    }

    /// Whether an attached shim learns of the runtime's death before the runtime's memory is torn
    /// down. The default is yes. It costs the runtime a thread and a descriptor. See
    /// [`Builder::sentinel`](watchdog_pipe::Builder::sentinel).
    /// [`SpawnedShim::guarantees`](crate::SpawnedShim::guarantees) says whether it works.
    pub fn sentinel(&mut self, sentinel: bool) -> &mut ShimSpawner {
        self.sentinel = sentinel;
        self
    }

    /// Makes the kernel kill the shim when this process dies, executes another program or drops the
    /// handle. The kernel uses SIGKILL, without a grace period. Use it for a program that has no
    /// [`Watchdog`](watchdog_pipe::Watchdog), if no supervisor is possible. It does not kill what
    /// the shim has started.
    ///
    /// The kernel kills the shim when the last copy of the child's original descriptor is closed.
    /// These keep it open: a clone of its [`Process`](crate::Process), a callback that waits for
    /// its exit, and a copy of this process made by fork. The handle of an
    /// [adopted](crate::ShimHandler::adopt) shim does not. A
    /// [released](crate::ShimHandler::release) shim is killed nevertheless.
    ///
    /// The kernel itself reaps such a shim. So the shim leaves no zombie and raises no SIGCHLD, and
    /// its status comes from the pidfd. A shim that is killed while it executes its program counts
    /// as started.
    ///
    /// Linux 7.1, on x86-64 (`CLONE_PIDFD_AUTOKILL`). Without `CAP_SYS_ADMIN` the program gets
    /// `no_new_privs`: set-user-id programs give it no privilege.
    ///
    /// # Errors
    /// From the spawn: [`Stage::Create`](crate::Stage::Create) with
    /// [`Unsupported`](std::io::ErrorKind::Unsupported) on any other kernel, and if a filter
    /// refuses clone3; nothing is started then. [`Stage::Arguments`](crate::Stage::Arguments) for a
    /// [detached](ShimSpawner::detached) or [supervised](ShimSpawner::supervised) shim, with
    /// [`Engine::Fork`], and with a [`pre_exec`](ShimSpawner::pre_exec) closure.
    ///
    /// # References
    /// [clone3(2)](https://man7.org/linux/man-pages/man2/clone3.2.html)
    pub fn kill_on_close(&mut self, kill: bool) -> &mut ShimSpawner {
        self.kill_on_close = kill;
        self
    }

    /// Puts `watchdog-shim` between this process and the program. The program then needs no
    /// watchdog of its own: the program, and everything that it ever starts, is stopped when this
    /// process dies or lets go.
    ///
    /// The program gets the same descriptors, configuration, streams and environment as without a
    /// supervisor, and nothing of the watchdog. The child is the supervisor. The handle and the
    /// identity name its pid. It ends when the whole tree is gone, as the program ended. The [stop
    /// policy](ShimSpawner::stop_policy) is for the tree. The supervisor itself is stopped by
    /// SIGTERM. It has the grace period, and ten more seconds to kill what is left.
    /// [`ShimChild::stop_policy`](crate::ShimChild::stop_policy) and the identity say that. So
    /// [`ShimHandler::stop`](crate::ShimHandler::stop) also stops the tree after
    /// [`adopt`](crate::ShimHandler::adopt).
    ///
    /// # Errors
    /// From the spawn, which waits until the program was executed.
    /// [`Stage::Supervisor`](crate::Stage::Supervisor) for everything that concerns the supervisor.
    /// [`Stage::Exec`](crate::Stage::Exec) for the program: `ENOENT` if it was not found,
    /// [`PermissionDenied`](std::io::ErrorKind::PermissionDenied) if it cannot be executed, for any
    /// reason. The supervisor writes the reason to the shim's standard error.
    /// [`Stage::Arguments`](crate::Stage::Arguments) for a [detached](ShimSpawner::detached) shim,
    /// which nobody stops.
    pub fn supervised(&mut self, supervisor: Supervisor) -> &mut ShimSpawner {
        self.supervisor = Some(supervisor);
        self
    }

    /// How long to retry the exec of a program that is still open for writing, on the monotonic
    /// clock. The default is not at all. While this thread writes a program's file, another thread
    /// may start a program. Its child has a copy of the descriptor until its own exec. So the exec
    /// here fails with `ETXTBSY`, for no reason that this process can see.
    ///
    /// Each try creates a new child. If two children waited, each with the other's file open, both
    /// would wait in vain. [`pre_exec`](ShimSpawner::pre_exec) closures run in each child. With a
    /// [supervisor](ShimSpawner::supervised), this applies only to the supervisor's program.
    ///
    /// # Errors
    /// From the spawn: [`Stage::Exec`](crate::Stage::Exec): `ETXTBSY` when the time is over.
    ///
    /// # References
    /// [execve(2)](https://man7.org/linux/man-pages/man2/execve.2.html)
    pub fn retry_busy(&mut self, time: Duration) -> &mut ShimSpawner {
        self.retry_busy = time;
        self
    }

    /// Runs a closure in the child, after session, limits, credentials and directory are set, and
    /// before the descriptors are put on their numbers. Closures run in the order in which they
    /// were added. They need a copy of this process's memory, so the engine is [`Engine::Fork`]
    /// then.
    ///
    /// # Safety
    /// The closure runs between fork and exec: it may only do what is async-signal-safe. A panic in
    /// it ends the child, and is reported as an error of [`Stage::PreExec`].
    ///
    /// # References
    /// [signal-safety(7)](https://man7.org/linux/man-pages/man7/signal-safety.7.html)
    #[allow(unsafe_code, reason = "its caller answers for what the closure does")]
    pub unsafe fn pre_exec(
        &mut self,
        closure: impl FnMut() -> io::Result<()> + Send + Sync + 'static,
    ) -> &mut ShimSpawner {
        self.closures.push(Arc::new(PreExecClosure::new(closure)));
        self
    }

    /// How the child is created. The default is [`Engine::Vfork`].
    pub fn engine(&mut self, engine: Engine) -> &mut ShimSpawner {
        self.engine = engine;
        self
    }
}

/// Shows what is spawned, in one line, with only the number of arguments and descriptors. The
/// environment and the configuration may contain secrets and are left out.
impl fmt::Debug for ShimSpawner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ShimSpawner")
            .field("program", &self.program)
            .field("args", &self.args.len())
            .field("fds", &self.fds.len())
            .field("detached", &self.detached)
            .field("engine", &self.engine)
            .finish_non_exhaustive()
    }
}
