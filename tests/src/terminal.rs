//! A program on a terminal of its own, typed to by a test.

use std::fs::File;
use std::io::{self, Read, Write};
use std::ops::{Deref, DerefMut};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitStatus, Stdio};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use crate::{Guard, time_limit};

const SIGNALS_OF_A_TERMINAL: [libc::c_int; 6] = [
    libc::SIGHUP,
    libc::SIGINT,
    libc::SIGQUIT,
    libc::SIGTSTP,
    libc::SIGTTIN,
    libc::SIGTTOU,
];

/// A terminal that is ours to type on.
#[derive(Debug)]
pub struct Screen {
    keyboard: File,
    said: Vec<u8>,
    /// What was waited for already.
    seen: usize,
}

/// A leader of a session whose controlling terminal is ours to type on.
#[derive(Debug)]
pub struct Terminal {
    screen: Screen,
    program: Guard,
}

impl Deref for Terminal {
    type Target = Screen;
    fn deref(&self) -> &Screen {
        &self.screen
    }
}

impl DerefMut for Terminal {
    fn deref_mut(&mut self) -> &mut Screen {
        &mut self.screen
    }
}

impl Screen {
    /// A new terminal, and the end of it that programs have, close-on-exec.
    pub fn new() -> (Screen, OwnedFd) {
        let keyboard = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)
            .expect("posix_openpt");
        grantpt(&keyboard).expect("grantpt");
        unlockpt(&keyboard).expect("unlockpt");
        let name = ptsname(&keyboard, Vec::new()).expect("ptsname");
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let theirs = rustix::fs::open(&*name, flags, Mode::empty()).expect("open the terminal");
        let screen = Screen {
            keyboard: File::from(keyboard),
            said: Vec::new(),
            seen: 0,
        };
        (screen, theirs)
    }
}

/// What a program has in its environment on a terminal: 80 columns, and a type that every machine
/// knows.
pub const VARIABLES: [(&str, &str); 3] = [("TERM", "vt100"), ("COLUMNS", "80"), ("LINES", "24")];

impl Terminal {
    /// Starts the program on a terminal of its own.
    pub fn start(command: &mut Command) -> Terminal {
        let (ours, screen) = Screen::new();
        let stream = || Stdio::from(screen.try_clone().expect("dup"));
        command
            .envs(VARIABLES)
            .stdin(stream())
            .stdout(stream())
            .stderr(stream());
        let number = screen.as_raw_fd();
        // SAFETY: the closure makes async-signal-safe calls alone; the number is open in the child
        // until its exec.
        unsafe {
            command.pre_exec(move || {
                // Whoever started the tests may have them ignored.
                for signal in SIGNALS_OF_A_TERMINAL {
                    libc::signal(signal, libc::SIG_DFL);
                }
                if libc::setsid() < 0 || libc::ioctl(number, libc::TIOCSCTTY, 0) < 0 {
                    return Err(io::Error::last_os_error());
                }
                Ok(())
            });
        }
        Terminal {
            program: Guard::spawn(command),
            screen: ours,
        }
    }

    /// Types, waits for the end of the program, and gives its status.
    pub fn type_and_end(&mut self, keys: &str) -> ExitStatus {
        self.type_to_the_end(keys);
        self.program.wait_deadline()
    }

    /// The program's pid.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.program.id()
    }
}

impl Screen {
    /// Types, and waits until the text appears that was not waited for yet.
    pub fn type_until(&mut self, keys: &str, text: &str) {
        self.keyboard.write_all(keys.as_bytes()).expect("type");
        self.until(text);
    }

    /// Waits for the text.
    pub fn until(&mut self, text: &str) {
        loop {
            let fresh = &self.said[self.seen..];
            let found = fresh
                .windows(text.len())
                .position(|part| part == text.as_bytes());
            if let Some(place) = found {
                self.seen += place + text.len();
                return;
            }
            assert!(
                self.read(),
                "the end, before {text:?}: {}",
                self.transcript()
            );
        }
    }

    /// Types, and waits until nobody has the terminal open any more.
    pub fn type_to_the_end(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).expect("type");
        while self.read() {}
    }

    /// Takes the terminal away, as the end of a connection does.
    pub fn hang_up(&mut self) {
        let null = File::open("/dev/null").expect("/dev/null");
        drop(std::mem::replace(&mut self.keyboard, null));
    }

    /// All that was on the screen.
    #[must_use]
    pub fn transcript(&self) -> String {
        String::from_utf8_lossy(&self.said).into_owned()
    }

    /// Reads once, under the deadline; whether there may be more.
    fn read(&mut self) -> bool {
        let limit = Timespec::try_from(time_limit()).expect("a short time");
        let mut fds = [PollFd::new(&self.keyboard, PollFlags::IN)];
        let ready = poll(&mut fds, Some(&limit)).expect("poll");
        assert_ne!(ready, 0, "deadline passed: {}", self.transcript());
        let mut bytes = [0; 4096];
        // EIO: nobody has the terminal open any more.
        match self.keyboard.read(&mut bytes) {
            Ok(0) | Err(_) => false,
            Ok(count) => {
                self.said.extend_from_slice(&bytes[..count]);
                true
            }
        }
    }
}
