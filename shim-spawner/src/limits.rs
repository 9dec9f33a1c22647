//! What the child may use: resource limits, priority, processors, and the umask.

use rustix::process::{Resource, Rlimit};
use rustix::thread::CpuSet;

use crate::SpawnError;

/// What the caller asked for. `None`: unchanged.
#[derive(Debug, Default)]
pub(crate) struct Limits {
    /// Each resource once.
    pub(crate) resources: Vec<(Resource, Rlimit)>,
    pub(crate) oom_score_adj: Option<OomScoreAdj>,
    pub(crate) nice: Option<i32>,
    pub(crate) cpu_affinity: Option<CpuSet>,
    pub(crate) umask: Option<u32>,
}

/// The value, and the text that is written to `/proc/self/oom_score_adj`.
#[derive(Debug)]
pub(crate) struct OomScoreAdj {
    value: i32,
    pub(crate) text: String,
}

impl OomScoreAdj {
    pub(crate) fn new(value: i32) -> OomScoreAdj {
        OomScoreAdj {
            value,
            text: value.to_string(),
        }
    }
}

impl Limits {
    /// If a resource is set twice, the later limit counts.
    pub(crate) fn set(&mut self, resource: Resource, limit: Rlimit) {
        self.resources.retain(|(set, _)| *set != resource);
        self.resources.push((resource, limit));
    }

    /// The soft limit that the child gets of this resource. `None` if the caller has not set it, or
    /// has set it to no limit.
    pub(crate) fn soft(&self, resource: Resource) -> Option<u64> {
        let mut limits = self.resources.iter();
        let (_, limit) = limits.find(|(set, _)| *set == resource)?;
        limit.current
    }

    /// Refuses values that the kernel refuses or would change.
    pub(crate) fn check(&self) -> Result<(), SpawnError> {
        let number = |limit: Option<u64>| limit.unwrap_or(u64::MAX);
        let is_above =
            |(_, limit): &(Resource, Rlimit)| number(limit.current) > number(limit.maximum);
        let adjustment = self.oom_score_adj.as_ref();
        let text = if self.resources.iter().any(is_above) {
            "a soft limit cannot be above the hard limit"
        } else if adjustment.is_some_and(|adj| !(-1000..=1000).contains(&adj.value)) {
            "oom_score_adj must be from -1000 to 1000"
        } else if self.nice.is_some_and(|nice| !(-20..=19).contains(&nice)) {
            "a nice value must be from -20 to 19"
        } else if self.cpu_affinity.is_some_and(|cpus| cpus.count() == 0) {
            "a process needs at least one CPU"
        } else if self.umask.is_some_and(|mask| mask > 0o777) {
            "a umask must be from 0 to 0o777"
        } else {
            return Ok(());
        };
        Err(SpawnError::invalid(text))
    }
}
