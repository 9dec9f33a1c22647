//! Everything the director waits for, in one place: messages, ends of processes, the front's end.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::process::Process;
use super::status::{Said, StatusPipe};
use super::wire::{Message, Wire};
use crate::clock;

#[derive(Debug)]
pub(super) enum Event {
    Message(Message),
    /// By `watchdog-shim`, of its tree.
    Said {
        said: Said,
        at_ns: u64,
    },
    /// The process has ended; it is not reaped yet.
    Gone {
        process: Process,
        at_ns: u64,
    },
}

pub(super) struct Events {
    wire: Wire,
    status: StatusPipe,
    watched: Vec<Process>,
}

impl Events {
    pub(super) fn new(socket: &Path, status: &Path) -> Result<Events> {
        let wire = Wire::bind(socket).with_context(|| format!("bind {}", socket.display()))?;
        Ok(Events {
            wire,
            status: StatusPipe::make(status)?,
            watched: Vec::new(),
        })
    }

    /// Watches the process for its end. One that is reaped already is nobody's news: whoever reaped
    /// it tells how it ended.
    pub(super) fn watch(&mut self, pid: i32) -> Result<()> {
        self.watched.extend(Process::open(pid)?);
        Ok(())
    }

    /// Kills a watched process; the time just before.
    pub(super) fn kill(&self, pid: i32) -> Result<u64> {
        let process = self.watched.iter().find(|process| process.pid() == pid);
        let process = process.with_context(|| format!("process {pid} has ended already"))?;
        let at_ns = clock::now();
        process.kill()?;
        Ok(at_ns)
    }

    /// The next event, or `None` when the deadline has passed.
    ///
    /// What a process reported is always told before its end.
    pub(super) fn next(&mut self, deadline: Instant) -> Result<Option<Event>> {
        let stdin = std::io::stdin();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let mut fds = vec![
                PollFd::new(&stdin, PollFlags::IN),
                PollFd::new(&self.wire, PollFlags::IN),
            ];
            fds.extend(
                self.watched
                    .iter()
                    .map(|process| PollFd::new(process, PollFlags::IN)),
            );
            let status = self.status.fd();
            fds.extend(status.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
            match poll(&mut fds, Some(&timespec(left))) {
                Err(Errno::INTR) => continue,
                polled => polled.context("poll")?,
            };
            let at_ns = clock::now();
            // Nobody writes to it: it is readable when the front has gone.
            if !fds[0].revents().is_empty() {
                bail!("interrupted");
            }
            let mut watched = fds[2..].iter().take(self.watched.len());
            let gone = watched.position(|fd| !fd.revents().is_empty());
            // The last, so that it is seen after the end of whoever wrote there.
            let says = fds[2 + self.watched.len()..]
                .iter()
                .any(|fd| !fd.revents().is_empty());
            // Asked after the poll: what an ended process sent before its end is there by now.
            if let Some(message) = self.wire.try_recv().context("receive a message")? {
                return Ok(Some(Event::Message(message)));
            }
            if says {
                self.status.read()?;
            }
            if let Some(said) = self.status.take() {
                return Ok(Some(Event::Said { said, at_ns }));
            }
            if let Some(index) = gone {
                return Ok(Some(Event::Gone {
                    process: self.watched.remove(index),
                    at_ns,
                }));
            }
            if left.is_zero() {
                return Ok(None);
            }
        }
    }
}

fn timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: duration.as_secs().try_into().unwrap_or(i64::MAX),
        tv_nsec: duration.subsec_nanos().into(),
    }
}
