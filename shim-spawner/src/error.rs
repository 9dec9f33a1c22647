//! Why a shim was not spawned, and at which stage.

use std::error::Error;
use std::fmt;
use std::io;
use std::os::fd::RawFd;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

use rustix::process::Resource;

/// The step at which a spawn failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[repr(u32)]
pub enum Stage {
    /// Creating the process:
    ///
    /// - `EAGAIN`, `ENOMEM`;
    /// - `EMFILE`, `ENFILE`: no descriptor number is left for the process handle;
    /// - `EPERM`, `ENOSYS`: a seccomp filter refuses every method. With
    ///   [`Engine::Fork`](crate::Engine::Fork), also if it refuses `set_robust_list` or `gettid`,
    ///   without which the kernel cannot report the exec.
    Create = 0,
    /// The settings make no sense: a NUL byte, a group together with a session, a number out of
    /// range. Nothing was started.
    Arguments,
    /// The lifetime link: `EMFILE`, `ENFILE`.
    Watchdog,
    /// The configuration's memory file: `EMFILE`, `ENFILE`, `EFBIG`.
    Config,
    /// The standard streams: `EMFILE`, `ENFILE`. In the child `ENOENT`: a stream is missing, and so
    /// is `/dev/null`.
    Stdio,
    /// Planning the descriptors: duplicate or negative numbers, a number at the limit, `EMFILE`.
    Descriptors,
    /// The memory for the child's report, or for its stack: `ENOMEM`.
    Report,
    /// In the child: the move to its [cgroup](crate::ShimSpawner::cgroup) (`EACCES`, `EBUSY`,
    /// `EOPNOTSUPP`, `ENOENT`, `ENODEV`).
    Cgroup,
    /// In the child: signal handlers and [ignored signals](crate::ShimSpawner::ignored_signals).
    Signals,
    /// In the child: its own session or process group (`EPERM`).
    Session,
    /// In the child: the [controlling terminal](crate::ShimSpawner::controlling_terminal)
    /// (`ENOTTY`, `EPERM`, `EIO`) or its [foreground](crate::ShimSpawner::foreground) (`ENOTTY`).
    Terminal,
    /// The data that identify the shim, for its [identity file](crate::ShimSpawner::identity_file):
    ///
    /// - `ENOENT`, `EACCES`: `/proc` is missing or hidden;
    /// - `EMFILE`, `ENFILE`;
    /// - `Unsupported`: children of this process are born in another PID or time namespace;
    /// - `ENOSYS`, `EPERM`: a filter refuses `pidfd_open`.
    Identity,
    /// The [identity file](crate::ShimSpawner::identity_file):
    ///
    /// - `InvalidInput`: the path names no file;
    /// - `AlreadyExists`: there is something at the path that cannot be an identity file;
    /// - `ENOENT`, `ENOTDIR`, `EACCES`, `EROFS`, `ENOSPC`, `EDQUOT`, `ENAMETOOLONG`, `EFBIG`,
    ///   `EMFILE`, `EBUSY`.
    IdentityFile,
    /// In the child: a [resource limit](crate::ShimSpawner::rlimit) (`EPERM`).
    Limits,
    /// In the child: [`oom_score_adj`](crate::ShimSpawner::oom_score_adj) (`EACCES`, `ENOENT`).
    OomScoreAdj,
    /// In the child: the [nice value](crate::ShimSpawner::nice) (`EACCES`).
    Nice,
    /// In the child: the [CPUs](crate::ShimSpawner::cpu_affinity) (`EINVAL`).
    CpuAffinity,
    /// In the child: the [umask](crate::ShimSpawner::umask).
    Umask,
    /// In the child: the [root directory](crate::ShimSpawner::chroot) (`EPERM`, `ENOENT`,
    /// `ENOTDIR`, `EACCES`).
    Chroot,
    /// In the child: the supplementary [groups](crate::ShimSpawner::groups) (`EPERM`, `EINVAL`).
    Groups,
    /// In the child: the [group](crate::ShimSpawner::gid) (`EPERM`, `EINVAL`).
    Gid,
    /// In the child: the [user](crate::ShimSpawner::uid) (`EPERM`, `EINVAL`).
    Uid,
    /// In the child: [`no_new_privs`](crate::ShimSpawner::no_new_privs).
    NoNewPrivs,
    /// In the child: the working directory (`ENOENT`, `ENOTDIR`, `EACCES`).
    CurrentDir,
    /// In the child: the signal mask, and a closure of the caller.
    PreExec,
    /// In the child: putting the descriptors on their numbers.
    InstallFds,
    /// In the child: the program itself (`ENOENT`, `EACCES`, `ENOTDIR`; `ENOEXEC`: it is damaged,
    /// for another machine, or a script without `#!`: no shell is asked to run it).
    Exec,
    /// The handle on a process that [`Engine::Fork`](crate::Engine::Fork) made: `EMFILE`, `ENFILE`;
    /// `ESRCH` if SIGCHLD is ignored and the process ended at once. The child was killed and
    /// reaped.
    Pidfd,
    /// The [supervisor](crate::ShimSpawner::supervised):
    ///
    /// - its program was not found (`NotFound`, with the paths that were tried; `ENOENT`, `EACCES`
    ///   at a given path);
    /// - it refused to start ([`exit_status`](SpawnError::exit_status) 125; a line on the shim's
    ///   standard error names the reason);
    /// - it was killed;
    /// - it took too long (`TimedOut`).
    // The last one: `ALL` ends with it.
    Supervisor,
}

