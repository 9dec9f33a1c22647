//! What a scenario says of itself when it is over.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::io;

use serde::{Deserialize, Serialize};

use crate::proc_fs;

/// What came of the operation, in words that are the same in every run.
pub type Facts = BTreeMap<String, String>;

/// A typed error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// Which call of ours.
    pub what: String,
    /// The stage or the variant.
    pub stage: String,
    pub errno: Option<i32>,
    pub text: String,
}

/// What came of one operation.
pub type Outcome = Result<Facts, Refusal>;

/// What a process has, apart from what it was born with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holdings {
    /// How many descriptors name such a file.
    pub fds: BTreeMap<String, usize>,
    pub threads: usize,
    /// Children, zombies among them.
    pub children: usize,
    /// Files in the folder of the case.
    pub files: Vec<String>,
}

/// All that a scenario says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// Of the operation under a fault.
    pub first: Outcome,
    /// Of the same once more, without one; `None` for what is done once in a process.
    pub again: Option<Outcome>,
    pub left: Holdings,
}

impl Refusal {
    pub fn new(what: &str, stage: &str, errno: Option<i32>, error: &dyn Error) -> Refusal {
        let mut text = error.to_string();
        let mut source = error.source();
        while let Some(inner) = source {
            text = format!("{text}: {inner}");
            source = inner.source();
        }
        Refusal {
            what: what.to_owned(),
            stage: stage.to_owned(),
            errno,
            text,
        }
    }
}

/// The name of a descriptor's file without the numbers that differ in each run.
fn kind_of(file: &str) -> String {
    let name = file.split(['[', '{']).next().unwrap_or(file);
    name.split("/case-").next().unwrap_or(name).to_owned()
}

/// What stands on a number that the injector has taken in place of a file that it says is not
/// closed.
pub const NOT_CLOSED: &str = "/memfd:not-closed";

impl Holdings {
    pub fn take(folder: &std::path::Path) -> Holdings {
        let mut fds = BTreeMap::new();
        for file in proc_fs::own_fds().values() {
            if !file.starts_with(NOT_CLOSED) {
                *fds.entry(kind_of(file)).or_default() += 1;
            }
        }
        let own = i32::try_from(std::process::id()).expect("a pid");
        Holdings {
            fds,
            threads: fs::read_dir("/proc/self/task").map_or(0, Iterator::count),
            children: proc_fs::children_of(own).len(),
            files: names_in(folder),
        }
    }

    /// What is more than in a run without a fault; `None` if nothing is.
    #[must_use]
    pub fn excess(&self, clean: &Holdings) -> Option<String> {
        let mut more = Vec::new();
        for (name, count) in &self.fds {
            let before = clean.fds.get(name).copied().unwrap_or(0);
            if *count > before {
                more.push(format!("{count} descriptors of {name}, not {before}"));
            }
        }
        if self.threads > clean.threads {
            more.push(format!("{} threads, not {}", self.threads, clean.threads));
        }
        if self.children > clean.children {
            more.push(format!(
                "{} children, not {}",
                self.children, clean.children
            ));
        }
        if self.files.iter().any(|file| !clean.files.contains(file)) {
            more.push(format!("files {:?}, not {:?}", self.files, clean.files));
        }
        (!more.is_empty()).then(|| format!("held afterwards: {}", more.join(", ")))
    }
}

fn names_in(folder: &std::path::Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut names: Vec<String> = names.filter(|name| !OWN.contains(&name.as_str())).collect();
    names.sort();
    names
}

/// Files of the injector's.
pub const OUTPUT: &str = "output";
pub const TOLD: &str = "told";
pub const CHILD: &str = "child";
const OWN: [&str; 3] = [OUTPUT, TOLD, CHILD];

macro_rules! refusals {
    ($($error:ty: |$it:ident| $stage:expr, $errno:expr;)*) => {$(
        impl From<$error> for Refusal {
            fn from($it: $error) -> Refusal {
                let stage = $stage;
                let (stage, _) = stage.split_once(['(', ' ']).unwrap_or((stage.as_str(), ""));
                Refusal::new(stringify!($error), stage, $errno, &$it)
            }
        }
    )*};
}

refusals! {
    shim_spawner::SpawnError: |e| format!("{:?}", e.stage()), e.raw_os_error();
    shim_spawner::StopError: |e| format!("{e:?}"), errno_in(&e);
    shim_spawner::AdoptError: |e| format!("{e:?}"), errno_in(&e);
    shim_spawner::IdentityError: |e| format!("{e:?}"), errno_in(&e);
    shim_spawner::CgroupError: |e| format!("{:?}", "cgroup"), e.raw_os_error();
    shim_spawner::ConfigError: |e| format!("{e:?}"), errno_in(&e);
    pidfd_watcher::Error: |e| format!("{e:?}"), e.raw_os_error();
    pidfd_watcher::ReapError: |e| format!("{:?}", e), errno_in(&e);
    pidfd_watcher::ChildError: |e| format!("{:?}", e), errno_in(&e);
    watchdog_pipe::AdoptError: |e| format!("{e:?}"), errno_in(&e);
    watchdog_pipe::ReleaseError: |e| format!("{:?}", "release"), e.error().raw_os_error();
    io::Error: |e| format!("{:?}", e.kind()), e.raw_os_error();
}

/// The number of the kernel's error at the end of the chain.
fn errno_in(error: &(dyn Error + 'static)) -> Option<i32> {
    let own = error
        .downcast_ref::<io::Error>()
        .and_then(io::Error::raw_os_error);
    let process = error.downcast_ref::<pidfd_watcher::Error>();
    let own = own.or_else(|| process?.raw_os_error());
    own.or_else(|| errno_in(error.source()?))
}
