//! The program `watchdog-shim` between the runtime and a program that has no watchdog.

use std::env;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::RawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::{SpawnError, Stage};

/// The name of the program, and of a program that is executed again to act as it.
const NAME: &str = "watchdog-shim";

/// The call that makes a program its own supervisor.
const CALL: &str = "watchdog_shim::run_if_asked()";

/// The exit code of a supervisor that starts nothing and reports why.
const REFUSED: i32 = 125;

/// The default time for a start, until COMMAND was executed.
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// Makes a program that has no [`Watchdog`](watchdog_pipe::Watchdog), and everything that it
/// starts, end when this process ends: see
/// [`ShimSpawner::supervised`](crate::ShimSpawner::supervised).
#[derive(Clone, Debug)]
pub struct Supervisor {
    program: Program,
    contain: Contain,
    require: Option<Level>,
    signal_to: SignalTo,
    on_exit: OnExit,
    start_timeout: Duration,
}

/// Where the supervisor's program is.
#[derive(Clone, Debug)]
enum Program {
    At(PathBuf),
    Found,
    /// This process's own program.
    Own,
}

/// What is promised about a shim when its runtime ends. Each level includes the levels before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize),
    serde(rename_all = "kebab-case")
)]
#[non_exhaustive]
pub enum Level {
    /// The shim learns of the end. Whether it ends, and what happens to what it started, depends on
    /// its program. Under [`Contain::Nothing`], the program itself is stopped.
    Told,
    /// Nothing of the tree is left, unless the runtime and all processes of the supervisor are
    /// killed at once.
    Good,
    /// Nothing of the tree is left, whatever is killed.
    Certain,
}

/// How a supervisor keeps the tree together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Contain {
    /// The strongest containment that the program does not notice.
    #[default]
    Auto,
    /// A PID namespace: the program sees other pids. Needs `CAP_SYS_ADMIN` or a user namespace.
    PidNamespace,
    /// A cgroup of version 2: needs a writable one.
    Cgroup,
    /// The supervisor inherits orphans.
    Subreaper,
    /// Not at all: only the program is stopped.
    Nothing,
}

/// Who gets the stop signal. What is left after the grace period is killed in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SignalTo {
    /// The program alone.
    Main,
    /// Its process group.
    Group,
    /// The whole tree.
    #[default]
    All,
}

/// What happens to the rest of the tree when the program has exited by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OnExit {
    /// It is stopped.
    #[default]
    Stop,
    /// The supervisor waits for it.
    Wait,
    /// It is left alone.
    Leave,
}

impl Supervisor {
    fn new(program: Program) -> Supervisor {
        Supervisor {
            program,
            contain: Contain::default(),
            require: None,
            signal_to: SignalTo::default(),
            on_exit: OnExit::default(),
            start_timeout: START_TIMEOUT,
        }
    }

    /// The program `watchdog-shim` at this path.
    pub fn at(path: impl AsRef<Path>) -> Supervisor {
        Supervisor::new(Program::At(path.as_ref().to_owned()))
    }

    /// The program `watchdog-shim`: first next to this process's own program, then in this
    /// process's `PATH`. Each spawn searches for it.
    #[must_use]
    pub fn found() -> Supervisor {
        Supervisor::new(Program::Found)
    }

    /// This process's own program (`/proc/self/exe`), executed again under the name
    /// `watchdog-shim`. Its `main` must begin with `watchdog_shim::run_if_asked()`.
    ///
    /// A program that does not do so continues as itself in the child. It is killed when the [time
    /// for the start](Supervisor::start_timeout) is over. If it spawns in this way itself, that
    /// spawn is refused.
    #[must_use]
    pub fn this_program() -> Supervisor {
        Supervisor::new(Program::Own)
    }

    /// How the tree is kept together. The default is [`Contain::Auto`].
    #[must_use]
    pub fn contain(self, contain: Contain) -> Supervisor {
        Supervisor { contain, ..self }
    }

    /// The spawn fails if less than this is possible. The default is [`Level::Certain`] with
    /// [`Contain::PidNamespace`], [`Level::Told`] with [`Contain::Nothing`], and otherwise
    /// [`Level::Good`].
    #[must_use]
    pub fn require(self, level: Level) -> Supervisor {
        let require = Some(level);
        Supervisor { require, ..self }
    }

    /// Who gets the stop signal. The default is [`SignalTo::All`].
    #[must_use]
    pub fn signal_to(self, signal_to: SignalTo) -> Supervisor {
        Supervisor { signal_to, ..self }
    }

    /// What happens to the rest of the tree when the program has exited. The default is
    /// [`OnExit::Stop`].
    #[must_use]
    pub fn on_exit(self, on_exit: OnExit) -> Supervisor {
        Supervisor { on_exit, ..self }
    }

    /// How long a spawn waits until the program was executed, on the monotonic clock. The default
    /// is 30 s. After that everything is killed, and the spawn fails with
    /// [`TimedOut`](io::ErrorKind::TimedOut).
    #[must_use]
    pub fn start_timeout(self, start_timeout: Duration) -> Supervisor {
        Supervisor {
            start_timeout,
            ..self
        }
    }

