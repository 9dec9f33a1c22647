//! The process group that a process leads.

use std::fs;
use std::io;
use std::os::fd::AsFd;

use rustix::io::Errno;
use rustix::process::{Pid, Signal};

use crate::poll::Until;
use crate::{Error, Process, proc_fs, proc_stat_field, status, sys};

/// No signal: the kernel only checks whether one could be sent.
const NO_SIGNAL: i32 = 0;

/// The process group whose number is the pid of this process. The process leads it, or led it while
/// it lived: a group continues without its leader as long as it has a member.
///
/// A zombie is a member until it is reaped.
impl Process {
    /// Sends `signal` to every member of the group that this process leads, and never to a group
    /// that got its number later. The kernel does this in one step, so a member that forks at the
    /// same moment does not escape.
    ///
    /// Since Linux 6.9 the pidfd names the group, even after the leader was reaped
    /// (`PIDFD_SIGNAL_PROCESS_GROUP`). Before that, the group's number names it. It is used only
    /// while the leader is a child of this process that nobody has reaped, because then the number
    /// cannot go to another group. On such a kernel, nothing else in this process may reap
    /// arbitrary children at the same moment (`waitpid(-1)`).
    ///
    /// If the calling process is a member, it gets the signal too.
    ///
    /// # Errors
    ///
    /// - [`NotFound`](Error::NotFound): the group has no member (`ESRCH`).
    /// - [`PermissionDenied`](Error::PermissionDenied): this process may signal no member
    ///   (`EPERM`).
    /// - [`Unsupported`](Error::Unsupported): before Linux 6.9 the leader is no child of this
    ///   process, or was reaped.
    ///
    /// # References
    ///
    /// [pidfd_send_signal(2)](https://man7.org/linux/man-pages/man2/pidfd_send_signal.2.html),
    /// [kill(2)](https://man7.org/linux/man-pages/man2/kill.2.html)
    pub fn send_signal_to_group(&self, signal: Signal) -> Result<(), Error> {
        match sys::send_signal(self.as_fd(), signal.as_raw(), sys::PROCESS_GROUP) {
            Err(Errno::INVAL) => self.check_number()?.signal(signal.as_raw()),
            sent => sent,
        }
        .map_err(Error::of_signal)
    }

    /// Whether the group that this process leads has a member, zombies included.
    ///
    /// # Errors
    ///
    /// - [`Unsupported`](Error::Unsupported): before Linux 6.9, if the leader was reaped or is no
    ///   child of this process, and a group with its number exists. That may be another group.
    /// - [`PermissionDenied`](Error::PermissionDenied): a seccomp filter.
    pub fn group_exists(&self) -> Result<bool, Error> {
        let asked = match sys::send_signal(self.as_fd(), NO_SIGNAL, sys::PROCESS_GROUP) {
            Err(Errno::INVAL) => match self.number_of_group()?.signal(NO_SIGNAL) {
                // No group has the number, so this group has no member.
                Err(Errno::SRCH) => return Ok(false),
                asked => {
                    self.check_number()?;
                    asked
                }
            },
            asked => asked,
        };
        match asked {
            // `EPERM`: the group exists, but this process may not signal it.
            Ok(()) | Err(Errno::PERM) => Ok(true),
            Err(Errno::SRCH) => Ok(false),
            Err(errno) => Err(Error::of_call(errno)),
        }
    }

    /// Whether this handle still names the group after the leader was reaped: true since Linux 6.9.
    #[must_use]
    pub fn names_group_without_leader(&self) -> bool {
        sys::send_signal(self.as_fd(), NO_SIGNAL, sys::PROCESS_GROUP) != Err(Errno::INVAL)
    }

