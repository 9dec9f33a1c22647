//! What the shim reports on `--status-fd`: one JSON object on each line.

use std::fmt::Write as _;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, Mode, OFlags, fstat};
use rustix::io::Errno;
use rustix::net::{SendFlags, send};
use rustix::process::Pid;
use rustix::termios::isatty;

/// Why the tree is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// The runtime died, or closed its end of the link without saying why.
    RuntimeDied,
    /// The runtime dropped its keepalive.
    RuntimeDropped,
    /// OUTER was killed.
    OuterDied,
    /// STANDBY was killed.
    StandbyDied,
    /// INNER was killed; another process of the shim has taken over.
    InnerDied,
    /// SIGTERM came.
    Asked,
    /// COMMAND has ended.
    CommandExited,
}

impl Cause {
    fn word(self) -> &'static str {
        match self {
            Cause::RuntimeDied => "runtime-died",
            Cause::RuntimeDropped => "runtime-dropped",
            Cause::OuterDied => "outer-died",
            Cause::StandbyDied => "standby-died",
            Cause::InnerDied => "inner-died",
            Cause::Asked => "asked",
            Cause::CommandExited => "command-exited",
        }
    }
}

/// One report.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Event {
    Started {
        pid: Pid,
    },
    Stopping {
        cause: Cause,
        grace: Duration,
    },
    Exited {
        status: ExitStatus,
    },
    /// This many processes have not died of SIGKILL yet, or may not be signalled.
    Unkillable {
        count: u32,
    },
    Gone {
        killed: u64,
    },
}

impl Event {
    fn line(self) -> String {
        let mut line = String::new();
        // Writing to a String cannot fail.
        let _ = match self {
            Event::Started { pid } => {
                writeln!(
                    line,
                    r#"{{"event":"started","pid":{}}}"#,
                    pid.as_raw_nonzero()
                )
            }
            Event::Stopping { cause, grace } => writeln!(
                line,
                r#"{{"event":"stopping","cause":"{}","grace_ms":{}}}"#,
                cause.word(),
                grace.as_millis()
            ),
            Event::Exited { status } => match status.signal() {
                Some(signal) => writeln!(
                    line,
                    r#"{{"event":"exited","signal":{signal},"core_dumped":{}}}"#,
                    status.core_dumped()
                ),
                None => writeln!(
                    line,
                    r#"{{"event":"exited","code":{}}}"#,
                    status.code().unwrap_or(0)
                ),
            },
            Event::Unkillable { count } => {
                writeln!(line, r#"{{"event":"unkillable","count":{count}}}"#)
            }
            Event::Gone { killed } => writeln!(line, r#"{{"event":"gone","killed":{killed}}}"#),
        };
        line
    }
}

/// How often a report is tried, if an error does not mean that the reader does not read.
const TRIES: usize = 3;

/// Where the reports go. The shim never waits for the reader. A reader that does not read loses
/// reports.
#[derive(Debug)]
pub(crate) struct Status(Option<Reader>);

#[derive(Debug)]
struct Reader {
    fd: OwnedFd,
    is_socket: bool,
}

impl Status {
    pub(crate) fn to(fd: Option<OwnedFd>) -> Status {
        Status(fd.map(|fd| {
            Reader {
                is_socket: fstat(&fd)
                    .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Socket),
                fd: opened_again(&fd).unwrap_or(fd),
            }
        }))
    }

    pub(crate) fn report(&self, event: Event) {
        let Some(reader) = &self.0 else {
            return;
        };
        let line = event.line();
        for _ in 0..TRIES {
            match reader.offer(line.as_bytes()) {
                // The reader does not read, or is gone.
                Ok(()) | Err(Errno::AGAIN | Errno::PIPE | Errno::CONNRESET) => return,
                // ENOMEM, for example: the next try may work.
                Err(_) => {}
            }
        }
    }
}

impl Reader {
    /// Writes the line. `EAGAIN` if there is no room for it.
    fn offer(&self, line: &[u8]) -> Result<(), Errno> {
        let mut fds = [PollFd::from_borrowed_fd(self.fd.as_fd(), PollFlags::OUT)];
        poll(&mut fds, Some(&Timespec::default()))?;
        if !fds[0].revents().contains(PollFlags::OUT) {
            return Err(Errno::AGAIN);
        }
        // If the pipe could not be opened again, another process may fill it at this moment. Then
        // this write waits. The signal SIGPIPE is blocked.
        if self.is_socket {
            send(&self.fd, line, SendFlags::DONTWAIT)?;
        } else {
            rustix::io::write(&self.fd, line)?;
        }
        Ok(())
    }
}

/// Opens a pipe or a terminal again, so that the shim has its own open file description, which
/// never blocks. The inherited one is shared with COMMAND and stays as it is. A file is not opened
/// again: a new description would overwrite its content.
fn opened_again(fd: &OwnedFd) -> io::Result<OwnedFd> {
    let kind = FileType::from_raw_mode(fstat(fd)?.st_mode);
    if kind != FileType::Fifo && !isatty(fd) {
        return Err(io::ErrorKind::Unsupported.into());
    }
    let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
    let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let again = rustix::fs::open(path, flags, Mode::empty())?;
    crate::sys::above_standard_streams(again)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_event_is_one_line_of_json() {
        let pid = Pid::from_raw(7).expect("a pid");
        for (event, line) in [
            (Event::Started { pid }, r#"{"event":"started","pid":7}"#),
            (
                Event::Stopping {
                    cause: Cause::RuntimeDied,
                    grace: Duration::from_millis(1500),
                },
                r#"{"event":"stopping","cause":"runtime-died","grace_ms":1500}"#,
            ),
            (
                Event::Exited {
                    status: ExitStatus::from_raw(42 << 8),
                },
                r#"{"event":"exited","code":42}"#,
            ),
            (
                Event::Exited {
                    status: ExitStatus::from_raw(15),
                },
                r#"{"event":"exited","signal":15,"core_dumped":false}"#,
            ),
            (
                Event::Unkillable { count: 2 },
                r#"{"event":"unkillable","count":2}"#,
            ),
            (Event::Gone { killed: 3 }, r#"{"event":"gone","killed":3}"#),
        ] {
            assert_eq!(event.line(), format!("{line}\n"));
        }
    }
}
