//! A seccomp filter with a listener (Linux 5.5): system calls that wait for another process's
//! answer.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// Hears of the calls that a filter holds.
#[derive(Debug)]
pub struct Listener(OwnedFd);

/// A call that is held on its way into the kernel.
#[derive(Clone, Copy, Debug)]
pub struct Notified {
    pub id: u64,
    /// Who makes it: the id of a thread, in the PID namespace of who hears of it.
    pub thread: i32,
    pub number: libc::c_long,
    pub arguments: [u64; 6],
}

/// What becomes of a call that is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The kernel does what was asked for.
    GoOn,
    /// The call fails, and nothing is done.
    Fail(i32),
    /// The call answers 0, and nothing is done.
    Zero,
}

/// One instruction without a jump.
#[must_use]
pub fn statement(code: u32, k: u32) -> libc::sock_filter {
    libc::sock_filter {
        code: u16::try_from(code).expect("an instruction"),
        jt: 0,
        jf: 0,
        k,
    }
}

/// Goes on to the next instruction if what was loaded is `k`, else leaves out so many.
#[must_use]
pub fn unless_equal(k: u32, leave_out: u8) -> libc::sock_filter {
    let code = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
    libc::sock_filter {
        jf: leave_out,
        ..statement(code, k)
    }
}

/// The filter's answer.
#[must_use]
pub fn answer(action: u32) -> libc::sock_filter {
    statement(libc::BPF_RET | libc::BPF_K, action)
}

/// A word of what the filter is told of a call (`seccomp_data`).
#[must_use]
pub fn load(offset: u32) -> libc::sock_filter {
    statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, offset)
}

/// The number of a call as a filter sees it.
#[must_use]
pub fn number_of(call: libc::c_long) -> u32 {
    u32::try_from(call).expect("a number")
}

impl Listener {
    /// Puts the filter on this thread, and on all threads and processes that it starts from then
    /// on. A process has room for one with a listener.
    ///
    /// # Errors
    /// As seccomp(2).
    pub fn install(program: &mut [libc::sock_filter], flags: libc::c_ulong) -> io::Result<Self> {
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
                libc::SECCOMP_FILTER_FLAG_NEW_LISTENER | flags,
                &raw const program,
            )
        };
        if listener < 0 {
            return Err(io::Error::last_os_error());
        }
        let listener = RawFd::try_from(listener).expect("a descriptor");
        // SAFETY: just opened, close-on-exec, for us.
        Ok(Listener(unsafe { OwnedFd::from_raw_fd(listener) }))
    }

    /// Who has a descriptor of a listener has the listener.
    #[must_use]
    pub fn from_fd(fd: OwnedFd) -> Listener {
        Listener(fd)
    }

    /// The next call; `None` where its thread is gone, or a signal came. Waits for one.
    ///
    /// # Errors
    /// As seccomp_unotify(2).
    pub fn receive(&self) -> io::Result<Option<Notified>> {
        // SAFETY: all zeros is a value of the structure, and what the kernel insists on.
        let mut call: libc::seccomp_notif = unsafe { std::mem::zeroed() };
        let request = libc::SECCOMP_IOCTL_NOTIF_RECV;
        // SAFETY: the kernel fills the structure, which is of the size that the request says.
        let received = unsafe { libc::ioctl(self.0.as_raw_fd(), request, &raw mut call) };
        if received != 0 {
            let error = io::Error::last_os_error();
            return match error.raw_os_error() {
                Some(libc::ENOENT | libc::EINTR) => Ok(None),
                _ => Err(error),
            };
        }
        Ok(Some(Notified {
            id: call.id,
            thread: i32::try_from(call.pid).expect("a thread id"),
            number: call.data.nr.into(),
            arguments: call.data.args,
        }))
    }

    /// Lets the thread go on. Its call may have been given up meanwhile, for a signal: that is no
    /// error.
    ///
    /// # Errors
    /// As seccomp_unotify(2).
    pub fn answer(&self, id: u64, answer: Answer) -> io::Result<()> {
        let (error, flags) = match answer {
            Answer::GoOn => (0, libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE),
            Answer::Fail(errno) => (-errno, 0),
            Answer::Zero => (0, 0),
        };
        let mut response = libc::seccomp_notif_resp {
            id,
            val: 0,
            error,
            flags: u32::try_from(flags).expect("a flag"),
        };
        let request = libc::SECCOMP_IOCTL_NOTIF_SEND;
        // SAFETY: a valid structure of the size that the request says.
        let sent = unsafe { libc::ioctl(self.0.as_raw_fd(), request, &raw mut response) };
        let error = io::Error::last_os_error();
        if sent == 0 || error.raw_os_error() == Some(libc::ENOENT) {
            return Ok(());
        }
        Err(error)
    }

    /// Puts `file` on a number of the thread whose call is held (Linux 5.9). What was there is
    /// closed.
    ///
    /// # Errors
    /// As seccomp_unotify(2).
    pub fn replace(&self, id: u64, number: u32, file: BorrowedFd<'_>) -> io::Result<()> {
        let mut added = libc::seccomp_notif_addfd {
            id,
            flags: u32::try_from(libc::SECCOMP_ADDFD_FLAG_SETFD).expect("a flag"),
            srcfd: file.as_raw_fd().unsigned_abs(),
            newfd: number,
            newfd_flags: libc::O_CLOEXEC.unsigned_abs(),
        };
        let request = libc::SECCOMP_IOCTL_NOTIF_ADDFD;
        // SAFETY: a valid structure of the size that the request says.
        if unsafe { libc::ioctl(self.0.as_raw_fd(), request, &raw mut added) } < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
