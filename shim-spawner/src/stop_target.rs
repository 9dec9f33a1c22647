//! Whom a stop is about: the shim, its group, a cgroup, or a tree.

/// Which processes [`ShimHandler::stop`](crate::ShimHandler::stop) is about: they get the stop
/// signal, it waits until none of them is left, and kills those that outlive the grace period.
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
    /// The process group that the shim leads. Unless another target is set, that of every shim
    /// which leads one: a shim that joined a [group](crate::ShimSpawner::process_group) does not.
    ///
    /// What has left the group, by `setsid` or `setpgid`, is not reached.
    Group,
    /// The [cgroup](crate::ShimSpawner::stop_cgroup) that was named, with those below it. Whoever
    /// is in it when the stop begins gets the stop signal, the shim among them only if it is.
    Cgroup,
    /// Everything that the program has ever started: that of a
    /// [supervised](crate::ShimSpawner::supervised) shim, and of no other. The supervisor stops it.
    Tree,
}

impl StopTarget {
    const ALL: [StopTarget; 4] = [
        StopTarget::Leader,
        StopTarget::Group,
        StopTarget::Cgroup,
        StopTarget::Tree,
    ];

    /// As an identity names it. Async-signal-safe.
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
