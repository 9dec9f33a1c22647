//! The child's user, groups and root directory, and whether an exec may gain privileges.

use std::path::PathBuf;

use rustix::process::{Gid, Uid};

use crate::SpawnError;

/// `NGROUPS_MAX` of the kernel, include/uapi/linux/limits.h.
const MOST_GROUPS: usize = 65_536;

/// What the caller asked for. `None`: unchanged.
#[derive(Debug, Default)]
pub(crate) struct Credentials {
    pub(crate) root: Option<PathBuf>,
    pub(crate) groups: Option<Vec<Gid>>,
    pub(crate) gid: Option<Gid>,
    pub(crate) uid: Option<Uid>,
    pub(crate) no_new_privs: bool,
}

impl Credentials {
    /// Refuses ids that the kernel would take for "no change", and more groups than the kernel
    /// takes.
    pub(crate) fn check(&self) -> Result<(), SpawnError> {
        if self.uid.is_some_and(|uid| uid.as_raw() == u32::MAX) {
            return Err(SpawnError::invalid("4294967295 is not a user"));
        }
        let groups = self.groups.as_deref().unwrap_or_default();
        if groups
            .iter()
            .chain(&self.gid)
            .any(|gid| gid.as_raw() == u32::MAX)
        {
            return Err(SpawnError::invalid("4294967295 is not a group"));
        }
        if groups.len() > MOST_GROUPS {
            return Err(SpawnError::invalid("a process has at most 65,536 groups"));
        }
        Ok(())
    }

    /// Whether the child's user or groups may differ from those of this process.
    pub(crate) fn change_ids(&self) -> bool {
        self.uid.is_some() || self.gid.is_some() || self.groups.is_some()
    }
}
