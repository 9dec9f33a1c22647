//! The keeper: the process in charge of the tree. It reaps, passes signals on, and stops the tree
//! when it is time.
//!
//! INNER is the keeper from the start. STANDBY or OUTER takes over when the processes of the shim
//! below it were killed. It inherits the orphans, and the ledger says how far the stop has got.

mod killing;
mod reap;
mod requests;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use pidfd_watcher::Process;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::Signal;

use crate::control::ControlSocket;
use crate::instant::Instant;
use crate::ledger::{Ledger, Phase};
use crate::options::{OnExit, Options};
use crate::policy::Policy;
use crate::signals::SessionRole;
use crate::status::{Cause, Event, Status};
use crate::tree::{Reach, Tree};
use crate::watch::{RuntimeState, RuntimeWatch};

pub(crate) use killing::Killing;

/// A round of reaping takes longer than this only in a tree of thousands.
const LONG_REAPING: Duration = Duration::from_micros(200);
/// A request that comes by a signal is delayed by this at most.
const LONGEST_PAUSE: Duration = Duration::from_millis(5);

/// The keeper: see the module.
#[derive(Debug)]
pub(crate) struct Keeper<'a> {
    pub(crate) options: &'a Options,
    pub(crate) role: SessionRole,
    pub(crate) ledger: Ledger,
    pub(crate) status: Status,
    pub(crate) tree: Tree,
    pub(crate) signals: OwnedFd,
    /// `None`: this process is OUTER itself.
    pub(crate) control: Option<ControlSocket>,
    /// Only in INNER: STANDBY, as long as there is one and it lives.
    pub(crate) standby: Option<Process>,
    pub(crate) watch: RuntimeWatch,
    /// COMMAND was stopped and has not been continued since.
    pub(crate) command_is_stopped: bool,
    /// When the shim noticed the end of standard input, if the shim watches that.
    ///
    /// The grace period begins then. The end of file is the first step of the stop: COMMAND has
    /// half of the grace period to end by itself, and gets the stop signal after that.
    pub(crate) input_ended: Option<Instant>,
    /// Somebody has requested the end of the tree. A second request ends the grace period at once.
    pub(crate) stop_was_requested: bool,
    pub(crate) killing: Killing,
}

/// What a round of reaping left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Left {
    /// More children may have ended.
    More,
    /// All children that have ended were reaped; others live.
    Living,
    /// There is no child at all.
    Nobody,
}

