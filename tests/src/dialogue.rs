//! A fixture process that is told what to do, line by line, and says when it was done.

use std::io::{Read, Write};
use std::process::{ChildStdout, Command, Stdio};
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::orders::Order;
use crate::{Guard, time_limit};

/// A child with whom one talks through its standard input and output, under the deadline.
#[derive(Debug)]
pub struct Dialogue {
    guard: Guard,
    stdout: ChildStdout,
}

impl Dialogue {
    /// Spawns `command` with both ends piped.
    pub fn spawn(command: &mut Command) -> Dialogue {
        let mut guard = Guard::spawn(command.stdin(Stdio::piped()).stdout(Stdio::piped()));
        let stdout = guard.stdout.take().expect("piped");
        Dialogue { guard, stdout }
    }

    /// The child, for its pid and its exit.
    pub fn child(&mut self) -> &mut Guard {
        &mut self.guard
    }

    /// Sends a line.
    pub fn say(&mut self, line: &str) {
        let stdin = self.guard.stdin.as_mut().expect("still talking");
        writeln!(stdin, "{line}").expect("fixture listens");
    }

    /// Gives an order.
    pub fn order(&mut self, order: &Order) {
        self.say(&order.argument());
    }

    /// Ends the child's standard input.
    pub fn hang_up(&mut self) {
        self.guard.stdin = None;
    }

    /// The next line that the child says.
    pub fn hear(&mut self) -> String {
        let deadline = Instant::now() + time_limit();
        let mut line = Vec::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let left = Timespec::try_from(left).expect("a timeout");
            let mut fds = [PollFd::new(&self.stdout, PollFlags::IN)];
            let ready = rustix::io::retry_on_intr(|| poll(&mut fds, Some(&left))).expect("poll");
            assert!(
                ready > 0,
                "deadline passed: fixture says a line, so far {line:?}"
            );
            let mut byte = [0];
            let read = self
                .stdout
                .read(&mut byte)
                .expect("fixture's standard output");
            assert!(
                read > 0,
                "fixture ended instead of saying a line, so far {line:?}"
            );
            if byte == *b"\n" {
                return String::from_utf8(line).expect("text");
            }
            line.extend(byte);
        }
    }
}
