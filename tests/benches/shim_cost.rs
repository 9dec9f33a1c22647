//! What the shim costs, beside tini, dumb-init, catatonit and bubblewrap.
//!
//! - `start`: from before the spawn until COMMAND's main, and until the end of a COMMAND that ends
//!   at once. What a tool adds is its median without that of the bare COMMAND. As root, and as an
//!   unprivileged user.
//! - `memory`: the proportional set of all processes between the runtime and COMMAND.
//! - `rest`: how often they were switched to in a minute in which nothing happens; `--seconds N`.
//! - `death`: from SIGKILL of a runtime of 0, 1 and 4 GiB (`--sizes N,N`) until COMMAND's handler
//!   runs; and of a small one beside 500 other processes. `--early`: COMMAND is started before the
//!   memory is filled.
//! - `grace`: a tree of 1,000 that ignores TERM, from the end of the grace until nobody is left.
//! - `sweep`: trees of 1,000 to 20,000 (`--trees N,N`), from SIGKILL of the runtime until nobody is
//!   left: of TERM; and of SIGKILL after the grace, which is not counted.
//!
//! ```sh
//! cargo bench -p workspace-tests --bench shim_cost -- death --sizes 0,4
//! ```
//!
//! `--other PATH` is a shim that was built otherwise, beside this build in `start`, `memory` and
//! `rest`. Without a name all of them are run. `--quick` takes fewer rounds and smaller trees,
//! `--rounds N` so many. All of it happens in a PID namespace of the bench's own: nobody stays
//! behind, and other processes of the machine are not seen.

use std::process::{Command, ExitCode};

use workspace_tests::samples::{Samples, folder};
use workspace_tests::{namespace, signals};

#[path = "shim_cost/contender.rs"]
mod contender;
#[path = "shim_cost/crowd.rs"]
mod crowd;
#[path = "shim_cost/death.rs"]
mod death;
#[path = "shim_cost/idle.rs"]
mod idle;
#[path = "shim_cost/runtime.rs"]
mod runtime;
#[path = "shim_cost/start.rs"]
mod start;

/// A part of the bench.
type Part = fn(&Options) -> Vec<Samples>;

/// The parts, in the order in which they run.
const PARTS: [(&str, Part); 6] = [
    ("start", start::measure),
    ("memory", idle::memory),
    ("rest", idle::rest),
    ("death", death::measure),
    ("grace", crowd::grace),
    ("sweep", crowd::sweep),
];

/// What the command line asks for.
struct Options {
    parts: Vec<String>,
    quick: bool,
    early: bool,
    other: Option<String>,
    rounds: Option<usize>,
    seconds: Option<u64>,
    sizes: Option<Vec<usize>>,
    trees: Option<Vec<usize>>,
}

impl Options {
    fn from_args() -> Options {
        let mut options = Options {
            parts: Vec::new(),
            quick: false,
            early: false,
            other: None,
            rounds: None,
            seconds: None,
            sizes: None,
            trees: None,
        };
        let mut args = std::env::args().skip(1);
        while let Some(arg) = args.next() {
            let mut value = || args.next().unwrap_or_else(|| panic!("{arg} needs a value"));
            let numbers = |text: String| {
                let numbers = text
                    .split(',')
                    .map(|number| number.parse().expect("a number"));
                Some(numbers.collect())
            };
            match arg.as_str() {
                "--bench" => {}
                "--quick" => options.quick = true,
                "--early" => options.early = true,
                "--other" => options.other = Some(value()),
                "--rounds" => options.rounds = Some(value().parse().expect("a number")),
                "--seconds" => options.seconds = Some(value().parse().expect("a number")),
                "--sizes" => options.sizes = numbers(value()),
                "--trees" => options.trees = numbers(value()),
                part if PARTS.iter().any(|(name, _)| *name == part) => {
                    options.parts.push(part.to_owned());
                }
                _ => panic!("what is {arg}?"),
            }
        }
        options
    }

    /// So many rounds, unless the command line says how many.
    fn rounds(&self, whole: usize, quick: usize) -> usize {
        self.rounds
            .unwrap_or(if self.quick { quick } else { whole })
    }
}

fn main() -> ExitCode {
    let options = Options::from_args();
    if std::process::id() != 1 {
        return run_inside();
    }
    signals::default_actions();
    namespace::mount_proc();
    let kept = folder();
    for (name, measure) in PARTS {
        if options.parts.is_empty() || options.parts.iter().any(|part| part == name) {
            let samples = measure(&options);
            Samples::save_in(&kept, &samples, &format!("shim_cost_{name}"))
                .expect("keep the samples");
        }
    }
    ExitCode::SUCCESS
}

/// Runs this program again as pid 1 of a PID namespace, with mounts of its own.
fn run_inside() -> ExitCode {
    // SAFETY: plain numbers; this process has one thread.
    if unsafe { libc::unshare(libc::CLONE_NEWPID | libc::CLONE_NEWNS) } != 0 {
        let error = std::io::Error::last_os_error();
        eprintln!("shim_cost: needs a PID namespace, which takes root: {error}");
        return ExitCode::FAILURE;
    }
    let program = std::env::current_exe().expect("this program");
    let status = Command::new(program)
        .args(std::env::args_os().skip(1))
        .status();
    let code = status.expect("run this program").code();
    code.and_then(|code| u8::try_from(code).ok())
        .map_or(ExitCode::FAILURE, ExitCode::from)
}
