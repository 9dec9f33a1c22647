//! A child that costs one fork, and ends when and how it is told to.

use std::os::fd::{AsRawFd, OwnedFd};

use pidfd_watcher::{Process, Signal};
use rustix::pipe::{PipeFlags, pipe_with};

/// A forked child that waits for its exit code. Killed and reaped when dropped.
#[derive(Debug)]
pub struct Held {
    process: Process,
    gate: OwnedFd,
}

impl Held {
    #[allow(clippy::new_without_default, reason = "it forks")]
    pub fn new() -> Held {
        let (theirs, gate) = pipe_with(PipeFlags::CLOEXEC).expect("pipe2");
        let theirs = theirs.as_raw_fd();
        // SAFETY: the child makes raw system calls alone; no other thread's lock is touched.
        let process = unsafe { Process::fork(|| end_as_told(theirs)) }.expect("fork");
        Held { process, gate }
    }

    pub fn process(&self) -> &Process {
        &self.process
    }

    pub fn pid(&self) -> i32 {
        self.process.pid().as_raw_nonzero().get()
    }

    /// Makes it end with `code`.
    pub fn exit(&self, code: u8) {
        rustix::io::write(&self.gate, &[code]).expect("the child listens");
    }

    pub fn kill(&self) {
        self.process.send_signal(Signal::KILL).expect("own child");
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // Gone already, or reaped by whom the test is about: then there is nothing to do.
        let _ = self.process.send_signal(Signal::KILL);
        let _ = self.process.wait();
        let _ = self.process.clone().reap();
    }
}

/// In the child: lets go of everything else, so that it holds no other test's pipe, and waits.
fn end_as_told(gate: i32) -> i32 {
    let mut code = 0_u8;
    // SAFETY: the numbers are this copy's own, and nothing is done with them afterwards but what
    // stands here; `code` has room for the one byte.
    let read = unsafe {
        libc::dup2(gate, 0);
        libc::syscall(libc::SYS_close_range, 1, libc::c_uint::MAX, 0);
        libc::read(0, (&raw mut code).cast(), 1)
    };
    // The end of the file: the test is gone.
    if read == 1 { i32::from(code) } else { 255 }
}
