//! What the lifetime hangs on: the runtime's watchdog, any pipe, standard input, or the parent process.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};

use pidfd_watcher::Process;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, OFlags, fcntl_getfl, fstat};
use rustix::net::{SocketType, sockopt};
use watchdog_pipe::{StopPolicy, Verdict, Watchdog};

use crate::failure::Failure;
use crate::options::{Options, Watch};
use crate::sys::{self, SoleThread};

/// Somebody whose end is the tree's end.
#[derive(Debug)]
pub(crate) enum RuntimeWatch {
    Link(Box<Watchdog>),
    /// The other end of this is the runtime's: a pipe, a socket or a terminal.
    Other(OwnedFd),
    /// The same of COMMAND's own standard input.
    Input(OwnedFd),
    Parent(Process),
    /// The runtime has let go: nothing is watched any more.
    Released,
}

/// What became of the runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RuntimeState {
    Alive,
    Died,
    Dropped,
    /// Standard input has no other end any more. COMMAND finds that out by itself once it has read what is left.
    InputEnded {
        /// There is something left to be read.
        unread: bool,
    },
}

/// The parent of this process, opened before anything else is done.
#[derive(Debug)]
pub(crate) enum Parent {
    Alive(Process),
    /// It cannot be watched: why.
    Unknown(Failure),
    /// Something else is watched, or nothing where this process is pid 1 of a container, whose end is everybody's.
    NotWatched,
}

impl Parent {
    /// For whoever may do without.
    pub(crate) fn look() -> Parent {
        if sys::is_init() {
            return Parent::NotWatched;
        }
        match Parent::open() {
            Ok(process) => Parent::Alive(process),
            Err(failure) => Parent::Unknown(failure),
        }
    }

    /// An error says why the parent cannot be watched.
    pub(crate) fn open() -> Result<Process, Failure> {
        let failed = |error: &io::Error| Failure::io("--watch=parent", error);
        let gone = || Failure::refused("--watch=parent: the parent is gone already");
        let number = sys::parent_pid().map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Failure::refused(
                "--watch=parent: the parent is outside of this PID namespace; \
                 use --watch=env, --watch=fd:N or --watch=stdin",
            ),
            _ => failed(&error),
        })?;
        let Ok(process) = Process::open(number) else {
            // Gone, or not to be opened: the second look tells.
            return match sys::parent_pid() {
                Ok(now) if now == number => Err(Failure::refused(
                    "--watch=parent: pidfd_open(2) is refused here; use --watch=env, --watch=fd:N or --watch=stdin",
                )),
                _ => Err(gone()),
            };
        };
        // A number is opened race-free only if it is still the parent's afterwards.
        let now = sys::parent_pid().map_err(|error| failed(&error))?;
        if now == number {
            Ok(process)
        } else {
            Err(gone())
        }
    }
}

impl RuntimeWatch {
    /// Begins to watch. What the environment names is adopted by the process that calls.
    pub(crate) fn arm(
        alone: &SoleThread,
        options: &Options,
        parent: Parent,
    ) -> Result<RuntimeWatch, Failure> {
        match options.watch {
            Watch::Env => link(alone)?.ok_or_else(|| {
                Failure::refused(
                    "--watch=env: the environment names no watchdog for this process; \
                     start it by shim-spawner, or use --watch=parent",
                )
            }),
            Watch::Default => match link(alone)? {
                Some(link) => Ok(link),
                None => of_parent(parent),
            },
            Watch::Parent => of_parent(parent),
            Watch::Fd(number) => {
                let fd = given(alone, &format!("--watch=fd:{number}"), number)?;
                Ok(match number {
                    0 => RuntimeWatch::Input(fd),
                    _ => RuntimeWatch::Other(fd),
                })
            }
            Watch::Stdin => Ok(RuntimeWatch::Input(given(alone, "--watch=stdin", 0)?)),
        }
    }

    /// The stop policy that the runtime set.
    pub(crate) fn stop_policy(&self) -> Option<StopPolicy> {
        match self {
            RuntimeWatch::Link(watchdog) => watchdog.stop_policy(),
            _ => None,
        }
    }