impl Stage {
    /// Every stage, in the order of their codes.
    const ALL: [Stage; Stage::Supervisor as usize + 1] = [
        Stage::Create,
        Stage::Arguments,
        Stage::Watchdog,
        Stage::Config,
        Stage::Stdio,
        Stage::Descriptors,
        Stage::Report,
        Stage::Cgroup,
        Stage::Signals,
        Stage::Session,
        Stage::Terminal,
        Stage::Identity,
        Stage::IdentityFile,
        Stage::Limits,
        Stage::OomScoreAdj,
        Stage::Nice,
        Stage::CpuAffinity,
        Stage::Umask,
        Stage::Chroot,
        Stage::Groups,
        Stage::Gid,
        Stage::Uid,
        Stage::NoNewPrivs,
        Stage::CurrentDir,
        Stage::PreExec,
        Stage::InstallFds,
        Stage::Exec,
        Stage::Pidfd,
        Stage::Supervisor,
    ];

    /// The stage of a stored number. [`Stage::Create`] if the number is no stage.
    pub(crate) fn from_code(code: u32) -> Stage {
        let stage = usize::try_from(code)
            .ok()
            .and_then(|code| Stage::ALL.get(code));
        stage.copied().unwrap_or(Stage::Create)
    }

    fn text(self) -> &'static str {
        match self {
            Stage::Create => "creating the process",
            Stage::Arguments => "checking the arguments",
            Stage::Watchdog => "making the watchdog's pipe",
            Stage::Config => "making the configuration's memory file",
            Stage::Stdio => "opening the standard streams",
            Stage::Descriptors => "planning the descriptors",
            Stage::Report => "mapping the memory to report by",
            Stage::Cgroup => "moving to its cgroup",
            Stage::Signals => "setting signal actions",
            Stage::Session => "setting session or process group",
            Stage::Terminal => "taking the terminal",
            Stage::Identity => "finding out the identity of the process",
            Stage::IdentityFile => "writing the identity file",
            Stage::Limits => "setting a resource limit",
            Stage::OomScoreAdj => "setting oom_score_adj",
            Stage::Nice => "setting the nice value",
            Stage::CpuAffinity => "setting the CPU affinity",
            Stage::Umask => "setting the umask",
            Stage::Chroot => "changing the root directory",
            Stage::Groups => "setting the supplementary groups",
            Stage::Gid => "setting the group",
            Stage::Uid => "setting the user",
            Stage::NoNewPrivs => "setting no_new_privs",
            Stage::CurrentDir => "changing the working directory",
            Stage::PreExec => "running a pre_exec closure",
            Stage::InstallFds => "installing the descriptors",
            Stage::Exec => "executing the program",
            Stage::Pidfd => "opening a handle on the process",
            Stage::Supervisor => "starting its supervisor",
        }
    }
}

/// A shim was not spawned. It leaves nothing behind: no process, no descriptor, no zombie.
#[derive(Debug)]
pub struct SpawnError {
    stage: Stage,
    cause: Cause,
    path: Option<PathBuf>,
    fd: Option<RawFd>,
    resource: Option<Resource>,
}

#[derive(Debug)]
enum Cause {
    Io(io::Error),
    Fds(fd_preserve::Error),
    Died(Option<ExitStatus>),
}

impl SpawnError {
    pub(crate) fn io(stage: Stage, error: impl Into<io::Error>) -> SpawnError {
        SpawnError {
            stage,
            cause: Cause::Io(error.into()),
            path: None,
            fd: None,
            resource: None,
        }
    }

