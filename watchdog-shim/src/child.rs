//! The last steps of the forked child on its way to COMMAND. It was forked from a process with one thread.

use std::ffi::{CString, c_char, c_int};
use std::io;
use std::ptr;

use crate::options::Session;
use crate::sys::{BornSignals, LAST_SIGNAL};

/// A program, its arguments and its environment, ready for execve(2).
#[derive(Debug)]
pub(crate) struct Image {
    candidates: Vec<CString>,
    arguments: Vec<CString>,
    variables: Vec<CString>,
}

impl Image {
    pub(crate) fn new(
        candidates: Vec<CString>,
        arguments: Vec<CString>,
        variables: Vec<CString>,
    ) -> Image {
        Image {
            candidates,
            arguments,
            variables,
        }
    }

    /// Becomes the program, or gives the errno that says why not.
    pub(crate) fn become_it(&self, session: Session, born: &BornSignals) -> c_int {
        if session == Session::New {
            // SAFETY: takes nothing; a child just forked leads no group.
            if unsafe { libc::setsid() } < 0 {
                return errno();
            }
            // A terminal that the shim has given up becomes COMMAND's. There may be none: that is no error.
            // SAFETY: takes a plain number.
            unsafe { libc::ioctl(0, libc::TIOCSCTTY, 0) };
        }
        for signal in (1..=LAST_SIGNAL).filter(|signal| born.ignored >> (signal - 1) & 1 == 1) {
            // SAFETY: SIG_IGN is no function that could be wrong.
            unsafe { libc::signal(signal, libc::SIG_IGN) };
        }
        // SAFETY: the set is valid; the old one is not asked for.
        unsafe { libc::sigprocmask(libc::SIG_SETMASK, &raw const born.blocked, ptr::null_mut()) };
        self.execute()
    }

    fn execute(&self) -> c_int {
        let arguments = pointers(&self.arguments);
        let variables = pointers(&self.variables);
        let mut reason = libc::ENOENT;
        let mut denied = false;
        for candidate in &self.candidates {
            // SAFETY: C strings, and arrays of them that end with a null pointer; all outlive the call.
            unsafe { libc::execve(candidate.as_ptr(), arguments.as_ptr(), variables.as_ptr()) };
            reason = errno();
            match reason {
                // Another one may be executed; if there is none, this is the reason.
                libc::EACCES => denied = true,
                libc::ENOENT | libc::ENOTDIR | libc::ESTALE | libc::ENODEV | libc::ETIMEDOUT => {}
                _ => return reason,
            }
        }
        if denied { libc::EACCES } else { reason }
    }
}

fn pointers(strings: &[CString]) -> Vec<*const c_char> {
    let strings = strings.iter().map(|string| string.as_ptr());
    strings.chain([ptr::null()]).collect()
}

fn errno() -> c_int {
    io::Error::last_os_error()
        .raw_os_error()
        .unwrap_or(libc::EIO)
}