    /// The descriptor to wait for, and for what.
    pub(crate) fn poll_fd(&self) -> Option<PollFd<'_>> {
        match self {
            RuntimeWatch::Link(watchdog) => {
                Some(PollFd::from_borrowed_fd(watchdog.as_fd(), PollFlags::IN))
            }
            RuntimeWatch::Parent(process) => {
                Some(PollFd::from_borrowed_fd(process.as_fd(), PollFlags::IN))
            }
            RuntimeWatch::Other(fd) | RuntimeWatch::Input(fd) => Some(hang_up(fd.as_fd())),
            RuntimeWatch::Released => None,
        }
    }

    /// Looks, and does not wait.
    pub(crate) fn look(&mut self) -> RuntimeState {
        let state = match self {
            RuntimeWatch::Link(watchdog) => match watchdog.try_wait() {
                Ok(None) => RuntimeState::Alive,
                Ok(Some(Verdict::Released)) => {
                    *self = RuntimeWatch::Released;
                    RuntimeState::Alive
                }
                Ok(Some(Verdict::KeepaliveDropped)) => RuntimeState::Dropped,
                // An error: the link is lost, and nobody else would ever end the tree.
                Ok(Some(_)) | Err(_) => RuntimeState::Died,
            },
            // A look that fails says nothing: there is another one after the next wait.
            RuntimeWatch::Parent(process) => match process.try_wait() {
                Ok(None) | Err(_) => RuntimeState::Alive,
                Ok(Some(_)) => RuntimeState::Died,
            },
            RuntimeWatch::Other(fd) if has_ended(fd) => RuntimeState::Died,
            RuntimeWatch::Input(fd) if has_ended(fd) => RuntimeState::InputEnded {
                unread: rustix::io::ioctl_fionread(fd).is_ok_and(|bytes| bytes > 0),
            },
            RuntimeWatch::Other(_) | RuntimeWatch::Input(_) | RuntimeWatch::Released => {
                RuntimeState::Alive
            }
        };
        if state != RuntimeState::Alive {
            // Once is enough: a level would be found again by every wait.
            *self = RuntimeWatch::Released;
        }
        state
    }
}

/// Neither data nor its end is read: they are COMMAND's, where it is COMMAND's standard input. A socket whose other side
/// has shut down only its writing counts as the end: that is what a pipe's closed write end is.
fn hang_up(fd: BorrowedFd<'_>) -> PollFd<'_> {
    PollFd::from_borrowed_fd(fd, PollFlags::RDHUP)
}

/// A look that fails says nothing, as above.
fn has_ended(fd: &OwnedFd) -> bool {
    let polled = poll(&mut [hang_up(fd.as_fd())], Some(&Timespec::default()));
    polled.is_ok_and(|ready| ready > 0)
}

fn link(alone: &SoleThread) -> Result<Option<RuntimeWatch>, Failure> {
    let adopted = sys::adopt_watchdog(alone).map_err(|error| {
        Failure::refused(format!(
            "{}: {error}; take the variable out of the environment to go without it",
            watchdog_pipe::ENV_VAR
        ))
    })?;
    Ok(adopted.map(|watchdog| RuntimeWatch::Link(Box::new(watchdog))))
}

fn of_parent(parent: Parent) -> Result<RuntimeWatch, Failure> {
    match parent {
        Parent::Alive(process) => Ok(RuntimeWatch::Parent(process)),
        Parent::Unknown(failure) => Err(failure),
        Parent::NotWatched => Ok(RuntimeWatch::Released),
    }
}

/// A descriptor of the command line whose other end can be closed.
fn given(alone: &SoleThread, name: &str, number: RawFd) -> Result<OwnedFd, Failure> {
    let fd = sys::inherited_descriptor(alone, number)
        .map_err(|error| Failure::descriptor(name, &error))?;
    let failed = |error: rustix::io::Errno| Failure::io(name, &error.into());
    let refused = |reason: &str| Err(Failure::refused(format!("{name}: {reason}")));
    let stat = fstat(&fd).map_err(failed)?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Fifo => {
            let flags = fcntl_getfl(&fd).map_err(failed)?;
            if flags & OFlags::ACCMODE != OFlags::RDONLY {
                return refused(
                    "not the read end of a pipe; give the shim that one, and the write end to the runtime alone",
                );
            }
            if let Some(writer) = own_writer(stat.st_dev, stat.st_ino) {
                return refused(&format!(
                    "descriptor {writer} is a write end of the same pipe, which would never end; close it before"
                ));
            }
        }
        FileType::Socket => {
            let kind = sockopt::socket_type(&fd).map_err(failed)?;
            let connects = [SocketType::STREAM, SocketType::SEQPACKET].contains(&kind);
            if !connects || sockopt::socket_acceptconn(&fd).map_err(failed)? {
                return refused(
                    "a socket without a connection has no other end that could be closed; \
                     give the shim a pipe or one socket of a pair",
                );
            }
        }
        FileType::CharacterDevice if rustix::termios::isatty(&fd) => {}
        _ => {
            return refused(
                "not a pipe, a socket or a terminal: it has no other end that could be closed; \
                 give the shim the read end of a pipe",
            );
        }
    }
    sys::above_standard_streams(fd).map_err(|error| Failure::io(name, &error))
}

/// A descriptor of this process that could write to that pipe. Without /proc it is not found, and only this check is lost.
fn own_writer(device: u64, inode: u64) -> Option<i32> {
    let entries = fs::read_dir("/proc/self/fd").ok()?;
    let mut numbers =
        entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
    numbers.find(|number| {
        use std::os::unix::fs::MetadataExt;
        let Ok(file) = fs::metadata(format!("/proc/self/fd/{number}")) else {
            return false;
        };
        let flags = fs::read_to_string(format!("/proc/self/fdinfo/{number}")).unwrap_or_default();
        let flags = flags.lines().find_map(|line| line.strip_prefix("flags:"));
        let flags = flags.and_then(|octal| u32::from_str_radix(octal.trim(), 8).ok());
        let writes = flags.is_some_and(|flags| flags & 0o3 != 0);
        writes && (file.dev(), file.ino()) == (device, inode)
    })
}