impl Keeper<'_> {
    /// Works until there is nothing left to do.
    pub(crate) fn run(mut self) {
        loop {
            let began = Instant::now();
            let left = self.reap();
            let reaping = Instant::now().since(began);
            let is_empty = (left == Left::Nobody && !self.tree.has_members()) || self.is_over();
            self.advance(is_empty);
            match self.ledger.phase() {
                Phase::Done => break,
                Phase::Killing => self.kill(),
                _ => {}
            }
            let timeout = if left == Left::More {
                Some(Duration::ZERO)
            } else {
                self.timeout()
            };
            if let Some(pause) = self.pause_after(reaping) {
                self.wait(Some(pause), &[]);
            }
            self.wait(timeout, &[self.signals.as_fd()]);
            self.take_signals();
            self.take_messages();
            self.look();
        }
        self.tree.clean_up();
        self.status.report(Event::Gone {
            killed: self.ledger.killed(),
        });
    }

    /// Takes over from a keeper that was killed. A stop that has not begun yet begins now.
    pub(crate) fn take_over(self) {
        match self.ledger.phase() {
            Phase::Starting | Phase::Running => self.stop(Cause::InnerDied),
            Phase::Stopping | Phase::Killing | Phase::Done => {}
        }
        self.run();
    }

    /// Begins to stop the tree, unless a stop has begun already.
    fn stop(&self, cause: Cause) {
        if self.ledger.phase() >= Phase::Stopping {
            return;
        }
        let Policy { signal, grace } = self.ledger.policy();
        let (deadline, left) = match self.input_ended {
            None => (Instant::now().after(grace), grace),
            Some(at) => (at.after(grace), at.after(grace).remaining()),
        };
        self.ledger.set_deadline(deadline);
        // A stopped process receives the stop signal only when it is continued.
        let signals = [signal, Signal::CONT];
        self.tree
            .signal(&signals, self.options.signal_to, self.ledger.group());
        // Set after the signals: if this process is killed before it has sent them all, the process
        // that takes over sends them again.
        self.ledger.set_phase(Phase::Stopping);
        self.status.report(Event::Stopping { cause, grace: left });
    }

    /// Goes on to the next phase when its time has come.
    fn advance(&self, is_empty: bool) {
        let phase = self.ledger.phase();
        let command_has_ended = self.ledger.status().is_some();
        let has_passed = |at: Instant| at.remaining().is_zero();
        if is_empty {
            self.ledger.set_phase(Phase::Done);
        } else if phase == Phase::Running
            && let Some(at) = self.stop_after_input()
            && (command_has_ended || has_passed(at))
        {
            self.stop(Cause::RuntimeDied);
        } else if phase == Phase::Running
            && command_has_ended
            && self.options.on_exit == OnExit::Stop
        {
            // Not before COMMAND has ended and the tree is not empty: if COMMAND left nobody
            // behind, there is nobody to search for.
            self.stop(Cause::CommandExited);
        } else if phase == Phase::Stopping && self.ledger.deadline().is_none_or(has_passed) {
            self.ledger.set_phase(Phase::Killing);
        }
    }

    /// When the stop signal is due after the end of standard input. `None` if it has not ended.
    fn stop_after_input(&self) -> Option<Instant> {
        let grace = self.ledger.policy().grace;
        self.input_ended.map(|at| at.after(grace / 2))
    }

    /// Whether the shim is done although processes may be left: they may live on.
    fn is_over(&self) -> bool {
        let command_has_ended = self.ledger.status().is_some();
        match (&self.tree.reach, self.options.on_exit) {
            (Reach::CommandAlone, _) => command_has_ended,
            (_, OnExit::Leave) => {
                command_has_ended
                    && self.ledger.phase() == Phase::Running
                    && self.input_ended.is_none()
            }
            _ => false,
        }
    }

    fn kill(&mut self) {
        if let Some(count) = self.killing.sweep(&self.tree, self.ledger) {
            self.status.report(Event::Unkillable { count });
        }
        self.killing.catch(&self.tree, self.ledger);
    }

    fn timeout(&self) -> Option<Duration> {
        match self.ledger.phase() {
            Phase::Stopping => self.ledger.deadline().map(Instant::remaining),
            Phase::Killing => Some(self.killing.until_next()),
            Phase::Running => self.stop_after_input().map(Instant::remaining),
            _ => None,
        }
    }

    /// How long to leave the children alone after a round of reaping that took this long.
    ///
    /// The kernel searches for an ended child among all living ones, from the oldest on. While a
    /// large tree dies, one search for each death would take a time that grows with the square of
    /// their number, and would delay the end of the others. After a pause many have ended.
    fn pause_after(&self, reaping: Duration) -> Option<Duration> {
        let is_long = reaping > LONG_REAPING && self.ledger.phase() >= Phase::Stopping;
        is_long.then(|| (4 * reaping).min(LONGEST_PAUSE))
    }

    /// Waits for one of `signals`, the runtime's end, or a message.
    fn wait(&self, timeout: Option<Duration>, signals: &[BorrowedFd<'_>]) {
        let unsent = self.control.as_ref().and_then(ControlSocket::send_again);
        let timeout = timeout.into_iter().chain(unsent).min();
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        let readable = |fd| PollFd::from_borrowed_fd(fd, PollFlags::IN);
        let mut fds: Vec<PollFd<'_>> = signals.iter().copied().map(readable).collect();
        fds.extend(self.watch.poll_fd());
        fds.extend(self.control.as_ref().map(|socket| readable(socket.as_fd())));
        fds.extend(
            self.standby
                .as_ref()
                .map(|standby| readable(standby.as_fd())),
        );
        // Whatever poll returns, everything is checked. The shim does not start if poll(2) is
        // refused.
        let _ = poll(&mut fds, timeout.as_ref());
    }

    /// Checks whether the runtime and STANDBY live.
    fn look(&mut self) {
        match self.watch.look() {
            RuntimeState::Alive => {}
            RuntimeState::Died => self.stop(Cause::RuntimeDied),
            RuntimeState::Dropped => self.stop(Cause::RuntimeDropped),
            RuntimeState::InputEnded { .. } => self.input_ended = Some(Instant::now()),
        }
        let has_ended = |process: &Process| matches!(process.try_wait(), Ok(Some(_)));
        if self.standby.as_ref().is_some_and(has_ended) {
            self.standby = None;
            self.stop(Cause::StandbyDied);
        }
    }
}
