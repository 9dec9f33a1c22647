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
/// end. Use one setup for each child: two children that share a pipe would take each other's words.
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

    /// Puts the read end on another number in the child, for callers that need [`PIPE_FD`] for
    /// something else. The sentinel's page keeps its number, unless the read end takes that number.
    /// Then the page moves to [`PIPE_FD`], or to [`PAGE_FD`] if the read end takes [`PIPE_FD`]. Do
    /// not pass a negative number: whatever maps it refuses it, and the child reports it as
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

    /// Puts all descriptors on other numbers in the child, in the order of
    /// [`fds`](ChildSetup::fds): the read end first. If `numbers` ends early, the remaining
    /// descriptors keep their numbers.
    pub fn renumber_each(&mut self, numbers: impl IntoIterator<Item = RawFd>) -> &mut ChildSetup {
        let page = self.variable.sentinel.as_mut().map(|page| &mut page.fd);
        let theirs = std::iter::once(&mut self.variable.pipe_fd).chain(page);
        for (fd, number) in theirs.zip(numbers) {
            *fd = number;
        }
        self
    }

    /// Promises the child that it has no write end of the pipe among its descriptors. The child
    /// then does not search /proc/self/fd for one, which takes as long as 40 short system calls.
    ///
    /// Use it if you close everything in the child that the child is not given, as `fd-preserve`
    /// does. A child that has a write end after all never reads the pipe's end of file, because it
    /// keeps the pipe open itself.
    pub fn promise_no_writer(&mut self) -> &mut ChildSetup {
        self.variable.clean = true;
        self
    }

    /// The descriptors to pass on, each with its number in the child: the read end of the pipe, and
    /// the sentinel's page if there is one. They are close-on-exec here. Keep them so in this
    /// process, and map them in the child.
    ///
    /// A child that gets only the read end follows the pipe alone.
    pub fn fds(&self) -> impl Iterator<Item = (BorrowedFd<'_>, RawFd)> {
        self.numbered().map(|(fd, number)| (fd.as_fd(), number))
    }

    /// The same as [`fds`](ChildSetup::fds), as shares instead of borrows, for a plan that needs no
    /// duplicate, such as `fd_preserve::PreserveFds::map_shared_fd`. This process's copy of the
    /// read end closes with its last share. So drop the plan as well when the child is spawned.
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
