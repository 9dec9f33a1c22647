//! A forked copy of this process, for cases in which nothing is executed. One thread only.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitStatus;

use crate::{time_limit, until};

/// A forked child: killed and reaped when dropped.
#[derive(Debug)]
pub struct Fork {
    pid: i32,
    status: Option<ExitStatus>,
}

impl Fork {
    /// Forks; the child runs `child` and ends by `_exit`, with 0 or, when it panicked, 101.
    pub fn run(child: impl FnOnce()) -> Fork {
        let (mut ours, mut theirs) = Cue::pair();
        // SAFETY: cases fork from their only thread, so that the copy may go on as any process.
        match unsafe { libc::fork() } {
            -1 => panic!("fork: {}", io::Error::last_os_error()),
            0 => {
                // No case leaves a copy behind, however it ends: the copies are no test of death.
                // SAFETY: prctl(2) of this kind has no memory effect.
                unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
                theirs.give();
                drop((ours, theirs));
                let code = if catch_unwind(AssertUnwindSafe(child)).is_ok() {
                    0
                } else {
                    101
                };
                // SAFETY: ends this copy; destructors of what it shares with the parent must not
                // run.
                unsafe { libc::_exit(code) }
            }
            pid => {
                // Until it is so: a parent that is gone before sends nothing.
                ours.take();
                Fork { pid, status: None }
            }
        }
    }

    pub fn pid(&self) -> i32 {
        self.pid
    }

    pub fn signal(&self, signal: i32) {
        // SAFETY: kill(2) has no memory effect; the child is not reaped yet, so that the number is
        // its own.
        let sent = unsafe { libc::kill(self.pid, signal) };
        assert_eq!(sent, 0, "kill {}", self.pid);
    }

    /// Waits for the end under the deadline.
    pub fn wait(&mut self) -> ExitStatus {
        let pid = self.pid;
        let status = until("forked child ends", || {
            let mut status = 0;
            // SAFETY: `status` is a valid place for the answer; the child is ours and not reaped.
            let reaped = unsafe { libc::waitpid(pid, &raw mut status, libc::WNOHANG) };
            (reaped == pid).then(|| ExitStatus::from_raw(status))
        });
        self.status = Some(status);
        status
    }

    /// Waits for the end for as long as it takes.
    pub fn wait_in_time(&mut self) -> ExitStatus {
        let mut status = 0;
        // SAFETY: `status` is a valid place for the answer; the child is ours and not reaped.
        while unsafe { libc::waitpid(self.pid, &raw mut status, 0) } != self.pid {}
        let status = ExitStatus::from_raw(status);
        self.status = Some(status);
        status
    }

    /// Waits for the end, which must be a good one, for as long as it takes: a bench may take
    /// hours.
    pub fn succeeds_in_time(mut self) {
        let status = self.wait_in_time();
        assert!(status.success(), "forked child: {status}");
    }

    /// Waits for the end, which must be a good one.
    pub fn succeeds(mut self) {
        let status = self.wait();
        assert!(status.success(), "forked child: {status}");
    }
}

impl Drop for Fork {
    fn drop(&mut self) {
        if self.status.is_none() {
            self.signal(libc::SIGKILL);
            // SAFETY: no status is asked for; the child is ours and not reaped.
            unsafe { libc::waitpid(self.pid, std::ptr::null_mut(), 0) };
        }
    }
}

/// One end of a line between two forked processes, for "now" and "done".
#[derive(Debug)]
pub struct Cue(UnixStream);

impl Cue {
    /// Both ends. Each process drops the one it does not use, else it never hears that the other is
    /// gone.
    pub fn pair() -> (Cue, Cue) {
        let (one, other) = UnixStream::pair().expect("socketpair");
        for end in [&one, &other] {
            end.set_read_timeout(Some(time_limit()))
                .expect("SO_RCVTIMEO");
        }
        (Cue(one), Cue(other))
    }

    /// The same end once more, for another thread.
    pub fn again(&self) -> Cue {
        Cue(self.0.try_clone().expect("dup"))
    }

    pub fn give(&mut self) {
        self.0.write_all(b".").expect("give a cue");
    }

    pub fn take(&mut self) {
        self.0.read_exact(&mut [0]).expect("wait for a cue");
    }

    /// Waits until nobody holds the other end.
    pub fn closed(&mut self) {
        assert_eq!(
            self.0.read(&mut [0]).expect("wait for the end"),
            0,
            "a cue, and not the end"
        );
    }
}
