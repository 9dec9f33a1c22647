//! Numbers that this process keeps occupied while a `Command` needs them in its child.
//!
//! `Command` learns of a failed exec over a socket, and the kernel gives that socket the lowest
//! free number. If the child needs a descriptor on that number, one of the two is lost. So each
//! wanted number is occupied beforehand, by `F_DUPFD_CLOEXEC`, which never replaces what another
//! thread has open. Two commands may want the same number, so each number has a count.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;

use rustix::io::{DupFlags, dup3, fcntl_dupfd_cloexec};

use crate::{Error, sys};

/// The wanted numbers of this process.
#[derive(Debug, Default)]
pub(crate) struct Numbers {
    wanted: BTreeMap<RawFd, Wanted>,
    /// Placeholders above 2 are duplicates of this. It is open while any number is wanted.
    spare: Option<OwnedFd>,
}

#[derive(Debug, Default)]
struct Wanted {
    count: usize,
    /// `None` while somebody else has the number. Then the number is protected as long as they keep
    /// it.
    held: Option<OwnedFd>,
}

impl Numbers {
    /// Increments the count of each of `numbers`. All or nothing.
    pub(crate) fn want(&mut self, numbers: &[RawFd]) -> Result<(), Error> {
        for (done, &number) in numbers.iter().enumerate() {
            let wanted = self.wanted.entry(number).or_default();
            wanted.count += 1;
            if wanted.held.is_none()
                && let Err(error) = self.hold(number)
            {
                let _ = self.unwant(&numbers[..=done], Vec::new());
                return Err(error);
            }
        }
        Ok(())
    }

    /// Undoes one `want` for each of `numbers`, and takes over `sources`. If nobody else holds a
    /// source and another command still wants its number, the number gets a placeholder in its
    /// place. The other sources that nobody else holds are returned. The caller closes them without
    /// the lock, because close(2) of some files takes long.
    #[must_use]
    pub(crate) fn unwant(&mut self, numbers: &[RawFd], sources: Vec<Arc<OwnedFd>>) -> Vec<OwnedFd> {
        for number in numbers {
            if let Some(wanted) = self.wanted.get_mut(number) {
                wanted.count -= 1;
                if wanted.count == 0 {
                    self.wanted.remove(number);
                }
            }
        }
        let rest = sources
            .into_iter()
            .filter_map(Arc::into_inner)
            .filter_map(|fd| self.inherit(fd))
            .collect();
        if self.wanted.is_empty() {
            self.spare = None;
        }
        rest
    }

    /// Tries again to hold numbers that somebody else had. Returns no error, because a failure
    /// makes nothing worse.
    pub(crate) fn settle(&mut self) {
        let open: Vec<RawFd> = self
            .wanted
            .iter()
            .filter(|(_, wanted)| wanted.held.is_none())
            .map(|(&number, _)| number)
            .collect();
        for number in open {
            let _ = self.hold(number);
        }
    }

    /// Whether this process holds one of our placeholders on `number`.
    pub(crate) fn is_held(&self, number: RawFd) -> bool {
        self.wanted
            .get(&number)
            .is_some_and(|wanted| wanted.held.is_some())
    }

    /// Occupies `number` if it is free.
    fn hold(&mut self, number: RawFd) -> Result<(), Error> {
        let placeholder = if number <= 2 {
            hold_null(number)?
        } else {
            self.hold_spare(number)?
        };
        if let Some(wanted) = self.wanted.get_mut(&number) {
            wanted.held = placeholder;
        }
        Ok(())
    }

    fn hold_spare(&mut self, number: RawFd) -> Result<Option<OwnedFd>, Error> {
        let error = |e| Error::duplicate(number, e);
        let is_spare = self
            .spare
            .as_ref()
            .is_some_and(|spare| spare.as_raw_fd() == number);
        if !is_spare && sys::is_open(number) {
            return Ok(None);
        }
        let spare = self.spare().map_err(error)?;
        if spare.as_raw_fd() == number {
            // The spare happens to be on this number. It becomes the placeholder, and a copy
            // becomes the spare.
            let copy = fcntl_dupfd_cloexec(&*spare, 3).map_err(|e| error(e.into()))?;
            return Ok(Some(std::mem::replace(spare, copy)));
        }
        occupy(spare, number).map_err(error)
    }

    /// A descriptor that is good for nothing: a pipe without a writer. A reader gets end of file,
    /// and a writer gets `EBADF`. It is not a file, because a file would keep its mount busy.
    fn spare(&mut self) -> io::Result<&mut OwnedFd> {
        let spare = match self.spare.take() {
            Some(spare) => spare,
            None => io::pipe()?.0.into(),
        };
        Ok(self.spare.insert(spare))
    }

    /// Returns `fd`. But if another command wants its number, replaces it there by a placeholder,
    /// in one step, so that nobody else can get the number in between.
    fn inherit(&mut self, mut fd: OwnedFd) -> Option<OwnedFd> {
        let number = fd.as_raw_fd();
        let unheld = self
            .wanted
            .get(&number)
            .is_some_and(|wanted| wanted.held.is_none());
        if number <= 2 || !unheld {
            return Some(fd);
        }
        let Ok(spare) = self.spare() else {
            return Some(fd);
        };
        if dup3(&*spare, &mut fd, DupFlags::CLOEXEC).is_err() {
            return Some(fd);
        }
        self.wanted.get_mut(&number)?.held = Some(fd);
        None
    }
}

/// Puts /dev/null on a standard descriptor that is closed, so that no pipe or socket gets its
/// number.
fn hold_null(number: RawFd) -> Result<Option<OwnedFd>, Error> {
    if sys::is_open(number) {
        return Ok(None);
    }
    let closed = |source| Error::StdioClosed { fd: number, source };
    let null = File::options()
        .read(true)
        .write(true)
        .open("/dev/null")
        .map_err(closed)?;
    if null.as_raw_fd() == number {
        return Ok(Some(null.into()));
    }
    occupy(&null.into(), number).map_err(closed)
}

/// Makes a duplicate of `spare` on exactly `number`. `None` if somebody else has that number.
fn occupy(spare: &OwnedFd, number: RawFd) -> io::Result<Option<OwnedFd>> {
    if sys::is_open(number) {
        return Ok(None);
    }
    match fcntl_dupfd_cloexec(spare, number) {
        // Another thread may have been faster. Then this copy has a higher number, and is closed
        // here.
        Ok(copy) => Ok((copy.as_raw_fd() == number).then_some(copy)),
        // Nothing is free from there up: somebody took the number, or no number is left at all.
        Err(_) if sys::is_open(number) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}