    /// The members of the group that this process leads that have not exited, including this
    /// process. Each is proven: it was a member while a pidfd of it was held.
    ///
    /// This reads `/proc`, and may miss a process that is born meanwhile. So an empty list does not
    /// prove that nobody is left.
    ///
    /// # Errors
    ///
    /// - [`Unsupported`](Error::Unsupported): `/proc` does not show this PID namespace, or hides
    ///   processes of other users (`hidepid`); before Linux 6.9, also if the leader was reaped.
    /// - [`TooManyOpenFiles`](Error::TooManyOpenFiles): there are more members than free
    ///   descriptors.
    /// - [`Io`](Error::Io), [`PermissionDenied`](Error::PermissionDenied): `/proc` cannot be read.
    pub fn group_members(&self) -> Result<Vec<Process>, Error> {
        // Pid 1 exists as long as its namespace. If it cannot be seen, it is hidden, and so are
        // others.
        if !proc_fs::shows_our_pid_namespace() || fs::read("/proc/1/stat").is_err() {
            return Err(Error::Unsupported(Errno::NOSYS.into()));
        }
        let mut members = Vec::new();
        for entry in fs::read_dir("/proc").map_err(Error::Io)? {
            let name = entry.map_err(Error::Io)?.file_name();
            let number = name.to_str().and_then(|name| name.parse().ok());
            let Some(pid) = number.filter(|&pid: &i32| pid > 0).and_then(Pid::from_raw) else {
                continue;
            };
            if let Some(member) = self.member(pid)? {
                members.push(member);
            }
        }
        // Checked after the numbers were read. If the group has a member now, or its leader is not
        // reaped, it has had its number all the time.
        match self.has_had_its_number() {
            Ok(true) => Ok(members),
            Ok(false) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// The process with this pid, if it lives and its group has the number of ours.
    fn member(&self, pid: Pid) -> Result<Option<Process>, Error> {
        // First without a pidfd, because most processes are not members.
        match if_it_lives(fs::read(format!("/proc/{}/stat", pid.as_raw_nonzero())))? {
            Some(line) if self.is_group_of(&line) => {}
            _ => return Ok(None),
        }
        let process = match Process::open(pid) {
            Err(Error::NotFound(_)) => return Ok(None),
            opened => opened?,
        };
        // Read again, because the pid cannot go to another process now.
        let line = if_it_lives(process.proc_stat())?;
        let is_member = line.is_some_and(|line| self.is_group_of(&line));
        let lives = is_member && !process.has_exited(Until::Now)?;
        Ok(lives.then_some(process))
    }

    /// Whether field 5 of a line of `/proc/PID/stat` is the number of our group.
    fn is_group_of(&self, line: &[u8]) -> bool {
        let group = proc_stat_field(line, 5).and_then(|group| group.parse().ok());
        group == Some(self.pid().as_raw_nonzero().get())
    }

    fn has_had_its_number(&self) -> Result<bool, Error> {
        match sys::send_signal(self.as_fd(), NO_SIGNAL, sys::PROCESS_GROUP) {
            Ok(()) | Err(Errno::PERM) => Ok(true),
            Err(Errno::SRCH) => Ok(false),
            Err(Errno::INVAL) => match sys::check_unreaped(self.as_fd()) {
                Ok(()) => Ok(true),
                Err(_) => Err(Error::Unsupported(Errno::INVAL.into())),
            },
            Err(errno) => Err(Error::of_call(errno)),
        }
    }

    /// The number of the group, if it is proven: the leader is our child, and unreaped.
    fn check_number(&self) -> Result<GroupNumber, Error> {
        match status::is_ours(self.as_fd()) {
            Ok(()) => self.number_of_group(),
            Err(_) => Err(Error::Unsupported(Errno::INVAL.into())),
        }
    }

    fn number_of_group(&self) -> Result<GroupNumber, Error> {
        // kill(2) takes -1 to mean every process.
        match self.pid().as_raw_nonzero().get() {
            number @ 2.. => Ok(GroupNumber(number)),
            _ => Err(Error::Unsupported(Errno::INVAL.into())),
        }
    }
}

/// What was read of a process; `None` if it is gone. Whatever else says nothing of it is an error:
/// a member that was not seen must not pass for one that is gone.
fn if_it_lives(read: io::Result<Vec<u8>>) -> Result<Option<Vec<u8>>, Error> {
    match read {
        Ok(line) => Ok(Some(line)),
        Err(error) => match Errno::from_io_error(&error) {
            Some(Errno::SRCH | Errno::NOENT) => Ok(None),
            Some(errno) => Err(Error::of_call(errno)),
            None => Err(Error::Io(error)),
        },
    }
}

/// The number of a process group, above 1.
struct GroupNumber(i32);

impl GroupNumber {
    fn signal(self, signal: i32) -> Result<(), Errno> {
        sys::kill_group(self.0, signal)
    }
}