    /// What this supervisor promises for every shim that it has started.
    #[must_use]
    pub fn level(&self) -> Level {
        self.require.unwrap_or(match self.contain {
            Contain::PidNamespace => Level::Certain,
            Contain::Nothing => Level::Told,
            _ => Level::Good,
        })
    }

    /// Whether its reports cover everything that the program has started.
    pub(crate) fn reports_the_tree(&self) -> bool {
        self.contain != Contain::Nothing && self.on_exit != OnExit::Leave
    }

    pub(crate) fn time_to_start(&self) -> Duration {
        self.start_timeout
    }

    /// Refuses impossible combinations, before anything is made.
    pub(crate) fn check(&self) -> Result<(), SpawnError> {
        let promised = self.level();
        if self.contain == Contain::Nothing && promised > Level::Told {
            return Err(SpawnError::invalid(
                "with Contain::Nothing, only Level::Told can be required",
            ));
        }
        if self.contain == Contain::PidNamespace && self.on_exit == OnExit::Leave {
            return Err(SpawnError::invalid(
                "nothing can outlive the PID namespace of Contain::PidNamespace",
            ));
        }
        Ok(())
    }

    /// The program's path, and the name under which to execute it.
    pub(crate) fn locate(&self) -> Result<(PathBuf, OsString), SpawnError> {
        match &self.program {
            Program::At(path) => Ok((path.clone(), NAME.into())),
            Program::Found => Ok((find()?, NAME.into())),
            // It was executed as the supervisor but does not act as one. Its own spawns would
            // repeat this without end.
            Program::Own if was_asked() => Err(SpawnError::invalid(
                "this program was executed as the supervisor, and its main does not begin with \
                 watchdog_shim::run_if_asked()",
            )),
            Program::Own => Ok(("/proc/self/exe".into(), NAME.into())),
        }
    }

    /// Explains a failed start: if this process's own program did not act as the supervisor, the
    /// error says what its `main` lacks.
    pub(crate) fn explain(&self, error: SpawnError) -> SpawnError {
        if !matches!(self.program, Program::Own) {
            return error;
        }
        let io = |kind, text| SpawnError::io(Stage::Supervisor, io::Error::new(kind, text));
        match error.exit_status().and_then(|status| status.code()) {
            Some(code) if code != REFUSED => {
                let text = format!(
                    "it exited with {code} and started nothing: its main does not begin with {CALL}"
                );
                io(io::ErrorKind::InvalidInput, text)
            }
            None if error.is_time_out() => {
                let text = format!("it said nothing in time; its main must begin with {CALL}");
                io(io::ErrorKind::TimedOut, text)
            }
            _ => error,
        }
    }

    /// The command line of the supervisor: its options, and COMMAND with its arguments.
    pub(crate) fn args(&self, status: RawFd, command: &Path, args: &[OsString]) -> Vec<OsString> {
        let contain = match self.contain {
            Contain::Auto => "auto",
            Contain::PidNamespace => "pidns",
            Contain::Cgroup => "cgroup",
            Contain::Subreaper => "subreaper",
            Contain::Nothing => "none",
        };
        let signal_to = match self.signal_to {
            SignalTo::Main => "main",
            SignalTo::Group => "group",
            SignalTo::All => "all",
        };
        let on_exit = match self.on_exit {
            OnExit::Stop => "stop",
            OnExit::Wait => "wait",
            OnExit::Leave => "leave",
        };
        let require = match self.level() {
            Level::Told => None,
            Level::Good => Some("--require=good".to_owned()),
            Level::Certain => Some("--require=certain".to_owned()),
        };
        let options = [
            "--watch=env".to_owned(),
            format!("--contain={contain}"),
            format!("--signal-to={signal_to}"),
            format!("--on-exit={on_exit}"),
            format!("--status-fd={status}"),
        ];
        let options = options.into_iter().chain(require).chain(["--".to_owned()]);
        let options = options.map(OsString::from);
        let command = [command.as_os_str().to_owned()];
        options.chain(command).chain(args.iter().cloned()).collect()
    }
}

fn was_asked() -> bool {
    let name = env::args_os().next().unwrap_or_default();
    Path::new(&name).file_name() == Some(OsStr::new(NAME))
}

fn find() -> Result<PathBuf, SpawnError> {
    let beside = env::current_exe().ok();
    let beside = beside.as_deref().and_then(Path::parent).map(Path::to_owned);
    let search = env::var_os("PATH").unwrap_or_default();
    let folders = beside.into_iter().chain(env::split_paths(&search));
    let candidates: Vec<PathBuf> = folders.map(|folder| folder.join(NAME)).collect();
    if let Some(found) = candidates.iter().find(|path| is_program(path)) {
        return Ok(found.clone());
    }
    let looked: Vec<String> = candidates
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    let looked = looked.join(", ");
    let message = format!(
        "the program {NAME} was not found; install it, or name it by Supervisor::at or \
         Supervisor::this_program; looked for: {looked}"
    );
    let error = io::Error::new(io::ErrorKind::NotFound, message);
    Err(SpawnError::io(Stage::Supervisor, error))
}

fn is_program(path: &Path) -> bool {
    path.metadata()
        .is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}
