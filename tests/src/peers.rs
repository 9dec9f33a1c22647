//! What people put between a runtime and a program that is to end with it, ours among it: how much
//! of the hostile tree is left when the runtime was killed, and how soon.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use pidfd_watcher::Process;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::Pid;
use serde::{Deserialize, Serialize};

use crate::fork::Fork;
use crate::orders::{Link, Order};
use crate::trees::Tree;
use crate::{Guard, clock, play, proc_fs, until};

/// After so long the tree is looked at.
pub const LOOK_AFTER: Duration = Duration::from_secs(2);

/// Between our stop signal and our SIGKILL, for those that ignore the first.
pub const GRACE: Duration = Duration::from_millis(500);

/// Processes of the hostile tree.
pub const TREE: usize = 7;

/// The executables that a trial needs. Only an integration test or a bench knows their paths.
#[derive(Clone, Copy, Debug)]
pub struct Cast {
    /// `shim_under_test`.
    pub shim: &'static str,
    /// `tree_runtime`.
    pub runtime: &'static str,
    /// `hostile_tree`.
    pub hostile: &'static str,
}

/// One way to tie a program to its runtime.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    pub name: &'static str,
    /// What stands before COMMAND, the tool first. Empty: the runtime starts COMMAND itself.
    words: &'static str,
    starts: Starts,
}

/// Who starts these words as its child.
#[derive(Clone, Copy, Debug)]
enum Starts {
    /// `tree_runtime`.
    Program(Link),
    /// A copy of this process, by this function, which does not come back.
    Copy(fn(&[String])),
}

/// How our executable is written in [`Peer::words`].
const OURS: &str = "watchdog-shim";

impl Peer {
    /// A tool that a runtime starts as any program, as the tool's manual says.
    #[must_use]
    pub const fn tool(words: &'static str) -> Peer {
        Peer {
            name: words,
            words,
            starts: Starts::Program(Link::Parent),
        }
    }

    /// A library that starts COMMAND: `start` keeps what it has started, and does not come back.
    #[must_use]
    pub const fn library(name: &'static str, start: fn(&[String])) -> Peer {
        Peer {
            name,
            words: "",
            starts: Starts::Copy(start),
        }
    }

    /// A tool, or COMMAND itself, started by `ShimSpawner`.
    #[must_use]
    pub const fn spawned(name: &'static str, words: &'static str) -> Peer {
        Peer {
            name,
            words,
            starts: Starts::Program(Link::Watchdog),
        }
    }

    /// Everything that is compared but libraries, the others' first.
    #[must_use]
    pub fn all() -> Vec<Peer> {
        let mut all: Vec<Peer> = [
            "tini -s --",
            "tini -s -p SIGKILL --",
            "tini -s -g -p SIGTERM --",
            "dumb-init --",
            "catatonit --",
            "timeout 1h",
            "firejail --noprofile --quiet --",
            "unshare --fork --pid --kill-child",
            "setpriv --pdeathsig KILL",
            "setpriv --pdeathsig TERM",
            "bwrap --dev-bind / / --die-with-parent --",
            "bwrap --dev-bind / / --die-with-parent --unshare-pid --",
        ]
        .map(Peer::tool)
        .into();
        all.extend([
            Peer::spawned("our crates, COMMAND without a watchdog", ""),
            Peer::shim("watchdog-shim --contain=subreaper --"),
            Peer::shim("watchdog-shim --contain=cgroup --"),
            Peer::shim("watchdog-shim --contain=pidns --"),
        ]);
        all
    }

    const fn shim(words: &'static str) -> Peer {
        Peer::spawned(words, words)
    }

    /// One of [`Peer::all`].
    ///
    /// # Panics
    /// If there is none of that name.
    #[must_use]
    pub fn named(name: &str) -> Peer {
        let found = Peer::all().into_iter().find(|peer| peer.name == name);
        found.unwrap_or_else(|| panic!("no peer {name}"))
    }

    #[must_use]
    pub fn is_ours(&self) -> bool {
        matches!(self.starts, Starts::Program(Link::Watchdog))
    }

    /// What the tool says of its version; `None` where there is no tool.
    #[must_use]
    pub fn version(&self) -> Option<String> {
        let tool = self.tool_name()?;
        let output = Command::new(tool).arg("--version").output().ok()?;
        // Some say it on standard error.
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        Some(said.lines().next().unwrap_or(tool).to_owned())
    }

