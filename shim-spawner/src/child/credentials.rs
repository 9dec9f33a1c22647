//! Becoming another user, below another root.

use rustix::process::Gid;
use rustix::thread::{set_no_new_privs, set_thread_groups, set_thread_res_gid, set_thread_res_uid};

use super::calls::{Errno, raw};
use crate::credentials::Credentials;
use crate::report::Report;
use crate::{Stage, sys};

impl Credentials {
    /// Runs in the child, which has one thread: by the system calls themselves. The C library's
    /// functions have every thread that they know of do the same, and those are the parent's.
    ///
    /// Groups first, then the group, then the user, who may not change the others any more. All
    /// three ids of each: none is left to go back to.
    pub(super) fn take(&self, report: &Report) -> Result<(), Errno> {
        if let Some(groups) = self.groups_of_child()? {
            report.enter(Stage::Groups);
            set_thread_groups(groups).map_err(raw)?;
        }
        if let Some(gid) = self.gid {
            report.enter(Stage::Gid);
            set_thread_res_gid(gid, gid, gid).map_err(raw)?;
        }
        if let Some(uid) = self.uid {
            report.enter(Stage::Uid);
            set_thread_res_uid(uid, uid, uid).map_err(raw)?;
        }
        if self.no_new_privs {
            report.enter(Stage::NoNewPrivs);
            set_no_new_privs(true).map_err(raw)?;
        }
        Ok(())
    }

    /// Root that becomes somebody leaves its groups behind.
    fn groups_of_child(&self) -> Result<Option<&[Gid]>, Errno> {
        Ok(match &self.groups {
            Some(groups) => Some(groups),
            None if self.uid.is_some() && sys::effective_user().map_err(raw)? == 0 => Some(&[]),
            None => None,
        })
    }
}
