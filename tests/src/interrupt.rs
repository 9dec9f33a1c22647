//! A request to end in good order, for programs that run for long.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, fstat};
use rustix::stdio::stdin;

/// The exit code of a program that was asked to end, as a shell says it of ^C.
pub const INTERRUPTED: u8 = 130;

/// The request is the end of standard input, if that is a pipe: whoever has started the program
/// closes it, or dies. No signal is taken, so that ^C ends a program that nobody has started so.
#[derive(Debug)]
pub struct Interrupt {
    is_pipe: bool,
}

impl Interrupt {
    #[allow(clippy::new_without_default, reason = "it looks at standard input")]
    pub fn new() -> Interrupt {
        let input = fstat(stdin());
        let is_pipe = input.is_ok_and(|it| FileType::from_raw_mode(it.st_mode) == FileType::Fifo);
        Interrupt { is_pipe }
    }

    /// Whether somebody has asked.
    #[must_use]
    pub fn is_set(&self) -> bool {
        let mut input = [PollFd::from_borrowed_fd(stdin(), PollFlags::IN)];
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let looked = poll(&mut input, Some(&now));
        self.is_pipe && looked.is_ok() && input[0].revents().contains(PollFlags::HUP)
    }
}