    /// The foreign program that is needed.
    fn tool_name(&self) -> Option<&'static str> {
        let tool = self.words.split(' ').next()?;
        (!tool.is_empty() && tool != OURS).then_some(tool)
    }

    /// Why this machine cannot run it; `None` if it can.
    #[must_use]
    pub fn is_missing(&self, cast: Cast) -> Option<String> {
        if let Some(tool) = self.tool_name() {
            let tried = Command::new(tool).arg("--version").output();
            return tried.err().map(|_| format!("{tool} is not installed"));
        }
        let contain = self.words.split(' ').find_map(|word| {
            let contain = word.strip_prefix("--contain=")?;
            (!play::can(cast.shim, contain)).then_some(contain)
        })?;
        Some(format!("no {contain} here"))
    }

    /// The command that is started.
    fn command(&self, cast: Cast, tree: &Tree) -> Vec<String> {
        let folder = tree.folder().to_owned();
        let leader = Order::HostileTree { folder }.argument();
        let before = self.words.split(' ').filter(|word| !word.is_empty());
        let before = before.map(|word| if word == OURS { cast.shim } else { word });
        before
            .chain([cast.hostile, &leader])
            .map(str::to_owned)
            .collect()
    }

    /// Starts the hostile tree, kills the runtime, and sees what is left. This process is pid 1 of
    /// a PID namespace of its own and has one thread: whoever is left ends with it.
    ///
    /// # Panics
    /// If the tree does not come to life.
    #[must_use]
    pub fn trial(&self, cast: Cast) -> Outcome {
        let _kernel = kernel_thread();
        let tree = Tree::new();
        let command = self.command(cast, &tree);
        let mut runtime = self.starts.start(cast, command);
        tree.ready();
        let members = members(cast.hostile);
        assert_eq!(members.len(), TREE, "{}: {members:?}", self.name);
        let start = clock::now();
        runtime.kill();
        let gone = until_ended(&members, start);
        let left = members
            .iter()
            .filter(|member| matches!(member.try_wait(), Ok(None)))
            .count();
        let handler = fs::read_to_string(tree.folder().join("term")).ok();
        let handler = handler.and_then(|instant| instant.parse::<u64>().ok());
        let since = |instant: u64| Duration::from_nanos(instant.saturating_sub(start));
        Outcome {
            left,
            handler: handler.map(since),
            gone: gone.map(since),
        }
    }
}

/// What became of one tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// Of [`TREE`], [`LOOK_AFTER`] the runtime was killed.
    pub left: usize,
    /// When the leader's handler ran, if it did.
    pub handler: Option<Duration>,
    /// When the last one ended, if none is left.
    pub gone: Option<Duration>,
}

/// A runtime that can be killed.
enum Runtime {
    Program(Guard),
    Copy(Fork),
}

impl Starts {
    fn start(self, cast: Cast, command: Vec<String>) -> Runtime {
        match self {
            Starts::Program(link) => {
                let order = Order::Runtime {
                    command,
                    link,
                    grace: GRACE,
                };
                let mut runtime = order.to(cast.runtime);
                runtime.stdin(Stdio::null()).stdout(Stdio::null());
                Runtime::Program(Guard::spawn(&mut runtime))
            }
            Starts::Copy(start) => Runtime::Copy(Fork::run(|| start(&command))),
        }
    }
}

impl Runtime {
    fn kill(&mut self) {
        match self {
            Runtime::Program(guard) => guard.kill().expect("own child"),
            Runtime::Copy(fork) => fork.signal(libc::SIGKILL),
        }
    }
}

/// Everybody in this namespace who runs that executable, whatever its mounts and its arguments are.
fn members(executable: &str) -> Vec<Process> {
    let wanted = fs::metadata(executable).expect("the executable");
    let is_it = |pid: i32| {
        fs::metadata(format!("/proc/{pid}/exe"))
            .is_ok_and(|exe| (exe.dev(), exe.ino()) == (wanted.dev(), wanted.ino()))
    };
    let all = proc_fs::all().into_iter();
    all.filter(|stat| !matches!(stat.state, 'Z' | 'X') && is_it(stat.pid))
        .filter_map(|stat| Process::open(Pid::from_raw(stat.pid)?).ok())
        .collect()
}

/// When the last of them ended; `None` if one lives [`LOOK_AFTER`] `start`.
fn until_ended(members: &[Process], start: u64) -> Option<u64> {
    let mut left: Vec<&Process> = members.iter().collect();
    loop {
        let waited = Duration::from_nanos(clock::now().saturating_sub(start));
        let remaining = LOOK_AFTER.checked_sub(waited)?;
        let mut fds: Vec<PollFd<'_>> = left
            .iter()
            .map(|process| PollFd::new(*process, PollFlags::IN))
            .collect();
        let timeout = Timespec::try_from(remaining).expect("two seconds at most");
        let _ = poll(&mut fds, Some(&timeout));
        let ended: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        let mut ended = ended.into_iter();
        left.retain(|_| !ended.next().unwrap_or(false));
        if left.is_empty() {
            return Some(clock::now());
        }
    }
}

/// A process that has the name of the kernel's first thread. firejail tells by that whether it runs
/// on a machine or in somebody's container, and does nothing of its own in a container.
fn kernel_thread() -> Fork {
    let name = c"kthreadd";
    let fork = Fork::run(|| {
        rustix::thread::set_name(name).expect("PR_SET_NAME");
        loop {
            std::thread::park();
        }
    });
    until("it has its name", || {
        let comm = fs::read_to_string(format!("/proc/{}/comm", fork.pid())).ok()?;
        (comm.trim_end().as_bytes() == name.to_bytes()).then_some(())
    });
    fork
}
