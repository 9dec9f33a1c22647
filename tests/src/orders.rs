//! What a test tells its helper programs: one argument, which is one of these in JSON.

use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::faults::role::Role as FaultRole;
use crate::faults::wish::Wish;

/// Everything that a helper program can be told.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Order {
    /// To `hostile_tree`: be the leader of a tree of seven that does not want to end.
    HostileTree {
        /// Every process of the tree has this in its command line. Files appear in it: `ready` when
        /// all seven live, and `term`, with the instant on the monotonic clock, when the leader's
        /// handler has run.
        folder: PathBuf,
    },
    /// To `hostile_command`: say of each of these processes what of it can be reached, a line for
    /// each.
    Spy { pids: Vec<i32> },
    /// To `hostile_command`: take all orphans of its own tree, and leave a program behind that has
    /// two dead parents.
    BeSubreaper,
    /// To `told_command`: write a byte to standard output, and the instant at which SIGTERM
    /// arrives.
    TellStop,
    /// To `told_command`: be so many processes, all of which hold standard output, and write a byte
    /// to it when all live.
    Crowd { count: usize, ignore_term: bool },
    /// To `tree_runtime`: start this command by a spawner, and wait for ever.
    Runtime {
        /// The program and its arguments.
        command: Vec<String>,
        link: Link,
        grace: Duration,
    },
    /// To `tree_runtime`: start this command under a supervisor, which is the runtime's own program
    /// once more, and wait for ever.
    SupervisingRuntime {
        /// Gets the file `identity`; and `released` once the command was let go, if `release` says
        /// so.
        folder: PathBuf,
        /// The program and its arguments.
        command: Vec<String>,
        grace: Duration,
        release: bool,
    },
    /// To `soak_runtime`: work, round by round, as standard input says.
    Soak {
        /// The order of the work.
        seed: u64,
        /// Where identities are kept.
        folder: PathBuf,
        /// Lose one in each round.
        leak: Option<Leak>,
    },
    /// To `soak_runtime`: start a detached shim with this identity file, and end.
    LeaveShim { identity: PathBuf },
    /// To `forker`: fork and end, for ever and deaf to SIGTERM, so that the number of the one that
    /// lives changes all the time.
    Comet {
        /// Gets the file `ready` when it is on its way.
        folder: PathBuf,
        /// It ends by itself after that.
        lasts: Duration,
    },
    /// To `forker`: start so many children that sleep for ever.
    Sleepers {
        /// Gets the file `ready` when all live.
        folder: PathBuf,
        count: u32,
        ignore_term: bool,
    },
    /// To `watchdog_heir`: the variable is set twice. Refuse both; then, with one, adopt descriptor
    /// 50.
    AdoptOneOfTwo,
    /// To `watchdog_heir`: the variable is another process's. Find that it is, and touch nothing.
    AdoptNothing,
    /// To `shim_role`: say how long the configuration is and what its bytes add up to; or `none`.
    ReadConfig,
    /// To `shim_role`: be a shim. Adopt the watchdog, say `ready`, repeat every line, and end by
    /// the watchdog alone.
    BeShim,
    /// To `shim_role`: say what the watchdog told, and then repeat every line.
    TellVerdict,
    /// To `shim_role` and `watchdog_child`: try every descriptor as a handle on the parent, and say
    /// what worked.
    Intrude,

    // To `fault_cases`.
    /// Be what a scenario starts.
    Fault(FaultRole),
    /// Inject faults, as pid 1 of a PID namespace.
    InjectFaults(Wish),

    // To `proc_target`.
    /// End at once.
    Exit { code: i32 },
    /// End when standard input does.
    ExitAtEof { code: i32 },
    /// End by this signal, and write no core.
    Raise { signal: i32 },
    /// End by this signal, and write a core if the system does.
    DumpCore { signal: i32 },
    /// End the main thread, say `leader gone`, and end when standard input does.
    LeaderFirst { code: i32 },
    /// Start a child that will end so, and say its number. Then follow the next two, line by line.
    ParentOf { code: i32 },
    /// Let the child end.
    EndChild,
    /// Reap the child, and say `reaped`.
    ReapChild,
    /// Trace this process, say `tracing`, and let its death wait until standard input ends.
    Trace { pid: i32 },

    // To `proc_identity`.
    /// Load an identity and open it, as a runtime does after its restart; say what came of it.
    LoadAndOpen { path: PathBuf },
    /// Say `saving`, and save the two identities in turns.
    SaveForEver {
        path: PathBuf,
        identities: [String; 2],
    },
    /// Save the identity where a file may have ten bytes: the write fails half-way.
    SaveAtLimit { path: PathBuf, identity: String },

    // To `shim_runtime` and `shim_killer`. The program is that of a box.
    /// Follow the next two, line by line. The end of standard input is the end.
    StartBoxes { program: PathBuf },
    /// Start a box, and say its number when it is up.
    StartBox { detached: bool },
    /// Drop all handlers, and say `dropped`.
    DropBoxes,
    /// Start, stop and drop boxes for ever.
    Churn { program: PathBuf },
    /// Kill a runtime that churns at a random instant, so many times.
    KillChurning {
        runtime: PathBuf,
        program: PathBuf,
        rounds: u32,
    },
    /// To `fleet_member`: tie yourself to the runtime, write a byte to standard output, and sleep.
    Member(Tie),
    /// To `fd_heir`: claim the descriptors with these numbers, and say what became of it.
    Claim { numbers: Vec<i32> },

    // To the actors of a cast. Each answers `ok`, if nothing else is said here, or with its error.
    /// Do nothing.
    Answer,

    // To `watchdog_child`.
    /// Adopt the watchdog; `none` without one.
    Adopt,
    /// Answer with what the adopted watchdog promises.
    Guarantees,
    /// Wait for a verdict, and answer with it.
    Wait,
    /// Look for a verdict, and answer with it.
    TryWait,
    /// Poll as an event loop does, and answer with the verdict.
    Poll,
    /// Let the watchdog end this process.
    Enforce { signal: i32, grace: Duration },
    /// The same by the policy that came with the link.
    EnforceInherited,
    /// Let the watchdog run this. It speaks under the name `callback`.
    Callback(Callback),
    /// Cancel the monitor, and answer with the verdict.
    Cancel,
    /// Drop the monitor.
    DropMonitor,
    /// Drop the watchdog.
    DropWatchdog,
    /// Ask for the watchdog's descriptor.
    AskForDescriptor,
    /// From now on, do this at SIGTERM.
    OnSigterm(OnSigterm),
    /// Count this signal from now on, and let it interrupt system calls.
    Handle { signal: i32 },
    /// Answer how many signals were counted.
    CountHandled,
    /// Never return from exit(3).
    HangAtExit,
    /// Answer, and then never again: the main thread waits for a lock that it holds.
    Deadlock,
    /// Write this to the pipe by a write end of this process's own.
    WriteStray(String),
    /// Fill the pipe by a write end of this process's own.
    FillPipe,
    /// Read the pipe empty.
    DrainPipe,
    /// Close the pipe's number behind the watchdog's back.
    CloseDescriptor,
    /// Close everything but the standard streams and the cast, as a library does that daemonizes.
    CloseEverything,
    /// Set the user to what it is. The C library tells every thread of it by a signal that nobody
    /// can block.
    SetUid,
    /// Answer how many threads there are.
    CountThreads,
    /// Let a copy made by fork drop its copy of the watchdog.
    ForkAndDrop,
    /// Answer which descriptors were given beyond the standard streams.
    ListGiven,
    /// Start a program, and answer whether it has the pipe.
    StartDescendant,
    /// Answer with the effective user.
    TellEuid,
    /// Answer with the own number.
    TellPid,

    // To `watchdog_parent`. `link` counts the links that it made, from 0.
    /// Start a child on a new link, and answer with its number.
    Spawn(Spawn),
    /// The same from a thread that ends.
    SpawnOnThread { name: String },
    /// Fork a copy that sleeps, and answer with its number.
    ForkSleeper,
    /// Start a program that stops between its fork and its exec, and answer with its number.
    StartStopped { program: PathBuf },
    /// Start children in a new PID namespace from now on.
    UnsharePid,
    /// Become this user.
    Become { uid: u32 },
    /// Make so many links and drop them.
    MakeLinks { count: usize },
    /// Make so many links and keep them.
    HoldLinks { count: usize },
    /// Run a program to its end.
    Run { program: PathBuf },
    /// Answer with what the link promises.
    GuaranteesOf { link: usize },
    /// Write over what belongs to the sentinel, as a program does that has gone wrong.
    WriteOver(SentinelPart),
    /// Drop the keepalive.
    Drop { link: usize },
    /// Release the child.
    Release { link: usize },
    /// Hand the write end over, to nobody.
    HandOver { link: usize },
    /// Hand the write end over to the process that listens there.
    Send { link: usize, path: PathBuf },
    /// Answer `ready`, and then take over the write end that comes there.
    Receive { path: PathBuf },
    /// Execute this program with all links. It enters as `upgraded`.
    Upgrade { program: PathBuf },
    /// Announce this process's death, and live on.
    Announce(Announcement),
    /// End. There is no answer.
    Die(Death),
    /// Dump core into this folder, with a crash handler that announces the death. There is no
    /// answer.
    Crash { folder: PathBuf },
}

