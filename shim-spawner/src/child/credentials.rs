//! Changes the child's user and groups.

use rustix::process::Gid;
use rustix::thread::{set_no_new_privs, set_thread_groups, set_thread_res_gid, set_thread_res_uid};

use super::calls::{Errno, raw};
use crate::credentials::Credentials;
use crate::report::Report;
use crate::{Stage, sys};

impl Credentials {
    /// Runs in the child, which has one thread, and uses the system calls themselves. The C
    /// library's functions would change every thread that they know of, and those are the parent's.
    ///
    /// The groups come first, then the group, then the user, because the new user may not change
    /// the others any more. Each call sets all three ids, so that none is left to go back to.
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

    /// The groups to set. If root becomes another user and the caller has set no groups, it drops
    /// its own.
    fn groups_of_child(&self) -> Result<Option<&[Gid]>, Errno> {
        Ok(match &self.groups {
            Some(groups) => Some(groups),
            None if self.uid.is_some() && sys::effective_user().map_err(raw)? == 0 => Some(&[]),
            None => None,
        })
    }
}
