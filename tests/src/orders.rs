//! What a test tells its helper programs: one argument, which is one of these in JSON.

use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Everything that a helper program can be told.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Order {
    /// To `hostile_tree`: be the leader of a tree of seven that does not want to end.
    HostileTree {
        /// Every process of the tree has this in its command line. Files appear in it: `ready` when all seven live,
        /// and `term`, with the instant on the monotonic clock, when the leader's handler has run.
        folder: PathBuf,
    },
    /// To `hostile_command`: say of each of these processes what of it can be reached, a line for each.
    Spy { pids: Vec<i32> },
    /// To `hostile_command`: take all orphans of its own tree, and leave a program behind that has two dead parents.
    BeSubreaper,
    /// To `told_command`: write a byte to standard output, and the instant at which SIGTERM arrives.
    TellStop,
    /// To `told_command`: be so many processes, all of which hold standard output, and write a byte to it when all live.
    Crowd { count: usize, ignore_term: bool },
    /// To `tree_runtime`: start this command by a spawner, and wait for ever.
    Runtime {
        /// The program and its arguments.
        command: Vec<String>,
        link: Link,
        grace: Duration,
    },
    /// To `tree_runtime`: start this command under a supervisor, which is the runtime's own program once more, and wait
    /// for ever.
    SupervisingRuntime {
        /// Gets the file `identity`; and `released` once the command was let go, if `release` says so.
        folder: PathBuf,
        /// The program and its arguments.
        command: Vec<String>,
        grace: Duration,
        release: bool,
    },
    /// To `forker`: fork and end, for ever and deaf to SIGTERM, so that the number of the one that lives changes all the time.
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
    /// To `watchdog_heir`: the variable is set twice. Refuse both; then, with one, adopt descriptor 50.
    AdoptOneOfTwo,
    /// To `watchdog_heir`: the variable is another process's. Find that it is, and touch nothing.
    AdoptNothing,
    /// To `shim_role`: say how long the configuration is and what its bytes add up to; or `none`.
    ReadConfig,
    /// To `shim_role`: be a shim. Adopt the watchdog, say `ready`, repeat every line, and end by the watchdog alone.
    BeShim,
    /// To `shim_role`: say what the watchdog told, and then repeat every line.
    TellVerdict,
    /// To `shim_role`: try every descriptor as a handle on the parent, and say what worked.
    Intrude,
}

/// How a runtime is tied to what it starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Link {
    /// By the watchdog of `ShimSpawner`.
    Watchdog,
    /// By nothing but being the parent.
    Parent,
}

impl Order {
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
