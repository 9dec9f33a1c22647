//! How the child's error reaches the parent.

use std::sync::atomic::Ordering;

use crate::sys::{SharedPage, Words};
use crate::{ChildFdsError, Error};

/// One error, in a page that the child shares with its parent.
#[derive(Debug)]
pub(crate) struct ErrorPage(SharedPage);

impl ErrorPage {
    pub(crate) fn new() -> Result<ErrorPage, Error> {
        SharedPage::map()
            .map(ErrorPage)
            .map_err(|source| Error::SharedPage { source })
    }

    /// Between fork and exec: removes the error of an earlier child. Atomic stores only.
    pub(crate) fn clear(&self) {
        let [code, ..] = self.words();
        // Release as in `set`, although `NOTHING` has no numbers that a reader would load.
        code.store(NOTHING, Ordering::Release);
    }

    /// Between fork and exec: leaves `error` for the parent. Atomic stores only.
    pub(crate) fn set(&self, error: ChildFdsError) {
        let (fd, errno) = (error.fd().unwrap_or(-1), error.errno());
        let [code, fd_word, errno_word, _] = self.words();
        fd_word.store(fd.cast_unsigned(), Ordering::Relaxed);
        errno_word.store(errno.cast_unsigned(), Ordering::Relaxed);
        let found = (1..)
            .zip(ChildFdsError::ALL)
            .find(|(_, kind)| kind(fd, errno) == error);
        // Release: pairs with the Acquire in `take`. The stores of both numbers happen before this
        // one, so the parent reads them together with the code. Without it, the parent could read
        // the numbers of an earlier child.
        code.store(found.map_or(NOTHING, |(code, _)| code), Ordering::Release);
    }

    /// In the parent: takes the last error. A second call returns `None`.
    pub(crate) fn take(&self) -> Option<ChildFdsError> {
        let [code, fd, errno, _] = self.words();
        // Acquire: pairs with the Release in `set`. Both numbers are loaded after the code that
        // they belong to. The Release of `NOTHING` is not needed, as in `clear`.
        let code = code.swap(NOTHING, Ordering::AcqRel);
        let fd = fd.load(Ordering::Relaxed).cast_signed();
        let errno = errno.load(Ordering::Relaxed).cast_signed();
        let place = usize::try_from(code).ok()?.checked_sub(1)?;
        ChildFdsError::ALL.get(place).map(|kind| kind(fd, errno))
    }

    fn words(&self) -> &Words {
        self.0.words()
    }
}

/// No error. The codes of errors start at 1.
const NOTHING: u32 = 0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_of_the_child_arrives_as_it_was_left() -> Result<(), Error> {
        let errors = ErrorPage::new()?;
        for kind in ChildFdsError::ALL {
            let error = kind(7, 9);
            errors.set(error);
            assert_eq!(errors.take(), Some(error));
            assert_eq!(errors.take(), None);
        }
        Ok(())
    }
}