    pub(crate) fn invalid(text: &'static str) -> SpawnError {
        SpawnError::io(
            Stage::Arguments,
            io::Error::new(io::ErrorKind::InvalidInput, text),
        )
    }

    pub(crate) fn fds(error: fd_preserve::Error) -> SpawnError {
        SpawnError {
            stage: Stage::Descriptors,
            cause: Cause::Fds(error),
            path: None,
            fd: None,
            resource: None,
        }
    }

    pub(crate) fn died(stage: Stage, status: Option<ExitStatus>) -> SpawnError {
        SpawnError {
            stage,
            cause: Cause::Died(status),
            path: None,
            fd: None,
            resource: None,
        }
    }

    pub(crate) fn is_time_out(&self) -> bool {
        matches!(&self.cause, Cause::Io(error) if error.kind() == io::ErrorKind::TimedOut)
    }

    pub(crate) fn with_stage(self, stage: Stage) -> SpawnError {
        SpawnError { stage, ..self }
    }

    pub(crate) fn with_path(self, path: Option<&Path>) -> SpawnError {
        SpawnError {
            path: path.map(Path::to_owned),
            ..self
        }
    }

    pub(crate) fn with_fd(self, fd: Option<RawFd>) -> SpawnError {
        SpawnError { fd, ..self }
    }

    pub(crate) fn with_resource(self, resource: Option<Resource>) -> SpawnError {
        SpawnError { resource, ..self }
    }

    /// The stage that failed.
    #[must_use]
    pub fn stage(&self) -> Stage {
        self.stage
    }

    /// The errno, if a system call failed.
    #[must_use]
    pub fn raw_os_error(&self) -> Option<i32> {
        match &self.cause {
            Cause::Io(error) => error.raw_os_error(),
            Cause::Fds(error) => error
                .source()?
                .downcast_ref::<io::Error>()
                .and_then(io::Error::raw_os_error),
            Cause::Died(_) => None,
        }
    }

    /// The path that failed, if one did: the program, its supervisor, the working or root
    /// directory, or the identity file.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// The number in the child, if the error is about one.
    #[must_use]
    pub fn fd(&self) -> Option<RawFd> {
        self.fd
    }

    /// The resource whose limit could not be set, if the error is about one.
    #[must_use]
    pub fn resource(&self) -> Option<Resource> {
        self.resource
    }

    /// The exit status of the child, if it was killed, or killed itself, before it executed the
    /// program. The exit status of the supervisor, if it did not start the program.
    #[must_use]
    pub fn exit_status(&self) -> Option<ExitStatus> {
        match self.cause {
            Cause::Died(status) => status,
            _ => None,
        }
    }
}

impl fmt::Display for SpawnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "spawning a shim failed while {}", self.stage.text())?;
        if let Some(path) = &self.path {
            write!(f, " ({})", path.display())?;
        }
        if let Some(fd) = self.fd {
            write!(f, " (descriptor {fd})")?;
        }
        if let Some(resource) = self.resource {
            write!(f, " ({resource:?})")?;
        }
        match &self.cause {
            Cause::Died(Some(status)) if self.stage == Stage::Supervisor => {
                write!(f, ": it started nothing and ended: {status}")
            }
            Cause::Died(Some(status)) => write!(f, ": the child died before its exec: {status}"),
            Cause::Died(None) => f.write_str(": the child died before its exec"),
            _ => Ok(()),
        }
    }
}

/// Keeps the errno if there is one. Otherwise the error has the kind that fits best, with the
/// [`SpawnError`] inside.
impl From<SpawnError> for io::Error {
    fn from(error: SpawnError) -> io::Error {
        if let Some(errno) = error.raw_os_error() {
            return io::Error::from_raw_os_error(errno);
        }
        let kind = match &error.cause {
            Cause::Io(cause) => cause.kind(),
            // Impossible numbers: the caller asked for them.
            Cause::Fds(_) => io::ErrorKind::InvalidInput,
            Cause::Died(_) => io::ErrorKind::Other,
        };
        io::Error::new(kind, error)
    }
}

impl Error for SpawnError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.cause {
            Cause::Io(error) => Some(error),
            Cause::Fds(error) => Some(error),
            Cause::Died(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_stage_is_read_back_from_its_code() {
        for (code, stage) in (0..).zip(Stage::ALL) {
            assert_eq!(stage as u32, code);
            assert_eq!(Stage::from_code(code), stage);
        }
        assert_eq!(Stage::from_code(u32::MAX), Stage::Create);
    }
}
