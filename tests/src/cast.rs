//! A play in several processes: the test directs, each process of the cast takes its orders by
//! socket.
//!
//! The processes find the test by a path in their environment ([`Role::enter`]), so that nothing
//! has to be inherited, and the link under test is the only thing between a parent and its child. A
//! reaper stands above the cast: whoever loses its parent is reaped there, and the test learns the
//! status. A cast member whose test is gone reads the end of the file, and ends.

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsString;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitStatus};
use std::time::Duration;

use pidfd_watcher::Process;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt::socket_peercred;
use rustix::process::{Pid, Signal};

use crate::orders::Order;
use crate::proc_fs::stat;
use crate::{Folder, Guard, time_limit, until};

/// Where its members find the test.
const ENV_VAR: &str = "WORKSPACE_TESTS_CAST";

/// Those who take part, as the test that directs them sees them.
#[derive(Debug)]
pub struct Cast {
    folder: Folder,
    listener: UnixListener,
    waiting: Vec<Actor>,
    reaped: BTreeMap<i32, ExitStatus>,
    reaper: Option<(Guard, Actor)>,
}

impl Cast {
    /// A cast of nobody, in a folder of its own that any user may enter.
    #[allow(clippy::new_without_default, reason = "it makes a folder and a socket")]
    pub fn new() -> Cast {
        let folder = Folder::new();
        let path = folder.join("socket");
        let listener = UnixListener::bind(&path).expect("bind the cast's socket");
        for (path, mode) in [(folder.path(), 0o755), (&path, 0o777)] {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("chmod");
        }
        Cast {
            folder,
            listener,
            waiting: Vec::new(),
            reaped: BTreeMap::new(),
            reaper: None,
        }
    }

    /// Starts `program` under a reaper and waits until it has entered under the name "parent".
    pub fn open(reaper: &str, program: &str) -> (Cast, Actor) {
        let mut cast = Cast::new();
        let (name, value) = cast.env();
        let guard = Guard::spawn(Command::new(reaper).arg(program).env(name, value));
        let actor = cast.enter("reaper");
        cast.reaper = Some((guard, actor));
        let parent = cast.enter("parent");
        (cast, parent)
    }

    /// The variable by which its members find the test.
    pub fn env(&self) -> (&'static str, OsString) {
        (ENV_VAR, self.folder.join("socket").into())
    }

    /// The folder: gone with the cast.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Waits for the process that calls itself `name`.
    pub fn enter(&mut self, name: &str) -> Actor {
        loop {
            if let Some(index) = self.waiting.iter().position(|actor| actor.name == name) {
                return self.waiting.remove(index);
            }
            let mut fds = [PollFd::new(&self.listener, PollFlags::IN)];
            let deadline = Timespec::try_from(time_limit()).expect("a deadline that fits");
            let ready = poll(&mut fds, Some(&deadline)).expect("poll the listener");
            assert!(ready > 0, "deadline passed: {name} enters the cast");
            let (stream, _) = self.listener.accept().expect("accept");
            self.waiting.push(Actor::meet(stream));
        }
    }

    /// Waits until the reaper has reaped `actor`, whose own parent is gone; how it ended.
    pub fn ended(&mut self, actor: &Actor) -> ExitStatus {
        self.status_of(actor.pid())
    }

    /// The same for a process of that number, which is not in the cast.
    pub fn status_of(&mut self, pid: i32) -> ExitStatus {
        let (_, reaper) = self.reaper.as_mut().expect("a cast with a reaper");
        loop {
            if let Some(status) = self.reaped.get(&pid) {
                return *status;
            }
            let line = reaper.hear();
            let (number, status) = line.split_once(' ').expect("pid and status");
            let status = ExitStatus::from_raw(status.parse().expect("a wait status"));
            self.reaped.insert(number.parse().expect("a pid"), status);
        }
    }
}

/// A process of the cast, as the test sees it. Dropping it kills the process.
#[derive(Debug)]
pub struct Actor {
    name: String,
    lines: BufReader<UnixStream>,
    process: Process,
}

impl Actor {
    fn meet(stream: UnixStream) -> Actor {
        stream
            .set_read_timeout(Some(time_limit()))
            .expect("SO_RCVTIMEO");
        // Whatever namespace it is in, the kernel says its number in ours. It waits for orders now,
        // so that the number is still its own.
        let pid = socket_peercred(&stream).expect("SO_PEERCRED").pid;
        let process = Process::open(pid).expect("open the process that entered");
        let mut actor = Actor {
            name: String::new(),
            lines: BufReader::new(stream),
            process,
        };
        actor.name = actor.hear();
        actor
    }

    pub fn pid(&self) -> i32 {
        self.process.pid().as_raw_nonzero().get()
    }

