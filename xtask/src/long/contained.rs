//! A command in a PID namespace of its own: it can reach no process of this machine, and nothing of
//! it outlives the value.

use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::Interrupt;
use crate::shell;

/// How often a command that runs is looked at, at first and later on.
const LOOK_EVERY: [Duration; 2] = [Duration::from_millis(1), Duration::from_millis(20)];

/// A running command with all that it has started. Dropping the value kills all of them.
#[derive(Debug)]
pub(crate) struct Contained(Child);

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    Exited(ExitStatus),
    /// It ran until its time was over, and was killed.
    TimedOut,
}

impl Contained {
    /// The command line that runs `program` in there, to which arguments, environment and streams
    /// are added. It runs at the workspace's root, without a standard input.
    ///
    /// `setpriv` ends it with this process, `unshare` makes the namespace and ends with its first
    /// process. Both are of util-linux, which every distribution has. Whoever is not root gets a
    /// user namespace besides.
    pub(crate) fn command(program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "unshare"]);
        if !is_root() {
            command.args(["--user", "--map-root-user"]);
        }
        command.args(["--pid", "--fork", "--mount-proc", "--kill-child", "--"]);
        command.arg(program);
        command.current_dir(shell::root()).stdin(Stdio::null());
        // ^C in the terminal is for this process alone, which ends the others in its own way.
        command.process_group(0);
        command
    }

    /// Starts what [`Self::command`] has begun.
    pub(crate) fn start(command: &mut Command) -> Result<Contained> {
        let started = command.spawn();
        started
            .map(Contained)
            .context("start setpriv and unshare, of the package util-linux")
    }

    /// Waits for the end, at most for `limit`. Fails where somebody asks this process to end: the
    /// command is killed then, as it is when its time is over.
    pub(crate) fn wait(mut self, limit: Duration, interrupt: &Interrupt) -> Result<Ended> {
        let began = Instant::now();
        let [mut pause, longest] = LOOK_EVERY;
        loop {
            if let Some(status) = self.0.try_wait().context("wait for a command")? {
                return Ok(Ended::Exited(status));
            }
            interrupt.check()?;
            if began.elapsed() > limit {
                return Ok(Ended::TimedOut);
            }
            thread::sleep(pause);
            pause = longest.min(pause * 2);
        }
    }

    /// As [`Self::wait`], for a command whose standard input is piped, and which ends in good order
    /// when that is closed. It has `patience` to do so, once somebody asks this process to end, and
    /// is killed then.
    pub(crate) fn wait_for_good_end(
        mut self,
        patience: Duration,
        interrupt: &Interrupt,
    ) -> Result<ExitStatus> {
        let mut held = self.0.stdin.take();
        let mut asked = None;
        loop {
            if let Some(status) = self.0.try_wait().context("wait for a command")? {
                return Ok(status);
            }
            if interrupt.is_set() {
                drop(held.take());
                let asked = asked.get_or_insert_with(Instant::now);
                if asked.elapsed() > patience {
                    interrupt.check()?;
                }
            }
            thread::sleep(LOOK_EVERY[1]);
        }
    }

    /// The command's own standard output and error, where they are piped.
    pub(crate) fn streams(&mut self) -> (Option<ChildStdout>, Option<ChildStderr>) {
        (self.0.stdout.take(), self.0.stderr.take())
    }
}

impl Drop for Contained {
    fn drop(&mut self) {
        // The kernel kills what is in the namespace before this returns.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}
