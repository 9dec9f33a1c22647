//! What the child gets.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;

use crate::StopPolicy;
use crate::sentinel::SlotLease;
use crate::sys::Inspected;
use crate::variable::{ENV_VAR, Variable};

/// The number of the pipe's read end in the child, unless [`ChildSetup::renumber`] says otherwise.
pub const PIPE_FD: RawFd = 3;

/// The number of the sentinel's page in the child, unless [`ChildSetup::renumber_each`] says
/// otherwise.
pub const PAGE_FD: RawFd = 4;

/// What the child needs: descriptors on certain numbers, and a variable that names those numbers.
///
/// Keep it until the child is spawned, then drop it: that closes this process's copy of the read
/// end. One child a setup: two that share a pipe would steal each other's words.
#[derive(Debug)]
pub struct ChildSetup {
    read: Arc<OwnedFd>,
    page: Option<Arc<OwnedFd>>,
    variable: Variable,
}

impl ChildSetup {
    pub(crate) fn new(
        read: OwnedFd,
        pipe: &Inspected,
        lease: Option<&SlotLease>,
        policy: Option<StopPolicy>,
    ) -> ChildSetup {
        let variable = Variable {
            pipe_fd: PIPE_FD,
            device: pipe.device,
            inode: pipe.inode,
            sentinel: lease.map(|lease| lease.address(PAGE_FD)),
            policy,
            clean: false,
        };
        ChildSetup {
            read: Arc::new(read),
            page: lease.map(SlotLease::page),
            variable,
        }
    }

    /// Puts the read end on another number in the child, for whoever needs [`PIPE_FD`] otherwise.
    /// The sentinel's page stays where it is, unless that is the number: then it goes to
    /// [`PIPE_FD`]. A negative number is refused by whatever maps it, and by the child as
    /// malformed.
    pub fn renumber(&mut self, pipe_fd: RawFd) -> &mut ChildSetup {
        self.variable.pipe_fd = pipe_fd;
        if let Some(page) = &mut self.variable.sentinel
            && page.fd == pipe_fd
        {
            page.fd = if pipe_fd == PIPE_FD { PAGE_FD } else { PIPE_FD };
        }
        self
    }

    /// Puts all descriptors on other numbers in the child, in the order in which
    /// [`fds`](ChildSetup::fds) names them: the read end first. Where `numbers` ends early, the
    /// rest stay where they are.
    pub fn renumber_each(&mut self, numbers: impl IntoIterator<Item = RawFd>) -> &mut ChildSetup {
        let page = self.variable.sentinel.as_mut().map(|page| &mut page.fd);
        let theirs = std::iter::once(&mut self.variable.pipe_fd).chain(page);
        for (fd, number) in theirs.zip(numbers) {
            *fd = number;
        }
        self
    }

    /// Promises the child that no write end of the pipe is among its descriptors. It does not look
    /// for one then, in /proc/self/fd, which takes as long as 40 short system calls.
    ///
    /// For a parent that closes in the child whatever the child is not given, as `fd-preserve`
    /// does. A child that has a write end after all never reads the pipe's end of file: it holds
    /// the pipe open itself.
    pub fn promise_no_writer(&mut self) -> &mut ChildSetup {
        self.variable.clean = true;
        self
    }

    /// The descriptors to pass on, each with its number in the child: the read end of the pipe, and
    /// the sentinel's page where there is one. They are close-on-exec here, and must stay so: map
    /// them in the child.
    ///
    /// A child that is given the read end alone follows the pipe alone.
    pub fn fds(&self) -> impl Iterator<Item = (BorrowedFd<'_>, RawFd)> {
        self.numbered().map(|(fd, number)| (fd.as_fd(), number))
    }

    /// The same [`fds`](ChildSetup::fds) for a plan that takes a share instead of a duplicate, as
    /// `fd_preserve::PreserveFds::map_shared_fd`. This process's copy of the read end closes with
    /// its last share: let go of the plan as soon as the child is spawned, too.
    pub fn shared_fds(&self) -> impl Iterator<Item = (Arc<OwnedFd>, RawFd)> {
        self.numbered().map(|(fd, number)| (Arc::clone(fd), number))
    }

    fn numbered(&self) -> impl Iterator<Item = (&Arc<OwnedFd>, RawFd)> {
        let numbered = self.page.as_ref().zip(self.variable.sentinel);
        let page = numbered.map(|(page, address)| (page, address.fd));
        std::iter::once((&self.read, self.variable.pipe_fd)).chain(page)
    }

    /// The variable for the child's environment: name and value.
    #[must_use]
    pub fn env(&self) -> (&'static str, String) {
        (ENV_VAR, self.variable.to_string())
    }
}
