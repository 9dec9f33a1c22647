//! Which processes a stop signals: the shim, its group, a cgroup, or a tree.

/// Which processes [`ShimHandler::stop`](crate::ShimHandler::stop) stops. They get the stop signal.
/// The stop waits until none of them is left, and kills those that outlive the grace period.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "kebab-case")
)]
#[non_exhaustive]
pub enum StopTarget {
    /// The shim alone.
    Leader,
    /// The process group that the shim leads. This is the default for every shim that leads one. A
    /// shim that joined a [group](crate::ShimSpawner::process_group) does not lead it.
    ///
    /// The stop does not reach a process that has left the group by `setsid` or `setpgid`.
    Group,
    /// The [cgroup](crate::ShimSpawner::stop_cgroup) that was set, with those below it. Each
    /// process that is in it when the stop begins gets the stop signal. The shim gets it in any
    /// case.
    Cgroup,
    /// Everything that the program has ever started. Only a
    /// [supervised](crate::ShimSpawner::supervised) shim has this target. The supervisor stops the
    /// tree.
    Tree,
}

impl StopTarget {
    const ALL: [StopTarget; 4] = [
        StopTarget::Leader,
        StopTarget::Group,
        StopTarget::Cgroup,
        StopTarget::Tree,
    ];

    /// The name of the target in an identity. Async-signal-safe.
    pub(crate) fn word(self) -> &'static str {
        match self {
            StopTarget::Leader => "leader",
            StopTarget::Group => "group",
            StopTarget::Cgroup => "cgroup",
            StopTarget::Tree => "tree",
        }
    }

    pub(crate) fn from_word(word: &str) -> Option<StopTarget> {
        StopTarget::ALL
            .into_iter()
            .find(|target| target.word() == word)
    }
}
