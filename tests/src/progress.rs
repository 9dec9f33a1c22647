//! How far a long run has come: a bar on a terminal, a line each quarter elsewhere.

use std::io::{Write, stderr};

use indicatif::{ProgressBar, ProgressStyle};

/// Goes to standard error, so that what is measured can be piped on.
#[derive(Debug)]
pub struct Progress(ProgressBar);

impl Progress {
    pub fn new(what: impl Into<String>, steps: usize) -> Progress {
        let bar = ProgressBar::new(steps.max(1) as u64).with_message(what.into());
        // Without a style of ours it has its own.
        if let Ok(style) =
            ProgressStyle::with_template("{msg} {bar:24} {pos}/{len}, {elapsed}, {eta} to go")
        {
            bar.set_style(style);
        }
        Progress(bar)
    }

    /// One step more is done.
    pub fn step(&mut self) {
        self.at(self.0.position() + 1);
    }

    /// So many steps are done.
    pub fn at(&mut self, done: u64) {
        let bar = &self.0;
        let steps = bar.length().unwrap_or(1);
        let quarter = |done: u64| done * 4 / steps;
        let before = quarter(bar.position());
        bar.set_position(done.min(steps));
        // Hidden: no terminal.
        if bar.is_hidden() && before != quarter(bar.position()) {
            let (what, done) = (bar.message(), bar.position());
            let seconds = bar.elapsed().as_secs_f64();
            // Nobody who reads is no reason to stop measuring.
            let _ = writeln!(stderr(), "{what}: {done}/{steps}, {seconds:.0} s");
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