    /// Gives an order.
    pub fn tell(&mut self, order: &Order) {
        writeln!(self.lines.get_mut(), "{}", order.argument()).expect("give an order");
    }

    /// Waits for the next line it says.
    pub fn hear(&mut self) -> String {
        let mut line = String::new();
        let count = self.lines.read_line(&mut line);
        let count = count.unwrap_or_else(|e| panic!("deadline passed: {} answers: {e}", self.name));
        assert!(count > 0, "{} left without an answer", self.name);
        line.trim_end().to_owned()
    }

    /// Gives an order and waits for the answer.
    pub fn ask(&mut self, order: &Order) -> String {
        self.tell(order);
        self.hear()
    }

    /// Gives an order whose answer must be "ok".
    pub fn must(&mut self, order: &Order) {
        assert_eq!(self.ask(order), "ok", "{}: {order:?}", self.name);
    }

    /// Whether it has not said anything that was not heard yet.
    pub fn is_silent(&self) -> bool {
        let mut fds = [PollFd::from_borrowed_fd(
            self.lines.get_ref().as_fd(),
            PollFlags::IN,
        )];
        self.lines.buffer().is_empty()
            && poll(&mut fds, Some(&Timespec::default())).expect("poll an actor") == 0
    }

    /// Whether it left, or closed this connection, without saying anything more.
    pub fn said_nothing(mut self) -> bool {
        let mut line = String::new();
        self.lines
            .read_line(&mut line)
            .is_ok_and(|count| count == 0)
    }

    pub fn signal(&self, signal: Signal) {
        self.process.send_signal(signal).expect("signal an actor");
    }

    pub fn is_running(&self) -> bool {
        self.process.try_wait().expect("poll a pidfd").is_none()
    }

    /// Waits for its end.
    pub fn gone(&self) {
        let exit = self
            .process
            .wait_timeout(time_limit())
            .expect("poll a pidfd");
        assert!(exit.is_some(), "deadline passed: {} is gone", self.name);
    }

    /// SIGKILL, and wait for the end.
    pub fn kill(&self) {
        self.signal(Signal::KILL);
        self.gone();
    }
}

impl Drop for Actor {
    fn drop(&mut self) {
        let _ = self.process.send_signal(Signal::KILL);
        let _ = self.process.wait_timeout(Duration::from_secs(5));
    }
}

/// The side of a process of the cast.
#[derive(Debug)]
pub struct Role {
    lines: BufReader<UnixStream>,
}

impl Role {
    /// Enters the cast that the environment names.
    pub fn enter(name: &str) -> Role {
        let path = env::var_os(ENV_VAR).expect("no cast in the environment");
        let stream = UnixStream::connect(path).expect("connect to the cast");
        let mut role = Role {
            lines: BufReader::new(stream),
        };
        role.say(name);
        role
    }

    /// The next order; `None` when the test is gone.
    pub fn next_order(&mut self) -> Option<Order> {
        let mut line = String::new();
        match self.lines.read_line(&mut line) {
            Ok(count) if count > 0 => Some(Order::parse(&line)),
            _ => None,
        }
    }

    /// The number of its connection.
    pub fn number(&self) -> RawFd {
        self.lines.get_ref().as_raw_fd()
    }

    pub fn say(&mut self, line: impl AsRef<str>) {
        // A test that is gone hears nothing, and the next order ends this process.
        let _ = writeln!(self.lines.get_mut(), "{}", line.as_ref());
    }
}

/// A process that takes no orders. Dropping it kills it.
#[derive(Debug)]
pub struct Bystander(Process);

impl Bystander {
    /// The process of that number, which an actor that has not reaped it has just named.
    pub fn of(pid: &str) -> Bystander {
        let pid = pid.parse().ok().and_then(Pid::from_raw).expect("a pid");
        Bystander(Process::open(pid).expect("open a bystander"))
    }

    pub fn pid(&self) -> i32 {
        self.0.pid().as_raw_nonzero().get()
    }

    pub fn signal(&self, signal: Signal) {
        self.0.send_signal(signal).expect("signal a bystander");
    }

    /// Waits until it has stopped itself.
    pub fn stopped(&self) {
        until("bystander stops itself", || {
            (stat(self.pid())?.state == 'T').then_some(())
        });
    }

    /// Waits for its end.
    pub fn gone(&self) {
        let exit = self.0.wait_timeout(time_limit()).expect("poll a pidfd");
        assert!(
            exit.is_some(),
            "deadline passed: bystander {} is gone",
            self.pid()
        );
    }

    /// SIGKILL, and wait for the end.
    pub fn kill(&self) {
        self.signal(Signal::KILL);
        self.gone();
    }
}

impl Drop for Bystander {
    fn drop(&mut self) {
        let _ = self.0.send_signal(Signal::KILL);
        let _ = self.0.wait_timeout(Duration::from_secs(5));
    }
}