/// What a watchdog's callback does once it has said the verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Callback {
    /// Nothing more.
    Tells,
    /// It says the signal mask of its thread, and no verdict.
    TellsItsMask,
    /// It panics.
    Panics,
    /// Something that it holds panics when it is dropped.
    PanicsInDrop,
    /// It panics with something that panics again when it is dropped.
    PanicsTwice,
    /// It cancels its own monitor, and says what that answers.
    Cancels,
}

/// What a child does at SIGTERM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnSigterm {
    /// The main thread blocks it.
    Block,
    Ignore,
    /// The handler never returns.
    Hang,
    /// The handler counts.
    Count,
}

/// What of a sentinel is written over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SentinelPart {
    /// The words of the children.
    Words,
    /// The list of robust futexes.
    List,
}

/// From where a runtime announces its death.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Announcement {
    /// The main thread.
    Main,
    SecondThread,
    PanicHook,
    /// A handler of SIGSEGV on its signal stack. It never returns, and there is no answer.
    CrashHandler,
    /// A copy made by fork.
    Copy,
    /// A child that shares the memory of the runtime.
    SharedMemory,
}

/// How a runtime ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Death {
    Exit,
    Abort,
    /// It executes another program, which goes on in the same process without the links.
    Exec,
}

/// A child to be started on a link of its own.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Spawn {
    /// Under which it enters the cast.
    pub name: String,
    pub pipe_alone: bool,
    pub page_stays_behind: bool,
    pub policy: Option<(i32, Duration)>,
    pub number: Option<i32>,
    pub stopped: bool,
    pub stop_before_main: bool,
    pub unshare: i32,
    pub through: Option<PathBuf>,
    pub program: Option<PathBuf>,
}

