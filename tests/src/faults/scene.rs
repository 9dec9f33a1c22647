//! A scenario, and where it runs: it makes what it needs, arms the injector for the operation that
//! it is about, and says what came of it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

use shim_spawner::Engine;

use super::marker::Marker;
use super::told::{Facts, Outcome};

/// One scenario.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    pub name: &'static str,
    /// Which engine creates its children.
    pub engine: Engine,
    /// What stands in the way from the start: a filter, as of an old kernel.
    pub before: fn(),
    /// It cannot be done twice in a process.
    pub once: bool,
    pub run: fn(&Scene<'_>) -> Outcome,
}

impl Scenario {
    pub const fn new(name: &'static str, run: fn(&Scene<'_>) -> Outcome) -> Scenario {
        Scenario {
            name,
            engine: Engine::Vfork,
            before: nothing,
            once: false,
            run,
        }
    }

    pub const fn by(self, engine: Engine) -> Scenario {
        Scenario { engine, ..self }
    }

    pub const fn behind(self, before: fn()) -> Scenario {
        Scenario { before, ..self }
    }
}

fn nothing() {}

/// Where a scenario runs.
#[derive(Debug)]
pub struct Scene<'a> {
    pub folder: &'a Path,
    pub engine: Engine,
    is_armed: bool,
}

impl<'a> Scene<'a> {
    /// `is_armed`: faults may come.
    #[must_use]
    pub fn new(scenario: &Scenario, folder: &'a Path, is_armed: bool) -> Scene<'a> {
        Scene {
            folder,
            engine: scenario.engine,
            is_armed,
        }
    }

    /// Whether faults may come.
    #[must_use]
    pub fn is_armed(&self) -> bool {
        self.is_armed
    }

    /// The operation that the scenario is about, on this thread.
    pub fn under_faults<T>(&self, operation: impl FnOnce() -> T) -> T {
        self.say(Marker::Arm);
        let result = operation();
        self.say(Marker::Disarm);
        result
    }

    /// What the scenario itself has to do in the midst of an operation.
    pub fn calmly<T>(&self, act: impl FnOnce() -> T) -> T {
        self.say(Marker::Disarm);
        let result = act();
        self.say(Marker::Arm);
        result
    }

    /// Faults come to those that this process has started.
    pub fn arm_others(&self) {
        self.say(Marker::ArmOthers);
    }

    pub fn disarm(&self) {
        self.say(Marker::Disarm);
    }

    fn say(&self, marker: Marker) {
        if self.is_armed {
            marker.say();
        }
    }

    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

/// Facts by their names.
pub fn facts<const N: usize>(facts: [(&str, String); N]) -> Facts {
    let facts = facts.map(|(name, value)| (name.to_owned(), value));
    BTreeMap::from(facts)
}

/// A status in a word.
#[must_use]
pub fn ended(status: Option<ExitStatus>) -> String {
    status.map_or("unknown".to_owned(), |status| status.to_string())
}

/// The injector's own program, which is what scenarios start.
#[must_use]
pub fn program() -> PathBuf {
    std::env::current_exe().expect("the program")
}
