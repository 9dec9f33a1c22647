//! Waits for the supervisor's report that it has executed COMMAND.

use std::io;
use std::os::fd::OwnedFd;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pidfd_watcher::{Process, Signal};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, read};
use rustix::pipe::{PipeFlags, pipe_with};

use crate::stdio::above_stdio;
use crate::stopping::Reports;
use crate::{SpawnError, Stage};

/// How the supervisor's first report begins if it has executed COMMAND.
const STARTED: &[u8] = br#"{"event":"started""#;

/// Exit codes that the supervisor uses for its own failures.
const NOT_EXECUTABLE: i32 = 126;
const NOT_FOUND: i32 = 127;

/// More bytes than an honest first report has.
const LONGEST: usize = 4 << 10;

/// How long a process may take to vanish after SIGKILL.
const KILL_WAIT: Duration = Duration::from_secs(10);

/// A pipe for the supervisor's reports.
#[derive(Debug)]
pub(crate) struct StatusPipe {
    read: OwnedFd,
    pub(crate) write: Arc<OwnedFd>,
}

impl StatusPipe {
    pub(crate) fn new() -> io::Result<StatusPipe> {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
        let write = Arc::new(above_stdio(write)?);
        let read = above_stdio(read)?;
        Ok(StatusPipe { read, write })
    }

    /// Waits until the supervisor has executed COMMAND. The caller has dropped every other
    /// reference to the write end.
    ///
    /// After an error, the supervisor was reaped.
    pub(crate) fn wait(
        self,
        supervisor: Process,
        time: Duration,
    ) -> Result<(Process, Reports), SpawnError> {
        drop(self.write);
        let said = match first_line(&self.read, time) {
            Ok(line) if line.starts_with(STARTED) => {
                return Ok((supervisor, Reports::new(self.read, line)));
            }
            said => said,
        };
        if said.is_err() {
            // It reported nothing. SIGKILL ends it and what it may have started.
            let _ = supervisor.send_signal(Signal::KILL);
        }
        let _ = supervisor.wait_timeout(KILL_WAIT);
        let status = supervisor.reap().ok().and_then(|exit| exit.status);
        Err(match said {
            Err(error) => SpawnError::io(Stage::Supervisor, error),
            Ok(_) => refusal(status),
        })
    }
}

fn refusal(status: Option<ExitStatus>) -> SpawnError {
    match status.and_then(|status| status.code()) {
        Some(NOT_FOUND) => SpawnError::io(Stage::Exec, Errno::NOENT),
        Some(NOT_EXECUTABLE) => SpawnError::io(Stage::Exec, io::ErrorKind::PermissionDenied),
        _ => SpawnError::died(Stage::Supervisor, status),
    }
}

/// The first line with the bytes that were read with it. If the file ends before, what there is of
/// the line.
fn first_line(pipe: &OwnedFd, time: Duration) -> io::Result<Vec<u8>> {
    // If the clock cannot reach this time, there is no deadline.
    let deadline = Instant::now().checked_add(time);
    let mut line = Vec::new();
    loop {
        let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
        let left = left.and_then(|left| Timespec::try_from(left).ok());
        match poll(&mut [PollFd::new(pipe, PollFlags::IN)], left.as_ref()) {
            Err(Errno::INTR) => continue,
            Ok(0) => return Err(io::ErrorKind::TimedOut.into()),
            polled => polled?,
        };
        let mut bytes = [0; 128];
        let count = read(pipe, &mut bytes)?;
        let fresh = bytes.get(..count).unwrap_or_default();
        line.extend_from_slice(fresh);
        if fresh.is_empty() || fresh.contains(&b'\n') {
            return Ok(line);
        }
        if line.len() > LONGEST {
            return Err(io::ErrorKind::InvalidData.into());
        }
    }
}
