//! A runtime that starts COMMAND and is killed.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pipe::{PipeFlags, pipe_with};
use shim_spawner::{ShimSpawner, StopPolicy};
use workspace_tests::fork::Fork;
use workspace_tests::{clock, memory, time_limit, until};

/// How COMMAND's line is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// `ShimSpawner`, with a watchdog and this grace.
    Watchdog(Duration),
    /// As any child.
    Spawn,
}

/// What a runtime is to do.
#[derive(Debug)]
pub struct Runtime<'a> {
    pub by: By,
    pub line: &'a [String],
    pub bytes: u64,
    /// Whether COMMAND is started before the memory is filled.
    pub early: bool,
}

/// A runtime that lives, and COMMAND's standard output.
#[derive(Debug)]
pub struct Running {
    runtime: Fork,
    told: File,
}

impl Runtime<'_> {
    /// Comes back when COMMAND has written a byte and the runtime has its memory.
    pub fn start(&self) -> Running {
        let (told, tell) = pipe_with(PipeFlags::CLOEXEC).expect("a pipe");
        let (ready, is_ready) = pipe_with(PipeFlags::CLOEXEC).expect("a pipe");
        let mut theirs = Some((tell, is_ready));
        let runtime = Fork::run(|| {
            if let Some((tell, is_ready)) = theirs.take() {
                self.live(tell, is_ready);
            }
        });
        drop(theirs);
        File::from(ready)
            .read_exact(&mut [0])
            .expect("the runtime is ready");
        let mut told = File::from(told);
        told.read_exact(&mut [0]).expect("COMMAND is ready");
        Running { runtime, told }
    }

    fn live(&self, tell: OwnedFd, is_ready: OwnedFd) {
        rustix::stdio::dup2_stdout(&tell).expect("dup2");
        drop(tell);
        let early = self.early.then(|| self.spawn());
        let memory = memory::touch(self.bytes);
        let late = (!self.early).then(|| self.spawn());
        File::from(is_ready).write_all(b".").expect("ready");
        loop {
            std::thread::park();
            std::hint::black_box((memory, &early, &late));
        }
    }

    /// What must be held for COMMAND to live.
    fn spawn(&self) -> Box<dyn std::any::Any> {
        let (program, args) = self.line.split_first().expect("a program");
        match self.by {
            By::Watchdog(grace) => {
                let mut spawner = ShimSpawner::new(program);
                spawner
                    .args(args)
                    .stop_policy(StopPolicy::new().grace(grace));
                Box::new(spawner.spawn().expect("spawn"))
            }
            By::Spawn => {
                let mut command = Command::new(program);
                Box::new(
                    command
                        .args(args)
                        .stdin(Stdio::null())
                        .spawn()
                        .expect("spawn"),
                )
            }
        }
    }
}

impl Running {
    /// SIGKILL to the runtime; when that was, by the monotonic clock.
    pub fn kill(&mut self) -> u64 {
        // What is measured begins with the signal, not with pages of our own that were not touched
        // for long.
        clock::now();
        self.runtime.signal(0);
        let start = clock::now();
        self.runtime.signal(libc::SIGKILL);
        start
    }

    /// The instant that COMMAND tells.
    pub fn told(&mut self) -> u64 {
        let mut instant = [0; 8];
        self.told.read_exact(&mut instant).expect("COMMAND tells");
        u64::from_ne_bytes(instant)
    }

    /// When nobody held COMMAND's standard output any more.
    pub fn closed(&mut self) -> u64 {
        let deadline = Timespec::try_from(2 * time_limit()).expect("a time");
        let mut fds = [PollFd::from_borrowed_fd(self.told.as_fd(), PollFlags::IN)];
        let found = poll(&mut fds, Some(&deadline));
        let closed = clock::now();
        assert_eq!(found, Ok(1), "deadline passed: the tree ends");
        assert_eq!(
            self.told.read(&mut [0]).expect("read"),
            0,
            "the end of the pipe"
        );
        closed
    }

    /// Waits for the end of everybody but so many others: all are children of this process by then.
    pub fn ended(mut self, others: usize) {
        self.runtime.wait();
        reap_all_but(others);
    }
}

/// Reaps until there is no child any more.
pub fn reap_all() {
    reap_all_but(0);
}

/// Reaps until only so many children are left, who do not end by themselves.
fn reap_all_but(others: usize) {
    until("all have ended", || {
        loop {
            // SAFETY: no status is asked for; nobody else waits for these children.
            match unsafe { libc::waitpid(-1, std::ptr::null_mut(), libc::WNOHANG) } {
                0 => break,
                -1 => return Some(()),
                _ => {}
            }
        }
        // The bench has one thread, and every child is its.
        let children = std::fs::read_to_string("/proc/thread-self/children").expect("/proc");
        (children.split_whitespace().count() == others).then_some(())
    });
}
