//! How far a long run has come: a line that is written over on a terminal, a line each quarter elsewhere.

use std::io::{IsTerminal, Write, stderr};
use std::time::Instant;

/// Goes to standard error, so that what is measured can be piped on.
#[derive(Debug)]
pub struct Progress {
    what: String,
    done: usize,
    steps: usize,
    start: Instant,
    terminal: bool,
}

impl Progress {
    pub fn new(what: impl Into<String>, steps: usize) -> Progress {
        Progress {
            what: what.into(),
            done: 0,
            steps: steps.max(1),
            start: Instant::now(),
            terminal: stderr().is_terminal(),
        }
    }

    /// One step more is done.
    pub fn step(&mut self) {
        let quarter = |done: usize| done * 4 / self.steps;
        let (before, now) = (quarter(self.done), quarter(self.done + 1));
        self.done += 1;
        // A terminal that is gone is no reason to stop measuring.
        let _ = if self.terminal {
            write!(stderr(), "\r\x1b[K{}", self.line())
        } else if before != now {
            writeln!(stderr(), "{}", self.line())
        } else {
            Ok(())
        };
    }

    fn line(&self) -> String {
        let Progress {
            what, done, steps, ..
        } = self;
        format!(
            "{what}: {done}/{steps}, {:.0} s",
            self.start.elapsed().as_secs_f64()
        )
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.terminal {
            let _ = write!(stderr(), "\r\x1b[K");
        }
    }
}
