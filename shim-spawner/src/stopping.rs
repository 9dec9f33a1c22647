//! One stop, step by step. It never waits itself, so both a thread and a future can run it.

mod aim;
mod cgroup;
mod group;
mod reports;
mod rest;

use std::time::Duration;

use pidfd_watcher::{Error, Exit, Process, Signal};
use watchdog_pipe::StopPolicy;

use crate::sys;
use crate::{StopError, StopReport, Tally, events};

pub(crate) use aim::Aim;
pub(crate) use reports::Reports;
use rest::Rest;

/// How long processes may take to vanish after SIGKILL. A kernel that tears down memory or waits
/// for a disk cannot be hurried.
const KILL_WAIT: Duration = Duration::from_secs(10);

/// How long to sleep if there is no event for the end of a process.
const NAP: Duration = Duration::from_millis(10);

/// A stop in progress.
#[derive(Debug)]
pub(crate) struct Stopping {
    leader: Process,
    aim: Aim,
    policy: StopPolicy,
    phase: Phase,
    killed: Tally,
    told: events::Stop,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    /// Nothing was signalled yet.
    Begin,
    /// Until this time of the monotonic clock. `None`: without end.
    Grace(Option<Duration>),
    Killing(Duration),
}

/// What to wait for before the next step.
#[derive(Debug)]
pub(crate) enum Next {
    /// The exit of this process, but no longer than this time. `None`: without end.
    Exit(Process, Option<Duration>),
    /// This time.
    Time(Duration),
    /// Nothing. The stop is over, with this result.
    Done(StopReport),
}

impl Stopping {
    pub(crate) fn new(leader: Process, aim: Aim, policy: StopPolicy) -> Stopping {
        let told = events::Stop::begin(leader.pid(), aim.target());
        Stopping {
            leader,
            aim,
            policy,
            phase: Phase::Begin,
            killed: Tally::none(),
            told,
        }
    }

    pub(crate) fn leader(&self) -> &Process {
        &self.leader
    }

    /// Does what can be done now. Call it again when the event that it returns has happened, or
    /// earlier.
    pub(crate) fn step(&mut self) -> Result<Next, StopError> {
        let next = self.advance()?;
        if let Next::Done(report) = &next {
            self.told.stopped(report);
        }
        Ok(next)
    }

    /// Reports that the stop failed: a step did, or a wait between two steps.
    pub(crate) fn failed(&self, error: &StopError) {
        self.told.failed(error);
    }

    fn advance(&mut self) -> Result<Next, StopError> {
        if let Phase::Begin = self.phase {
            self.aim.check(&self.leader)?;
            let ends = now()?.checked_add(self.policy.grace_period());
            self.phase = Phase::Grace(ends);
            self.aim.signal(&self.leader, self.policy.stop_signal())?;
            // A stopped process handles SIGTERM only after it is continued.
            self.aim.signal(&self.leader, Signal::CONT)?;
            self.told.signalled(self.policy);
        }
        if let Phase::Grace(ends) = self.phase {
            let (exit, rest) = self.look()?;
            let left = left_until(ends)?;
            if left != Some(Duration::ZERO) || is_over(exit, &rest) {
                return Ok(self.next(exit, rest, left));
            }
            self.phase = Phase::Killing(now()?.saturating_add(KILL_WAIT));
            self.kill(exit, &rest)?;
            self.told.grace_over(&self.killed);
        }
        let (exit, rest) = self.look()?;
        let left = match self.phase {
            Phase::Killing(ends) => ends.saturating_sub(now()?),
            Phase::Begin | Phase::Grace(_) => Duration::ZERO,
        };
        if is_over(exit, &rest) {
            return Ok(self.next(exit, rest, None));
        }
        if left.is_zero() {
            return match exit {
                None => Err(StopError::StillAlive {
                    pid: self.leader.pid(),
                }),
                Some(exit) => Ok(Next::Done(self.report(exit, &rest))),
            };
        }
        self.kill_newcomers(exit, &rest)?;
        Ok(self.next(exit, rest, Some(left)))
    }

    /// The exit of the shim, if it has ended, and the other processes that are left.
    fn look(&self) -> Result<(Option<Exit>, Rest), StopError> {
        let Some(exit) = self.leader.try_wait()? else {
            return Ok((None, Rest::Unknown));
        };
        let after_kill = matches!(self.phase, Phase::Killing(_));
        Ok((Some(exit), self.aim.rest(&self.leader, after_kill)?))
    }

    fn next(&self, exit: Option<Exit>, rest: Rest, left: Option<Duration>) -> Next {
        let Some(exit) = exit else {
            return Next::Exit(self.leader.clone(), left);
        };
        match rest {
            Rest::Empty | Rest::Unprovable => Next::Done(self.report(exit, &rest)),
            Rest::Unknown => Next::Time(left.map_or(NAP, |left| left.min(NAP))),
            // Wait for any member: the stop is not over before this one has ended.
            Rest::Members(members) => match members.into_iter().next() {
                Some(member) => Next::Exit(member, left),
                None => Next::Time(NAP),
            },
        }
    }

    fn kill(&mut self, exit: Option<Exit>, rest: &Rest) -> Result<(), StopError> {
        // Looked up before SIGKILL, because a process that has died of it is no member any more.
        let pids = match (exit, rest) {
            (None, _) => self.aim.members(&self.leader),
            (Some(_), rest) => rest.pids(),
        };
        if exit.is_none() {
            self.killed.add(Some(vec![self.leader.pid()]));
        }
        self.killed.add(pids);
        match self.aim.signal(&self.leader, Signal::KILL) {
            // The shim has ended. The report shows who is left.
            Err(_) if exit.is_some() => Ok(()),
            sent => sent,
        }
    }

    /// Kills the processes that appeared after the first SIGKILL too.
    fn kill_newcomers(&mut self, exit: Option<Exit>, rest: &Rest) -> Result<(), StopError> {
        let known = self.killed.pids();
        let is_new = |members: &Vec<Process>| members.iter().any(|m| !known.contains(&m.pid()));
        match rest {
            Rest::Members(members) if is_new(members) => self.kill(exit, rest),
            _ => Ok(()),
        }
    }

    fn report(&self, exit: Exit, rest: &Rest) -> StopReport {
        // Reaps the shim if it is our child. Otherwise the known exit stays.
        let exit = self.leader.clone().reap().unwrap_or(exit);
        let mut left = Tally::none();
        left.add(rest.pids());
        let (killed, left) = match self.aim.reported() {
            Some((killed, left)) => (killed, left),
            None => (self.killed.clone(), left),
        };
        StopReport {
            exit,
            target: self.aim.target(),
            killed,
            left,
        }
    }
}

/// Whether nothing more can happen: no process is left, or members cannot be told from strangers.
fn is_over(exit: Option<Exit>, rest: &Rest) -> bool {
    exit.is_some() && matches!(rest, Rest::Empty | Rest::Unprovable)
}

fn now() -> Result<Duration, StopError> {
    sys::monotonic().map_err(|errno| StopError::Process(Error::Io(errno.into())))
}

fn left_until(ends: Option<Duration>) -> Result<Option<Duration>, StopError> {
    let left = |ends: Duration| Ok(ends.saturating_sub(now()?));
    ends.map(left).transpose()
}
