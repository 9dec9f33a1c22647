//! A program that is pid 1 of a new PID namespace with its own /proc, as a container's init is.
//!
//! For a test that is pid 1 of a namespace of its own
//! ([`alone_in_pid_namespace!`](crate::alone_in_pid_namespace)): all others that it sees belong to
//! the container.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::process::{ChildStdout, Command, Stdio};

use pidfd_watcher::{Process, Signal};

use crate::proc_fs::{self, Stat};
use crate::{Guard, until};

/// An init, by the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Init {
    /// The shim, by the path of its executable.
    Shim(&'static str),
    Tini,
    DumbInit,
}

impl Init {
    /// `None`, and a line that says why, where it is not installed.
    #[must_use]
    pub fn command(self, options: &[&str], words: &[&str]) -> Option<Command> {
        let program = match self {
            Init::Shim(path) => path,
            Init::Tini => "tini",
            Init::DumbInit => "dumb-init",
        };
        if !matches!(self, Init::Shim(_)) && !is_installed(program) {
            eprintln!("skipped: {program} is not installed");
            return None;
        }
        let mut command = Command::new(program);
        command.args(options);
        if !words.is_empty() {
            command.arg("--").args(words);
        }
        command.stdin(Stdio::null());
        Some(command)
    }
}

fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

/// Whatever `spawn` starts is pid 1 of a new PID namespace, if `command` is what it starts. The
/// caller has one thread.
///
/// # Panics
/// Where no such namespace can be had.
pub fn as_init<T>(command: &mut Command, spawn: impl FnOnce(&mut Command) -> T) -> T {
    let own = File::open("/proc/self/ns/pid").expect("own PID namespace");
    // SAFETY: the closure makes system calls alone, on strings that live for ever.
    unsafe {
        command.pre_exec(|| {
            let (none, proc) = (std::ptr::null(), c"proc".as_ptr());
            let private = libc::MS_REC | libc::MS_PRIVATE;
            let done = libc::unshare(libc::CLONE_NEWNS) == 0
                && libc::mount(none, c"/".as_ptr(), none, private, none.cast()) == 0
                && libc::mount(proc, c"/proc".as_ptr(), proc, 0, none.cast()) == 0;
            if done {
                Ok(())
            } else {
                Err(io::Error::last_os_error())
            }
        });
    }
    // SAFETY: a plain number; this thread's next child is pid 1 of the new namespace, nothing else
    // changes.
    let done = unsafe { libc::unshare(libc::CLONE_NEWPID) };
    assert_eq!(done, 0, "unshare: {}", io::Error::last_os_error());
    let spawned = spawn(command);
    // SAFETY: an open descriptor of the namespace that this process is in: its next children are in
    // it again.
    let done = unsafe { libc::setns(own.as_raw_fd(), libc::CLONE_NEWPID) };
    assert_eq!(done, 0, "setns: {}", io::Error::last_os_error());
    spawned
}

/// A container with its init. Dropping it kills all that is in it.
#[derive(Debug)]
pub struct Container {
    init: Guard,
    said: BufReader<ChildStdout>,
}

impl Container {
    #[must_use]
    pub fn start(command: &mut Command) -> Container {
        let mut init = as_init(command.stdout(Stdio::piped()), Guard::spawn);
        let said = BufReader::new(init.stdout.take().expect("a pipe"));
        Container { init, said }
    }

    /// The next line on standard output.
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        self.said.read_line(&mut line).expect("a line");
        line.trim_end().to_owned()
    }

    /// All that is said until nobody has standard output any more.
    pub fn rest(&mut self) -> String {
        let mut rest = String::new();
        self.said.read_to_string(&mut rest).expect("read");
        rest
    }

    /// The init.
    pub fn init(&mut self) -> &mut Guard {
        &mut self.init
    }

    #[must_use]
    pub fn pid(&self) -> i32 {
        i32::try_from(self.init.id()).expect("a pid")
    }

    /// From outside of the namespace, as a container's runtime does.
    pub fn signal(&mut self, signal: Signal) {
        let process = Process::from_child(&mut self.init).expect("own child");
        process.send_signal(signal).expect("send");
    }

    /// The children of the init, zombies included.
    #[must_use]
    pub fn children(&self) -> Vec<Stat> {
        proc_fs::children_of(self.pid())
    }

    /// The exit code; an init cannot die of a signal of its own.
    pub fn code(&mut self) -> Option<i32> {
        self.init.wait_deadline().code()
    }

    /// Waits until the init has a child in that state.
    pub fn until_child_is(&self, state: char) {
        until("a child is in that state", || {
            (self.children().iter())
                .any(|stat| stat.state == state)
                .then_some(())
        });
    }
}
