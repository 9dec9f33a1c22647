//! What the runtime and its director say to each other: a line of JSON each.

use std::io::{self, Write};

use serde::{Deserialize, Serialize};

/// To the runtime, on its standard input. The end of the input is the end of the work.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) enum Ask {
    /// Do everything once.
    Round,
}

/// From the runtime, on its standard output.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Told {
    /// The shim that lives from the start to the end has this pid.
    Ready { shim: i32 },
    /// Something took so many nanoseconds.
    Took { step: Step, ns: u64 },
    /// Something cannot be done on this machine.
    Skipped { why: String },
    /// The round is over, and nothing is going on. The runtime has so many bytes allocated.
    Settled { heap: u64 },
}

/// What takes time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Step {
    /// A spawn by `Engine::Vfork`.
    Spawn,
    /// A spawn by `Engine::Fork`.
    Fork,
    /// From a SIGKILL to the callback that hears of the exit.
    ExitTold,
    /// A stop of a shim that obeys.
    Stop,
    /// A spawn under a supervisor.
    TreeSpawn,
    /// A stop of a tree that obeys.
    TreeStop,
}

impl Step {
    pub(super) const ALL: [Step; 6] = [
        Step::Spawn,
        Step::Fork,
        Step::ExitTold,
        Step::Stop,
        Step::TreeSpawn,
        Step::TreeStop,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Step::Spawn => "spawn",
            Step::Fork => "spawn by fork",
            Step::ExitTold => "exit told",
            Step::Stop => "stop",
            Step::TreeSpawn => "spawn of a tree",
            Step::TreeStop => "stop of a tree",
        }
    }
}

/// Writes a line.
pub(super) fn say(to: &mut impl Write, what: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(what)?;
    line.push(b'\n');
    to.write_all(&line)?;
    to.flush()
}
