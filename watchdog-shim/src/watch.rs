//! What the shim watches: the runtime's watchdog, any pipe or socket, standard input, or the parent
//! process. When it ends, the tree is stopped.

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

/// What is watched.
#[derive(Debug)]
pub(crate) enum RuntimeWatch {
    Link(Box<Watchdog>),
    /// A pipe, a socket or a terminal. The runtime has the other end.
    Other(OwnedFd),
    /// The same, if the descriptor is COMMAND's own standard input.
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
    /// The other end of standard input was closed. COMMAND notices that itself, once it has read
    /// what is left.
    InputEnded {
        /// There is something left to read.
        unread: bool,
    },
}

/// The parent of this process, opened before anything else is done.
#[derive(Debug)]
pub(crate) enum Parent {
    Alive(Process),
    /// It cannot be watched, for this reason.
    Unknown(Failure),
    /// Something else is watched, or nothing: if this process is pid 1 of a container, all others
    /// end with it.
    NotWatched,
}

impl Parent {
    /// For a caller that does not depend on the parent.
    pub(crate) fn look() -> Parent {
        if sys::is_init() {
            return Parent::NotWatched;
        }
        match Parent::open(None) {
            Ok(process) => Parent::Alive(process),
            Err(failure) => Parent::Unknown(failure),
        }
    }

    /// Opens the parent, if it has this pid. An error says why it cannot be watched.
    ///
    /// Without a pid, the parent may be a process that has adopted this one: no call can tell.
    pub(crate) fn open(expected: Option<i32>) -> Result<Process, Failure> {
        let failed = |error: &io::Error| Failure::io("--watch=parent", error);
        let gone = || Failure::refused("--watch=parent: the parent is gone already");
        let number = sys::parent_pid().map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Failure::refused(
                "--watch=parent: the parent is outside of this PID namespace; \
                 use --watch=env, --watch=fd:N or --watch=stdin",
            ),
            _ => failed(&error),
        })?;
        let found = number.as_raw_nonzero().get();
        if let Some(expected) = expected
            && found != expected
        {
            return Err(Failure::refused(format!(
                "--watch=parent:{expected}: the parent is {found}: process {expected} is gone \
                 already, \
                 or has not started the shim itself"
            )));
        }
        let process = match Process::open(number) {
            Ok(process) => process,
            // The parent has ended, or may not be opened. If it is still the parent, it lives.
            Err(error) => {
                return match sys::parent_pid() {
                    Ok(now) if now == number => Err(cannot_open(error)),
                    _ => Err(gone()),
                };
            }
        };
        // The number may have belonged to another process when it was opened. If the parent still
        // has it, it was the parent's then.
        let now = sys::parent_pid().map_err(|error| failed(&error))?;
        if now == number {
            Ok(process)
        } else {
            Err(gone())
        }
    }
}

/// A parent that lives may not be opened.
fn cannot_open(error: pidfd_watcher::Error) -> Failure {
    use pidfd_watcher::Error::{PermissionDenied, Unsupported};
    let is_refused = matches!(error, PermissionDenied(_) | Unsupported(_));
    let error = io::Error::from(error);
    if is_refused {
        return Failure::refused(format!(
            "--watch=parent: pidfd_open(2) is refused here: {error}; use --watch=env, \
             --watch=fd:N or --watch=stdin"
        ));
    }
    Failure::io("--watch=parent", &error)
}

impl RuntimeWatch {
    /// Begins to watch. This process adopts the watchdog that the environment names.
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
            Watch::Parent(_) => of_parent(parent),
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

    /// The descriptor to wait for, with the events to wait for.
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

    /// Looks without waiting.
    pub(crate) fn look(&mut self) -> RuntimeState {
        let state = match self {
            RuntimeWatch::Link(watchdog) => match watchdog.try_wait() {
                Ok(None) => RuntimeState::Alive,
                Ok(Some(Verdict::Released)) => {
                    *self = RuntimeWatch::Released;
                    RuntimeState::Alive
                }
                Ok(Some(Verdict::KeepaliveDropped)) => RuntimeState::Dropped,
                // An error means that the link is lost. Nothing else would ever end the tree.
                Ok(Some(_)) | Err(_) => RuntimeState::Died,
            },
            // An error says nothing about the parent. It is checked again after the next wait.
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
            // The end is reported only once. The descriptor stays readable, so every later wait
            // would return at once.
            *self = RuntimeWatch::Released;
        }
        state
    }
}

/// The poll entry for the end. Nothing is read, because the data on COMMAND's standard input belong
/// to COMMAND. A socket has ended once the other side has shut down its writing, as a pipe has once
/// its write end is closed.
fn hang_up(fd: BorrowedFd<'_>) -> PollFd<'_> {
    PollFd::from_borrowed_fd(fd, PollFlags::RDHUP)
}

/// An error does not mean an end, as above.
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

/// Takes a descriptor that the command line names. An error if it has no other end that could be
/// closed.
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
                    "not the read end of a pipe; give the shim that one, and the write end to the \
                     runtime alone",
                );
            }
            if let Some(writer) = own_writer(stat.st_dev, stat.st_ino) {
                return refused(&format!(
                    "descriptor {writer} is a write end of the same pipe, which would never end; \
                     close it before"
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

/// A descriptor of this process that can write to that pipe. Without /proc none is found, and this
/// check is skipped.
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
