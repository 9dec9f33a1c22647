//! What the demo and its actors say to each other.
//!
//! The runtime is given a [`Plan`] in a file, each shim its part of it as its config; all of them
//! tell the director what happens to them by a [`Message`] in a datagram.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What the runtime is to start.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Plan {
    /// The shim's program.
    pub shim: PathBuf,
    /// Where the detached shim's identity goes.
    pub identity: PathBuf,
    pub shims: Vec<ShimPlan>,
    pub tree: TreePlan,
}

/// What one shim is to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ShimPlan {
    pub name: String,
    pub detached: bool,
    /// The program behind the shim, and its arguments.
    pub command: Vec<String>,
    /// Where the program is expected to answer, on 127.0.0.1.
    pub port: u16,
    /// Where the program's output goes.
    pub log: PathBuf,
    /// The director's socket.
    pub messages: PathBuf,
}

/// The unmodified tree, and the `watchdog-shim` that it is put under.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TreePlan {
    /// The program `watchdog-shim`.
    pub supervisor: PathBuf,
    /// The server and its arguments.
    pub command: Vec<String>,
    /// Where the server is expected to answer, on 127.0.0.1.
    pub port: u16,
    /// Where the server's output goes.
    pub log: PathBuf,
    /// The named pipe for the lines of `--status-fd`.
    pub status: PathBuf,
    /// Between the stop signal and SIGKILL.
    pub grace: Duration,
}

/// Something that happened to an actor, told by itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Message {
    /// When, in nanoseconds of `CLOCK_MONOTONIC`, which all processes share.
    pub at_ns: u64,
    /// The actor.
    pub pid: i32,
    pub who: String,
    pub what: What,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum What {
    /// The runtime has spawned its shims, and saved the identity of the detached one.
    Ready,
    /// The shim has started its program.
    Started { program: i32 },
    /// The shim's watchdog gave its verdict.
    Learned { verdict: String },
    /// The shim was told to stop by a signal.
    Told { signal: String },
    /// The program ended before anybody stopped it.
    Ended { status: String },
    /// A runtime has taken over a shim it did not start.
    Adopted { shim: i32, proven: bool },
    /// That runtime has stopped the shim; `None` where the kernel could not tell the status.
    Stopped { shim: i32, status: Option<String> },
    /// The actor cannot play its part.
    Failed { error: String },
}

/// A socket that carries messages.
#[derive(Debug)]
pub struct Wire(UnixDatagram);

impl Wire {
    /// The director's end.
    pub fn bind(path: &Path) -> io::Result<Wire> {
        let socket = UnixDatagram::bind(path)?;
        socket.set_nonblocking(true)?;
        Ok(Wire(socket))
    }

    /// An actor's end.
    pub fn connect(path: &Path) -> io::Result<Wire> {
        let socket = UnixDatagram::unbound()?;
        socket.connect(path)?;
        Ok(Wire(socket))
    }

    pub fn send(&self, who: &str, at_ns: u64, what: What) -> io::Result<()> {
        let pid = rustix::process::getpid().as_raw_nonzero().get();
        let message = Message {
            at_ns,
            pid,
            who: who.to_owned(),
            what,
        };
        self.0.send(&serde_json::to_vec(&message)?)?;
        Ok(())
    }

    /// The next message, if there is one now.
    pub fn try_recv(&self) -> io::Result<Option<Message>> {
        // Longer than any message: what does not fit would be cut off and be no JSON.
        let mut buffer = vec![0; 64 * 1024];
        match self.0.recv(&mut buffer) {
            Ok(len) => Ok(Some(serde_json::from_slice(&buffer[..len])?)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl AsFd for Wire {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
