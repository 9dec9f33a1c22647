//! One runtime that is killed: what it does, and when.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use shim_spawner::{Contain, StopPolicy};

use crate::clone_method::CloneMethod;

/// What a runtime does until it is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Kind {
    /// Spawns attached shims, stops some and drops others.
    Stop,
    /// Spawns attached shims and lets them go.
    Release,
    /// Spawns detached shims, finds them again, and stops every second one.
    Adopt,
    /// Spawns trees under a supervisor, stops some and drops others.
    Supervise(Containment),
    /// Spawns trees under a supervisor and lets them go.
    ReleaseTree,
}

/// [`Contain`], which has no names of its own on a wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Containment {
    Auto,
    PidNamespace,
    Cgroup,
    Subreaper,
    Nothing,
}

impl Containment {
    pub(super) fn contain(self) -> Contain {
        match self {
            Containment::Auto => Contain::Auto,
            Containment::PidNamespace => Contain::PidNamespace,
            Containment::Cgroup => Contain::Cgroup,
            Containment::Subreaper => Contain::Subreaper,
            Containment::Nothing => Contain::Nothing,
        }
    }

    /// As the shim's command line has it.
    pub(super) fn word(self) -> &'static str {
        match self {
            Containment::Auto => "auto",
            Containment::PidNamespace => "pidns",
            Containment::Cgroup => "cgroup",
            Containment::Subreaper => "subreaper",
            Containment::Nothing => "none",
        }
    }
}

impl Kind {
    pub(super) const ALL: [Kind; 9] = [
        Kind::Stop,
        Kind::Release,
        Kind::Adopt,
        Kind::Supervise(Containment::Auto),
        Kind::Supervise(Containment::PidNamespace),
        Kind::Supervise(Containment::Cgroup),
        Kind::Supervise(Containment::Subreaper),
        Kind::Supervise(Containment::Nothing),
        Kind::ReleaseTree,
    ];

    /// Whether it is about trees. Their supervisor makes children too, so that no filter may force
    /// it to a way of making them that it does not know.
    pub(super) fn is_tree(self) -> bool {
        matches!(self, Kind::Supervise(_) | Kind::ReleaseTree)
    }

    /// Whether something may outlive the runtime.
    pub(super) fn lets_go(self) -> bool {
        matches!(self, Kind::Release | Kind::Adopt | Kind::ReleaseTree)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Kind::Stop => f.write_str("stop"),
            Kind::Release => f.write_str("release"),
            Kind::Adopt => f.write_str("adopt"),
            Kind::Supervise(containment) => write!(f, "supervise, {}", containment.word()),
            Kind::ReleaseTree => f.write_str("supervise, release"),
        }
    }
}

/// The ways of creating a child that there are here. The first is the one that is taken where no
/// filter refuses it.
pub(super) const METHODS: &[CloneMethod] = &[
    #[cfg(target_arch = "x86_64")]
    CloneMethod::Clone3,
    CloneMethod::Clone,
    CloneMethod::Copy,
    CloneMethod::Fork,
];

#[derive(Clone, Copy, Debug)]
pub(super) struct Case {
    pub(super) kind: Kind,
    pub(super) method: CloneMethod,
    pub(super) sentinel: bool,
    /// The tree does not obey: it takes the whole grace period and SIGKILL.
    pub(super) deaf: bool,
    /// So many steps the runtime takes first, however busy the machine is.
    pub(super) steps: u32,
    /// From then to its death.
    pub(super) delay: Duration,
}

/// At most so many steps. The runtime of each kind takes more.
const STEPS: u32 = 8;

/// The delays lie between these, as many between 1 and 2 ms as between 10 and 20.
const SHORTEST: f64 = 20e-6;
const LONGEST_OF_SHIMS: f64 = 10e-3;
const LONGEST_OF_TREES: f64 = 30e-3;

impl Case {
    /// The kinds take turns; what else there is to choose follows from the seed.
    pub(super) fn of(seed: u64, number: u64, kinds: &[Kind]) -> Case {
        // The same generator for all would give neighbours the same first numbers.
        let mixed = fastrand::Rng::with_seed(number).u64(..);
        let mut random = fastrand::Rng::with_seed(seed ^ mixed);
        let kind = kinds[(number % kinds.len() as u64) as usize];
        let methods = if kind.is_tree() {
            &[METHODS[0], CloneMethod::Fork]
        } else {
            METHODS
        };
        let longest = if kind.is_tree() {
            LONGEST_OF_TREES
        } else {
            LONGEST_OF_SHIMS
        };
        Case {
            kind,
            method: methods[random.usize(..methods.len())],
            sentinel: random.bool(),
            deaf: random.bool(),
            steps: random.u32(..=STEPS),
            delay: Duration::from_secs_f64(SHORTEST * (longest / SHORTEST).powf(random.f64())),
        }
    }

    pub(super) fn policy() -> StopPolicy {
        StopPolicy::new().grace(Duration::from_millis(50))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_follows_from_its_seed_and_number() {
        let text = |seed, number| format!("{:?}", Case::of(seed, number, &Kind::ALL));
        assert_eq!(text(7, 3), text(7, 3));
        assert_ne!(text(7, 3), text(7, 12), "the same kind");
        assert_ne!(text(7, 3), text(8, 3));
    }

    #[test]
    fn each_kind_meets_each_way_with_and_without_a_sentinel() {
        let mut met = std::collections::BTreeSet::new();
        for number in 0..2000 {
            let case = Case::of(19, number, &Kind::ALL);
            met.insert(format!(
                "{:?} {:?} {}",
                case.kind, case.method, case.sentinel
            ));
            let delay = case.delay.as_secs_f64();
            assert!((SHORTEST..=LONGEST_OF_TREES).contains(&delay), "{delay}");
        }
        let of = |kind: &Kind| if kind.is_tree() { 2 } else { METHODS.len() };
        let all: usize = Kind::ALL.iter().map(of).sum();
        assert_eq!(met.len(), all * 2);
    }
}
