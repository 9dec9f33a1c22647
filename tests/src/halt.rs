//! A system call that is held on its way into the kernel until the test lets it go on, or answers
//! it in the kernel's place: what is done meanwhile has happened in the middle of it. By a seccomp
//! filter with a listener (Linux 5.5).

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::notify::{self, Answer, Listener, Notified};
use crate::time_limit;

/// Holds calls of the thread that made it, and of all threads and processes which that one starts
/// from then on. Without it they fail with `ENOSYS`. A process has room for one.
#[derive(Debug)]
pub struct Halt(Listener);

/// A call that is held.
#[derive(Debug)]
pub struct HeldCall<'a> {
    halt: &'a Halt,
    id: u64,
    /// Who makes it: the id of a thread.
    pub thread: i32,
    pub number: libc::c_long,
}

impl Halt {
    /// Holds the calls of these numbers (`libc::SYS_*`). Whoever lets them go must be a thread that
    /// runs already.
    pub fn at(calls: &[libc::c_long]) -> Halt {
        // The number of the call is what a `seccomp_data` begins with.
        let mut program = vec![notify::load(0)];
        for &call in calls {
            program.push(notify::unless_equal(notify::number_of(call), 1));
            program.push(notify::answer(libc::SECCOMP_RET_USER_NOTIF));
        }
        program.push(notify::answer(libc::SECCOMP_RET_ALLOW));
        Halt(Listener::install(&mut program, 0).expect("seccomp"))
    }

    /// Waits for the next call to be held; `None` when nobody is left who could make one.
    pub fn next(&self) -> Option<HeldCall<'_>> {
        let limit = Timespec::try_from(time_limit()).expect("a short time");
        let mut fds = [PollFd::new(&self.0, PollFlags::IN)];
        loop {
            match poll(&mut fds, Some(&limit)) {
                Err(rustix::io::Errno::INTR) => continue,
                ready => assert_ne!(ready.expect("poll"), 0, "deadline passed: no call to hold"),
            }
            if !fds[0].revents().contains(PollFlags::IN) {
                return None;
            }
            let received = self.0.receive().expect("a call");
            if let Some(Notified {
                id, thread, number, ..
            }) = received
            {
                return Some(HeldCall {
                    halt: self,
                    id,
                    thread,
                    number,
                });
            }
        }
    }
}

impl HeldCall<'_> {
    /// Lets the kernel do what was asked for.
    pub fn go_on(self) {
        self.respond(Answer::GoOn);
    }

    /// The call fails with `errno`.
    pub fn fail(self, errno: i32) {
        self.respond(Answer::Fail(errno));
    }

    fn respond(self, answer: Answer) {
        self.halt.0.answer(self.id, answer).expect("an answer");
    }
}
