//! Numbers that are kept occupied in this process while a `Command` wants them in its child.
//!
//! `Command` learns of a failed exec over a socket which takes the lowest free numbers. If that is
//! a number on which the child wants something, one of the two is lost. So each wanted number is
//! occupied beforehand, by `F_DUPFD_CLOEXEC`, which never replaces what another thread has open.
//! Two commands may want the same number, hence the count.

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
    /// What placeholders above 2 are duplicated from; open while any number is wanted.
    spare: Option<OwnedFd>,
}

#[derive(Debug, Default)]
struct Wanted {
    count: usize,
    /// `None` while somebody else has the number, which protects it as long as they keep it.
    held: Option<OwnedFd>,
}

impl Numbers {
    /// Wants each of `numbers` once more. All or nothing.
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

    /// Takes back one `want` of each of `numbers`. Of `sources`, what nobody else holds and lies on
    /// a number that another command still wants becomes the placeholder there; the rest is given
    /// back, for the caller to close without the lock, since close(2) of some files takes its time.
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

    /// Tries again to hold what somebody else had; never an error, since it changes nothing for the
    /// worse.
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

    /// Whether this process holds a placeholder of ours on `number`.
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
            // The spare happens to lie there: it becomes the placeholder, and a copy the spare.
            let copy = fcntl_dupfd_cloexec(&*spare, 3).map_err(|e| error(e.into()))?;
            return Ok(Some(std::mem::replace(spare, copy)));
        }
        occupy(spare, number).map_err(error)
    }

    /// A descriptor that means nothing: a pipe without a writer, at its end for who reads it and
    /// `EBADF` for who writes it. Not a file, since that keeps its mount busy.
    fn spare(&mut self) -> io::Result<&mut OwnedFd> {
        let spare = match self.spare.take() {
            Some(spare) => spare,
            None => io::pipe()?.0.into(),
        };
        Ok(self.spare.insert(spare))
    }

    /// Gives `fd` back; but if another command wants its number, replaces it there by a
    /// placeholder, in one step, so that nobody else can get the number in between.
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

/// Holds /dev/null on a standard descriptor that is closed, so that no pipe or socket lands there.
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

/// A duplicate of `spare` on exactly `number`; `None` if somebody else has that number.
fn occupy(spare: &OwnedFd, number: RawFd) -> io::Result<Option<OwnedFd>> {
    if sys::is_open(number) {
        return Ok(None);
    }
    match fcntl_dupfd_cloexec(spare, number) {
        // Another thread may have been faster; then this is some higher number, and is closed here.
        Ok(copy) => Ok((copy.as_raw_fd() == number).then_some(copy)),
        // Nothing is free from there up: somebody took the number, or there is nothing left at all.
        Err(_) if sys::is_open(number) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}
