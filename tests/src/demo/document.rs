//! What is known of a run: the director's memory while it plays, and what `--json` prints.
//!
//! `cargo xtask demo --help` documents the fields. Adding one keeps the schema's number; to take
//! one away or to give it another meaning needs a new number.

use serde::Serialize;

use super::options::Options;
use super::setup::TREE;
use super::wire::Plan;

#[derive(Debug, Serialize)]
pub(super) struct Document {
    pub(super) schema: u32,
    pub(super) ok: bool,
    pub(super) error: Option<String>,
    pub(super) program: Vec<String>,
    pub(super) runtime: Runtime,
    pub(super) shims: Vec<Shim>,
    pub(super) tree: Tree,
    pub(super) adoption: Option<Adoption>,
    pub(super) timeline: Vec<Entry>,
    #[serde(flatten)]
    pub(super) count: Count,
}

#[derive(Debug, Default, Serialize)]
pub(super) struct Runtime {
    pub(super) pid: Option<i32>,
    /// All shims were spawned, and the detached one's identity saved.
    pub(super) ready_ns: Option<u64>,
    pub(super) killed_ns: Option<u64>,
    pub(super) gone_ns: Option<u64>,
}

#[derive(Debug, Default, Serialize)]
pub(super) struct Shim {
    pub(super) name: String,
    pub(super) detached: bool,
    pub(super) pid: Option<i32>,
    pub(super) program_pid: Option<i32>,
    pub(super) port: u16,
    pub(super) answer: Option<String>,
    pub(super) answer_after_kill: Option<String>,
    pub(super) verdict: Option<String>,
    pub(super) learned_ns: Option<u64>,
    pub(super) program_gone_ns: Option<u64>,
    pub(super) gone_ns: Option<u64>,
    pub(super) status: Option<String>,
}

/// The unmodified tree under `watchdog-shim`.
#[derive(Debug, Default, Serialize)]
pub(super) struct Tree {
    /// The one of the shim's processes that the runtime has started.
    pub(super) pid: Option<i32>,
    /// All of them.
    pub(super) shim_pids: Vec<i32>,
    /// The server.
    pub(super) program_pid: Option<i32>,
    /// Its child, which does not want to end.
    pub(super) worker_pid: Option<i32>,
    pub(super) port: u16,
    pub(super) answer: Option<String>,
    /// Why the shim stopped the tree, in its own words.
    pub(super) cause: Option<String>,
    pub(super) learned_ns: Option<u64>,
    /// Whether the server said that it has stopped as it should.
    pub(super) good_order: Option<bool>,
    pub(super) exit_code: Option<i32>,
    /// How many the shim says that it had to kill.
    pub(super) killed: Option<u32>,
    pub(super) program_gone_ns: Option<u64>,
    pub(super) worker_gone_ns: Option<u64>,
    pub(super) gone_ns: Option<u64>,
    /// Of the shim.
    pub(super) status: Option<String>,
}

#[derive(Debug, Default, Serialize)]
pub(super) struct Adoption {
    /// The new runtime.
    pub(super) pid: i32,
    pub(super) adopted_ns: Option<u64>,
    pub(super) proven: Option<bool>,
    pub(super) stopped_ns: Option<u64>,
    /// Of the shim, as the new runtime saw it.
    pub(super) status: Option<String>,
    /// When the new runtime itself had ended.
    pub(super) gone_ns: Option<u64>,
}

/// A line of the timeline.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Entry {
    pub(super) at_ns: u64,
    pub(super) pid: i32,
    pub(super) who: String,
    pub(super) kind: Kind,
    pub(super) text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    Started,
    Ready,
    Answered,
    Killed,
    Learned,
    Told,
    Adopted,
    Stopped,
    Gone,
}

/// What was left behind; `None` until it was counted.
#[derive(Debug, Default, Serialize)]
pub(super) struct Count {
    pub(super) orphans: Option<usize>,
    pub(super) zombies: Option<usize>,
    pub(super) leaked_descriptors: Option<usize>,
    /// Each of them, for a human.
    pub(super) left_behind: Vec<String>,
}

impl Document {
    pub(super) fn new(options: &Options, plan: &Plan) -> Document {
        let program = match &options.program[..] {
            [] => vec!["http_server".to_owned()],
            words => words.to_vec(),
        };
        let shims = plan.shims.iter().map(|shim| Shim {
            name: shim.name.clone(),
            detached: shim.detached,
            port: shim.port,
            ..Shim::default()
        });
        Document {
            schema: 1,
            ok: false,
            error: None,
            program,
            runtime: Runtime::default(),
            shims: shims.collect(),
            tree: Tree {
                port: plan.tree.port,
                ..Tree::default()
            },
            adoption: None,
            timeline: Vec::new(),
            count: Count::default(),
        }
    }

    pub(super) fn attached(&self) -> impl Iterator<Item = &Shim> {
        self.shims.iter().filter(|shim| !shim.detached)
    }

    pub(super) fn detached(&self) -> impl Iterator<Item = &Shim> {
        self.shims.iter().filter(|shim| shim.detached)
    }

    /// Every program that has given no answer yet.
    pub(super) fn unanswered(&self) -> Vec<Listener> {
        let tree = &self.tree;
        let shims = self.shims.iter();
        shims
            .map(|shim| (&shim.answer, &shim.name[..], shim.program_pid, shim.port))
            .chain([(&tree.answer, TREE, tree.program_pid, tree.port)])
            .filter(|(answer, ..)| answer.is_none())
            .map(|(_, who, pid, port)| Listener {
                who: who.to_owned(),
                pid: pid.unwrap_or_default(),
                port,
            })
            .collect()
    }

    pub(super) fn keep_answer(&mut self, of: &Listener, line: String) {
        let shim = self.shims.iter_mut().find(|shim| shim.port == of.port);
        let answer = shim.map_or(&mut self.tree.answer, |shim| &mut shim.answer);
        *answer = Some(line);
    }

    /// Every process of the run that a number is known of.
    pub(super) fn pids(&self) -> Vec<i32> {
        let shims = self
            .shims
            .iter()
            .flat_map(|shim| [shim.pid, shim.program_pid]);
        let tree = self.tree.shim_pids.iter().copied().map(Some);
        let adoption = self.adoption.as_ref().map(|adoption| adoption.pid);
        shims
            .chain(tree)
            .chain([self.tree.program_pid, self.tree.worker_pid])
            .chain([self.runtime.pid, adoption])
            .flatten()
            .collect()
    }
}

/// A program that is to answer on its port.
pub(super) struct Listener {
    pub(super) who: String,
    pub(super) pid: i32,
    pub(super) port: u16,
}

impl Tree {
    pub(super) fn has(&self, pid: i32) -> bool {
        [self.pid, self.program_pid, self.worker_pid].contains(&Some(pid))
    }
}

impl Shim {
    /// The shim, and the program behind it.
    pub(super) fn is_gone(&self) -> bool {
        self.gone_ns.is_some() && self.program_gone_ns.is_some()
    }
}

impl Count {
    pub(super) fn is_clean(&self) -> bool {
        [self.orphans, self.zombies, self.leaked_descriptors] == [Some(0); 3]
    }
}
