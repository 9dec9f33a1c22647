//! What a child needs, which comes to it by SCM_RIGHTS.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::net::UnixDatagram;

use watchdog_pipe::{AdoptError, ChildSetup, ENV_VAR, Guarantees, Keepalive, Watchdog};
use workspace_tests::{rights, time_limit};

/// Where a child finds its pipe and its page: above everything that is open here.
pub const NUMBERS: [RawFd; 2] = [900, 901];

/// What a child is given.
pub struct Given {
    pub variable: String,
    pub fds: Vec<OwnedFd>,
}

impl Given {
    pub fn send(socket: &UnixDatagram, setup: &mut ChildSetup) {
        setup.renumber_each(NUMBERS);
        let fds: Vec<BorrowedFd<'_>> = setup.fds().map(|(fd, _)| fd).collect();
        rights::send(socket, setup.env().1.as_bytes(), &fds).expect("send");
    }

    /// Makes a link, and sends what its child needs.
    pub fn send_link(socket: &UnixDatagram) -> Keepalive {
        let (keepalive, mut setup) = watchdog_pipe::channel().expect("channel");
        Given::send(socket, &mut setup);
        keepalive
    }

    pub fn receive(socket: &UnixDatagram) -> Given {
        Given::try_receive(socket).expect("receive")
    }

    pub fn try_receive(socket: &UnixDatagram) -> io::Result<Given> {
        let mut bytes = [0; 256];
        let (count, fds) = rights::receive(socket, &mut bytes)?;
        Ok(Given {
            variable: String::from_utf8_lossy(&bytes[..count]).into_owned(),
            fds,
        })
    }

    /// Of a link of this process, which must let go of its keepalive before it adopts.
    pub fn of(setup: &mut ChildSetup) -> Given {
        setup.renumber_each(NUMBERS);
        let fds = setup
            .fds()
            .map(|(fd, _)| fd.try_clone_to_owned().expect("dup"));
        Given {
            fds: fds.collect(),
            variable: setup.env().1,
        }
    }

    /// In a fork, once.
    pub fn adopt(self) -> Result<Watchdog, AdoptError> {
        for (fd, number) in self.fds.iter().zip(NUMBERS) {
            // SAFETY: nothing lies on these numbers in this process.
            assert_eq!(unsafe { libc::dup2(fd.as_raw_fd(), number) }, number);
        }
        drop(self.fds);
        // SAFETY: a fork of a process with one thread; and the numbers are the ones just made,
        // owned by nobody.
        unsafe {
            std::env::set_var(ENV_VAR, self.variable);
            Watchdog::from_env().map(|watchdog| watchdog.expect("a variable"))
        }
    }

    pub fn adopt_whole(self) -> Watchdog {
        let watchdog = self.adopt().expect("adopt");
        assert_eq!(watchdog.guarantees(), Guarantees::all());
        watchdog
    }
}

pub fn sockets() -> (UnixDatagram, UnixDatagram) {
    let pair = UnixDatagram::pair().expect("socketpair");
    for end in [&pair.0, &pair.1] {
        end.set_read_timeout(Some(time_limit()))
            .expect("SO_RCVTIMEO");
    }
    pair
}

/// A copy that holds whatever is open here, and outlives everybody else. It is found by its number
/// and ended by hand.
pub fn sleeper() -> i32 {
    // SAFETY: the copy does nothing but sleep.
    match unsafe { libc::fork() } {
        -1 => panic!("fork: {}", io::Error::last_os_error()),
        0 => loop {
            // SAFETY: pause(2) has no memory effect.
            unsafe { libc::pause() };
        },
        pid => pid,
    }
}

/// It has become our child when its parent died.
pub fn end(sleeper: i32) {
    // SAFETY: kill(2) and waitpid(2) have no memory effect; it is not reaped yet.
    unsafe {
        assert_eq!(libc::kill(sleeper, libc::SIGKILL), 0);
        assert_eq!(libc::waitpid(sleeper, std::ptr::null_mut(), 0), sleeper);
    }
}

/// How often this process has mapped the page of a sentinel.
pub fn sentinel_mappings() -> usize {
    let maps = std::fs::read_to_string("/proc/self/maps").expect("maps");
    maps.lines()
        .filter(|line| line.contains("watchdog-sentinel"))
        .count()
}
