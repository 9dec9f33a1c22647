//! A service manager, as small as can be: it listens on `NOTIFY_SOCKET`, keeps what a service
//! stores (`FDSTORE` of sd_notify(3)), and gives it back at the next start (`LISTEN_FDS` of
//! sd_listen_fds(3)).
//!
//! It runs only while the test calls it, so that a case says when something is seen.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;

use fd_preserve::PreserveFds;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::Signal;

use crate::{Dialogue, Folder, rights, time_limit};

/// The shell's pid is the service's: `exec` keeps it.
const ACTIVATE: &str = "LISTEN_PID=$$ exec \"$0\" \"$@\"";

/// The manager of one service.
#[derive(Debug)]
pub struct ServiceManager {
    folder: Folder,
    socket: UnixDatagram,
    store: Vec<Stored>,
    service: Option<Dialogue>,
}

/// A descriptor in the store.
#[derive(Debug)]
struct Stored {
    name: String,
    fd: OwnedFd,
    /// Dropped when it hangs up: not so with `FDPOLL=0`.
    polled: bool,
}

impl Stored {
    /// A pipe's write end has an error once nobody can read; a file never has.
    fn has_hung_up(&self) -> bool {
        let mut fds = [PollFd::new(&self.fd, PollFlags::empty())];
        let ready = poll(&mut fds, Some(&Timespec::default())).expect("poll what is stored");
        ready > 0 && fds[0].revents().intersects(PollFlags::HUP | PollFlags::ERR)
    }
}

impl ServiceManager {
    /// Nothing runs yet, and nothing is stored.
    #[allow(clippy::new_without_default, reason = "it makes a folder and a socket")]
    pub fn new() -> ServiceManager {
        let folder = Folder::new();
        let socket = UnixDatagram::bind(folder.join("notify")).expect("bind");
        ServiceManager {
            folder,
            socket,
            store: Vec::new(),
            service: None,
        }
    }

    /// Starts the service with what is stored, and comes back when it is ready. `command` has no
    /// more than a program, arguments and variables.
    pub fn start(&mut self, command: &Command) {
        self.look();
        let mut shell = Command::new("/bin/sh");
        shell
            .args(["-c", ACTIVATE])
            .arg(command.get_program())
            .args(command.get_args())
            .env("NOTIFY_SOCKET", self.folder.join("notify"));
        for (name, value) in command.get_envs() {
            shell.env(name, value.expect("a value"));
        }
        let mut names = Vec::new();
        let mut plan = PreserveFds::new();
        // What was stored last comes first: the order says nothing.
        for (number, stored) in (3..).zip(self.store.iter().rev()) {
            let copy = stored.fd.try_clone().expect("dup");
            plan.map_fd(copy, number).expect("a free number");
            names.push(stored.name.as_str());
        }
        if !names.is_empty() {
            shell
                .env("LISTEN_FDS", names.len().to_string())
                .env("LISTEN_FDNAMES", names.join(":"));
        }
        let applied = plan.apply(&mut shell).expect("apply");
        assert!(self.service.is_none(), "it runs");
        self.service = Some(Dialogue::spawn(&mut shell));
        drop((applied, shell));
        while !self.hear_message() {}
    }

    /// The service, to be talked to.
    pub fn service(&mut self) -> &mut Dialogue {
        self.service.as_mut().expect("it runs")
    }

    /// SIGKILL for the service, and nobody else.
    pub fn kill(&mut self) {
        self.end_by(Signal::KILL);
    }

    /// SIGTERM, as before a restart: the store stays.
    pub fn stop(&mut self) {
        self.end_by(Signal::TERM);
    }

    /// SIGTERM, and an end for good: the store is emptied.
    pub fn stop_for_good(&mut self) {
        self.stop();
        self.look();
        self.store.clear();
    }

    fn end_by(&mut self, signal: Signal) {
        let mut service = self.service.take().expect("it runs");
        let pid = rustix::process::Pid::from_child(service.child());
        rustix::process::kill_process(pid, signal).expect("kill an own child");
        let status = service.child().wait_deadline();
        assert_eq!(status.signal(), Some(signal.as_raw()), "{status}");
    }

    /// The service ends by itself, as it was told.
    pub fn left(&mut self) {
        let mut service = self.service.take().expect("it runs");
        let status = service.child().wait_deadline();
        assert!(status.success(), "{status}");
    }

    /// Names in the store, in order: one for each descriptor.
    pub fn names(&mut self) -> Vec<&str> {
        self.look();
        let mut names: Vec<_> = self.store.iter().map(|stored| &*stored.name).collect();
        names.sort_unstable();
        names
    }

    /// Copies of what is stored under `name`.
    pub fn stored(&mut self, name: &str) -> Vec<OwnedFd> {
        self.look();
        let named = self.store.iter().filter(|stored| stored.name == name);
        let copies = named.map(|stored| stored.fd.try_clone().expect("dup"));
        copies.collect()
    }

    /// A message of the test's own, as of the service.
    pub fn send(&self, message: &str, fds: &[BorrowedFd<'_>]) {
        let socket = UnixDatagram::unbound().expect("socket");
        socket
            .connect(self.folder.join("notify"))
            .expect("connect to the manager");
        rights::send(&socket, message.as_bytes(), fds).expect("send to the manager");
    }

    /// Takes what has come, and drops what has hung up.
    fn look(&mut self) {
        while self.has_message(&Timespec::default()) {
            self.take_message();
        }
        self.store
            .retain(|stored| !(stored.polled && stored.has_hung_up()));
    }

    fn has_message(&self, timeout: &Timespec) -> bool {
        let mut fds = [PollFd::new(&self.socket, PollFlags::IN)];
        poll(&mut fds, Some(timeout)).expect("poll the notify socket") > 0
    }

    /// Waits for a message; whether it says that the service is ready.
    fn hear_message(&mut self) -> bool {
        let deadline = Timespec::try_from(time_limit()).expect("a deadline that fits");
        assert!(
            self.has_message(&deadline),
            "deadline passed: service is ready"
        );
        self.take_message()
    }

    fn take_message(&mut self) -> bool {
        let mut bytes = [0; 4096];
        let (count, fds) = rights::receive(self.socket.as_fd(), &mut bytes).expect("receive");
        let message = std::str::from_utf8(&bytes[..count]).expect("text");
        let says = |word| message.lines().any(|line| line == word);
        let name = message
            .lines()
            .find_map(|line| line.strip_prefix("FDNAME="));
        if says("FDSTOREREMOVE=1") {
            self.store.retain(|stored| Some(&*stored.name) != name);
        } else if says("FDSTORE=1") {
            self.store.extend(fds.into_iter().map(|fd| Stored {
                name: name.unwrap_or("stored").to_owned(),
                fd,
                polled: !says("FDPOLL=0"),
            }));
        }
        says("READY=1")
    }
}
