//! A system call that is held on its way into the kernel until the test lets it go on, or answers
//! it in the kernel's place: what is done meanwhile has happened in the middle of it. By a seccomp
//! filter with a listener (Linux 5.5).

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::time_limit;

/// Holds calls of the thread that made it, and of all threads and processes which that one starts
/// from then on. Without it they fail with `ENOSYS`. A process has room for one.
#[derive(Debug)]
pub struct Halt(OwnedFd);

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
        let statement = |code: u32, k: u32| libc::sock_filter {
            code: u16::try_from(code).expect("an instruction"),
            jt: 0,
            jf: 0,
            k,
        };
        // The number of the call is what a `seccomp_data` begins with.
        let mut program = vec![statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0)];
        for &call in calls {
            let number = u32::try_from(call).expect("a number");
            let equal = statement(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, number);
            program.push(libc::sock_filter { jf: 1, ..equal });
            program.push(statement(
                libc::BPF_RET | libc::BPF_K,
                libc::SECCOMP_RET_USER_NOTIF,
            ));
        }
        program.push(statement(
            libc::BPF_RET | libc::BPF_K,
            libc::SECCOMP_RET_ALLOW,
        ));
        let program = libc::sock_fprog {
            len: u16::try_from(program.len()).expect("a short program"),
            filter: program.as_mut_ptr(),
        };
        // SAFETY: prctl(2) of this kind has no memory effect; the program lives through the call,
        // which reads it.
        let listener = unsafe {
            libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
            libc::syscall(
                libc::SYS_seccomp,
                libc::SECCOMP_SET_MODE_FILTER,
                libc::SECCOMP_FILTER_FLAG_NEW_LISTENER,
                &raw const program,
            )
        };
        assert!(listener >= 0, "seccomp: {}", io::Error::last_os_error());
        let listener = i32::try_from(listener).expect("a descriptor");
        // SAFETY: just opened, close-on-exec, for us.
        Halt(unsafe { OwnedFd::from_raw_fd(listener) })
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
            // SAFETY: all zeros is a value of the structure, and what the kernel insists on.
            let mut call: libc::seccomp_notif = unsafe { std::mem::zeroed() };
            // SAFETY: the kernel fills the structure, which is of the size that the request says.
            let received = unsafe {
                libc::ioctl(
                    self.0.as_raw_fd(),
                    libc::SECCOMP_IOCTL_NOTIF_RECV,
                    &raw mut call,
                )
            };
            if received == 0 {
                return Some(HeldCall {
                    halt: self,
                    id: call.id,
                    thread: i32::try_from(call.pid).expect("a thread id"),
                    number: call.data.nr.into(),
                });
            }
            // Its thread is gone, or a signal came.
            let error = io::Error::last_os_error().raw_os_error();
            assert!(
                matches!(error, Some(libc::ENOENT | libc::EINTR)),
                "{error:?}"
            );
        }
    }
}

impl HeldCall<'_> {
    /// Lets the kernel do what was asked for.
    pub fn go_on(self) {
        self.respond(0, libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE);
    }

    /// The call fails with `errno`.
    pub fn fail(self, errno: i32) {
        self.respond(-errno, 0);
    }

    fn respond(self, error: i32, flags: libc::c_ulong) {
        let mut response = libc::seccomp_notif_resp {
            id: self.id,
            val: 0,
            error,
            flags: u32::try_from(flags).expect("a flag"),
        };
        // SAFETY: a valid structure of the size that the request says.
        let sent = unsafe {
            libc::ioctl(
                self.halt.0.as_raw_fd(),
                libc::SECCOMP_IOCTL_NOTIF_SEND,
                &raw mut response,
            )
        };
        // The call may have been given up meanwhile, for a signal.
        let gone = io::Error::last_os_error().raw_os_error() == Some(libc::ENOENT);
        assert!(sent == 0 || gone, "{}", io::Error::last_os_error());
    }
}