impl Spawn {
    #[must_use]
    pub fn new(name: &str) -> Spawn {
        let name = name.to_owned();
        Spawn {
            name,
            ..Spawn::default()
        }
    }

    /// The link has no sentinel.
    #[must_use]
    pub fn pipe_alone(mut self) -> Spawn {
        self.pipe_alone = true;
        self
    }

    /// The spawner knows of one descriptor alone, and passes on the pipe.
    #[must_use]
    pub fn page_stays_behind(mut self) -> Spawn {
        self.page_stays_behind = true;
        self
    }

    /// The stop policy that comes with the link.
    #[must_use]
    pub fn policy(mut self, signal: i32, grace: Duration) -> Spawn {
        self.policy = Some((signal, grace));
        self
    }

    /// The number of the pipe in the child.
    #[must_use]
    pub fn number(mut self, number: i32) -> Spawn {
        self.number = Some(number);
        self
    }

    /// It stops between its fork and its exec.
    #[must_use]
    pub fn stopped(mut self) -> Spawn {
        self.stopped = true;
        self
    }

    /// It stops between its exec and its main.
    #[must_use]
    pub fn stop_before_main(mut self) -> Spawn {
        self.stop_before_main = true;
        self
    }

    /// In new namespaces: `CLONE_NEW*`.
    #[must_use]
    pub fn unshare(mut self, namespaces: i32) -> Spawn {
        self.unshare = namespaces;
        self
    }

    /// Through a shell that executes the child: the descriptors pass both execs.
    #[must_use]
    pub fn through(mut self, shell: impl Into<PathBuf>) -> Spawn {
        self.through = Some(shell.into());
        self
    }

    /// Another program than `watchdog_child`.
    #[must_use]
    pub fn program(mut self, program: impl Into<PathBuf>) -> Spawn {
        self.program = Some(program.into());
        self
    }
}

/// How a member of a fleet is tied to its runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Tie {
    /// By the watchdog that it was given.
    Watchdog,
    /// By `PR_SET_PDEATHSIG` and SIGKILL, with so many idle threads besides.
    Pdeathsig {
        threads: usize,
    },
    Nothing,
}

/// What a runtime loses, so that a test sees it found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
pub enum Leak {
    Descriptor,
    /// A page.
    Memory,
}

/// How a runtime is tied to what it starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Link {
    /// By the watchdog of `ShimSpawner`.
    Watchdog,
    /// By nothing but being the parent.
    Parent,
}

/// So long a grace that nothing but the signal can have ended the child.
pub const LONG: Duration = Duration::from_secs(600);

impl Order {
    /// [`Enforce`](Order::Enforce) with this stop policy.
    #[must_use]
    pub fn enforce(signal: i32, grace: Duration) -> Order {
        Order::Enforce { signal, grace }
    }

    /// `program`, told this.
    #[must_use]
    pub fn to(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.arg(self.argument());
        command
    }

    /// The argument.
    #[must_use]
    pub fn argument(&self) -> String {
        serde_json::to_string(self).expect("an order in JSON")
    }

    /// What [`argument`](Order::argument) has written.
    ///
    /// # Panics
    /// If it has not.
    #[must_use]
    pub fn parse(text: &str) -> Order {
        serde_json::from_str(text).unwrap_or_else(|error| panic!("not an order: {text:?}: {error}"))
    }

    /// In a helper program: what it was told, and what came of it.
    pub fn obey(act: impl FnOnce(Order) -> ExitCode) -> ExitCode {
        let argument = std::env::args().nth(1).unwrap_or_default();
        match serde_json::from_str(&argument) {
            Ok(order) => act(order),
            Err(error) => {
                eprintln!("not an order: {argument:?}: {error}");
                ExitCode::FAILURE
            }
        }
    }
}
