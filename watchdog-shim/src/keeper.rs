//! Whoever is in charge of the tree: reaps, passes signals on, and stops everything when its time has come.
//!
//! INNER is, from the start. STANDBY or OUTER takes over when those below it were killed: the orphans come to it, and the
//! ledger says how far the stop has got.

use std::collections::HashSet;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

use pidfd_watcher::Process;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, Signal};

use crate::cgroup::Cgroup;
use crate::instant::Instant;
use crate::ledger::{Ledger, Phase};
use crate::line::{Heard, Line, Message};
use crate::options::{OnExit, Options, Session, SignalTo};
use crate::policy::Policy;
use crate::signals::{self, Meaning, Place};
use crate::status::{Cause, Event, Status};
use crate::sys::{self, NamespaceInit, ReceivedSignal};
use crate::tree::{self, Of, Proc, Swept};
use crate::watch::{News, Watch};

/// So many children are reaped before the clock is looked at: a storm of forks must not put the deadline off.
const REAPED_AT_ONCE: usize = 256;

/// So many signals and messages are heard before anything else is looked at: a flood must not put the end off.
pub(crate) const HEARD_AT_ONCE: usize = 256;

/// The wait between two sweeps of SIGKILL: at first, and at most.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LAST_PAUSE: Duration = Duration::from_secs(1);

/// What still lives so long after the first SIGKILL is reported.
const REPORT_AFTER: Duration = Duration::from_secs(2);

/// How the tree is reached.
#[derive(Debug)]
pub(crate) enum Tree {
    /// All descendants, found in /proc.
    Descendants,
    /// All processes of the PID namespace.
    Namespace(NamespaceInit),
    /// All members of the cgroup, and descendants that have left it.
    Cgroup(Cgroup),
    /// COMMAND alone.
    CommandAlone,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Keeper<'a> {
    pub(crate) options: &'a Options,
    pub(crate) place: Place,
    /// Where it is there.
    pub(crate) proc: Option<Proc>,
    pub(crate) ledger: Ledger,
    pub(crate) status: Status,
    pub(crate) tree: Tree,
    pub(crate) signals: OwnedFd,
    /// `None`: this process is OUTER itself.
    pub(crate) line: Option<Line>,
    /// The process of the shim that started this one; `None` where it is OUTER, which the line tells of.
    pub(crate) above: Option<Process>,
    pub(crate) watch: Watch,
    /// COMMAND, until it was reaped.
    pub(crate) command: Option<Process>,
    /// Whether COMMAND was stopped, and not continued since.
    pub(crate) stopped: bool,
    /// When the standard input lost its other end, if the lifetime hangs on that. The grace has begun then. The end of file
    /// is the first step of the stop: COMMAND has half of the grace to end by itself, and gets the stop signal after that.
    pub(crate) input_ended: Option<Instant>,
    /// Whether somebody has asked for the end of the tree: another time means at once.
    pub(crate) asked: bool,
}

impl Keeper<'_> {
    /// Works until nothing is left to be done.
    pub(crate) fn run(mut self) {
        let mut kill = Kill::default();
        loop {
            let more = self.reap(&mut kill);
            let empty = (more == Reaped::Nobody && !self.has_strangers()) || self.is_over();
            self.advance(empty);
            match self.ledger.phase() {
                Phase::Done => break,
                Phase::Killing => {
                    self.kill(&mut kill);
                    self.catch(&mut kill);
                }
                _ => {}
            }
            let timeout = if more == Reaped::More {
                Some(Duration::ZERO)
            } else {
                self.timeout(&kill)
            };
            self.wait(timeout);
            self.take_signals(&mut kill);
            self.take_messages(&mut kill);
            self.look();
        }
        if let Tree::Cgroup(cgroup) = &self.tree {
            cgroup.remove();
        }
        self.status.report(Event::Gone {
            killed: self.ledger.killed(),
        });
    }

    /// Takes over from a keeper that was killed: what has not begun yet begins now.
    pub(crate) fn take_over(self) {
        match self.ledger.phase() {
            Phase::Starting | Phase::Running => self.stop(Cause::InnerDied),
            Phase::Stopping | Phase::Killing | Phase::Done => {}
        }
        self.run();
    }

    /// Begins to stop the tree, unless that has begun.
    pub(crate) fn stop(&self, cause: Cause) {
        if self.ledger.phase() >= Phase::Stopping {
            return;
        }
        let Policy { signal, grace } = self.ledger.policy();
        let (deadline, left) = match self.input_ended {
            None => (Instant::now().after(grace), grace),
            Some(at) => (at.after(grace), at.after(grace).remaining()),
        };
        self.ledger.set_deadline(deadline);
        // One that is stopped takes the stop signal once it is continued.
        self.ask(&[signal, Signal::CONT]);
        // After the signals: if this process is killed before all are sent, whoever takes over sends them again.
        self.ledger.set_phase(Phase::Stopping);
        self.status.report(Event::Stopping { cause, grace: left });
    }

    fn signal_command(&self, signal: Signal) {
        if let Some(command) = &self.command {
            // Gone, or of another user: the report at the end says what is left.
            let _ = command.send_signal(signal);
        }
    }

    /// Sends `signals` to those who are asked to stop: once to each. COMMAND comes first, before the others are looked
    /// for: how soon it learns does not depend on how many processes there are.
    fn ask(&self, signals: &[Signal]) {
        let of = match self.options.signal_to {
            SignalTo::Main => None,
            // Looked up first: COMMAND may end at once.
            SignalTo::Group => self.command_group().map(Of::Group),
            SignalTo::All => Some(Of::All),
        };
        if let (Tree::Namespace(inside), Some(Of::All)) = (&self.tree, of) {
            // COMMAND is one of them.
            for signal in signals {
                let _ = inside.signal_all_others(signal.as_raw());
            }
            return;
        }
        for signal in signals {
            self.signal_command(*signal);
        }
        let command = self.command.as_ref().map(Process::pid);
        match (&self.tree, of) {
            (Tree::CommandAlone, _) | (_, None) => {}
            (Tree::Cgroup(cgroup), Some(Of::All)) => {
                for signal in signals {
                    let _ = cgroup.signal(*signal, command);
                }
            }
            (_, Some(of)) => self.ask_descendants(signals, of),
        }
    }

    fn ask_descendants(&self, signals: &[Signal], of: Of) {
        let command = self.command.as_ref().map(Process::pid);
        let mut asked: HashSet<i32> = command
            .map(|pid| pid.as_raw_nonzero().get())
            .into_iter()
            .collect();
        // Where descriptors are few, some have moved to another parent before they were found.
        loop {
            let mut fresh = Vec::new();
            let swept = self.signal_descendants(signals, of, &asked, |n| fresh.push(n));
            match swept {
                Ok(Swept { crowded: true, .. }) if !fresh.is_empty() => asked.extend(fresh),
                Ok(_) | Err(_) => break,
            }
        }
    }

    fn signal_descendants(
        &self,
        signals: &[Signal],
        of: Of,
        except: &HashSet<i32>,
        signalled: impl FnMut(i32),
    ) -> io::Result<Swept> {
        let proc = self.proc.as_ref().ok_or(io::ErrorKind::NotFound)?;
        tree::signal_descendants(proc, signals, of, except, signalled)
    }

    /// Where COMMAND has ended, the group that it was in. Only descendants are looked at, so that the worst that
    /// a number which was given out again can name is another group of the tree.
    fn command_group(&self) -> Option<i32> {
        match &self.command {
            // Not reaped yet: the number is its own.
            Some(command) => self.proc.as_ref()?.group_of(command.pid()),
            None => self.ledger.group(),
        }
    }

    /// Goes on to the next phase when its time has come.
    fn advance(&self, empty: bool) {
        let phase = self.ledger.phase();
        let ended = self.ledger.status().is_some();
        if empty {
            self.ledger.set_phase(Phase::Done);
        } else if phase == Phase::Running
            && let Some(at) = self.stop_after_input()
            && (ended || at.remaining().is_zero())
        {
            self.stop(Cause::RuntimeDied);
        } else if phase == Phase::Running && ended && self.options.on_exit == OnExit::Stop {
            // Only now: where COMMAND has left nobody behind, nobody is looked for.
            self.stop(Cause::CommandExited);
        } else if phase == Phase::Stopping
            && self
                .ledger
                .deadline()
                .is_none_or(|at| at.remaining().is_zero())
        {
            self.ledger.set_phase(Phase::Killing);
        }
    }

    /// When the stop signal follows the end of standard input, if that has come.
    fn stop_after_input(&self) -> Option<Instant> {
        let grace = self.ledger.policy().grace;
        self.input_ended.map(|at| at.after(grace / 2))
    }

    /// Whether what is left is none of our business.
    fn is_over(&self) -> bool {
        let ended = self.ledger.status().is_some();
        match (&self.tree, self.options.on_exit) {
            (Tree::CommandAlone, _) => ended,
            (_, OnExit::Leave) => {
                ended && self.ledger.phase() == Phase::Running && self.input_ended.is_none()
            }
            _ => false,
        }
    }

    /// Members of the cgroup that are no children of anybody here: they were moved into it.
    fn has_strangers(&self) -> bool {
        match &self.tree {
            Tree::Cgroup(cgroup) => cgroup.is_populated(),
            _ => false,
        }
    }

    /// One sweep of SIGKILL, if it is time for one.
    fn kill(&self, kill: &mut Kill) {
        if !kill.is_due() {
            return;
        }
        let began = Instant::now();
        let found = match &self.tree {
            Tree::CommandAlone => {
                self.signal_command(Signal::KILL);
                u32::from(self.command.is_some())
            }
            Tree::Namespace(inside) => {
                let _ = inside.signal_all_others(libc::SIGKILL);
                1
            }
            Tree::Cgroup(cgroup) => {
                let _ = cgroup.kill();
                self.sweep(kill)
            }
            Tree::Descendants => self.sweep(kill),
        };
        if kill.note(began) >= REPORT_AFTER && !kill.reported && found > 0 {
            kill.reported = true;
            self.status.report(Event::Unkillable { count: found });
        }
    }

    /// SIGKILL to children that a sweep came too late for: after each, and while there are such.
    fn catch(&self, kill: &mut Kill) {
        if !kill.moving || matches!(self.tree, Tree::CommandAlone | Tree::Namespace(_)) {
            return;
        }
        let Some(proc) = &self.proc else { return };
        let mut fresh = 0;
        kill.moving = tree::kill_youngest_children(proc, |number| {
            fresh += u32::from(kill.killed.insert(number));
        });
        self.ledger.add_killed(fresh);
    }

    /// SIGKILL to all descendants; how many live.
    fn sweep(&self, kill: &mut Kill) -> u32 {
        let mut fresh = 0;
        let swept = self.signal_descendants(&[Signal::KILL], Of::All, &HashSet::new(), |number| {
            fresh += u32::from(kill.killed.insert(number));
        });
        // It does not need to be found.
        self.signal_command(Signal::KILL);
        self.ledger.add_killed(fresh);
        if fresh > 0 {
            kill.pause = FIRST_PAUSE;
        }
        swept.map_or(1, |swept| swept.found)
    }

    fn timeout(&self, kill: &Kill) -> Option<Duration> {
        match self.ledger.phase() {
            Phase::Stopping => self.ledger.deadline().map(Instant::remaining),
            Phase::Killing => Some(kill.until_next()),
            Phase::Running => self.stop_after_input().map(Instant::remaining),
            _ => None,
        }
    }

    fn wait(&self, timeout: Option<Duration>) {
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        let mut fds = vec![PollFd::from_borrowed_fd(
            self.signals.as_fd(),
            PollFlags::IN,
        )];
        fds.extend(self.watch.poll_fd());
        let readable = |fd| PollFd::from_borrowed_fd(fd, PollFlags::IN);
        fds.extend(self.line.as_ref().map(|line| readable(line.as_fd())));
        fds.extend(self.above.as_ref().map(|above| readable(above.as_fd())));
        // Whatever it answers, everything is looked at. The shim does not start where poll(2) is refused.
        let _ = poll(&mut fds, timeout.as_ref());
    }

    fn take_signals(&mut self, kill: &mut Kill) {
        for _ in 0..HEARD_AT_ONCE {
            let Some(arrived) = sys::next_signal(&self.signals) else {
                break;
            };
            if self.is_addressed(arrived) {
                self.obey(signals::meaning(arrived, self.place), kill);
            }
        }
    }

    /// Whoever wants something of the shim tells OUTER. A signal that comes here as well was sent to every process in
    /// sight, as by a service manager or by another shim above: it was meant once. Only COMMAND's tree in a PID namespace
    /// sees no other process of the shim.
    fn is_addressed(&self, arrived: ReceivedSignal) -> bool {
        match (&self.line, &self.tree) {
            (None, _) => true,
            (Some(_), Tree::Namespace(_)) => arrived.sender != 0,
            (Some(_), _) => false,
        }
    }

    fn take_messages(&mut self, kill: &mut Kill) {
        for _ in 0..HEARD_AT_ONCE {
            match self.line.as_ref().map(Line::hear) {
                Some(Heard::Message(Message::Signal(signal))) => {
                    self.obey(signals::meaning_of_forwarded(signal), kill);
                }
                Some(Heard::Message(_)) => {}
                Some(Heard::End) => {
                    self.line = None;
                    self.stop(Cause::OuterDied);
                }
                Some(Heard::Nothing) | None => break,
            }
        }
    }

    fn obey(&mut self, meaning: Meaning, kill: &mut Kill) {
        let stopping = self.ledger.phase() == Phase::Stopping;
        match meaning {
            // Who stops a whole machine asks everybody: the tree may be stopping already, since the runtime was asked too.
            Meaning::Stop if !self.asked => {
                self.asked = true;
                self.stop(Cause::Asked);
            }
            // The second one: whoever asks has lost patience.
            Meaning::Stop | Meaning::Interrupt if stopping => {
                self.ledger.set_deadline(Instant::now());
            }
            Meaning::Interrupt => self.signal_command(Signal::INT),
            // A shell's fg continues the whole group, COMMAND with it: it is not to hear of that twice.
            Meaning::Forward(Signal::CONT) if self.place.session == Session::Keep => {
                self.reap(kill);
                if self.stopped {
                    self.signal_command(Signal::CONT);
                }
            }
            Meaning::Forward(signal) => self.signal_command(signal),
            Meaning::Stop | Meaning::Nothing => {}
        }
    }

    fn look(&mut self) {
        match self.watch.look() {
            News::Lives => {}
            News::Died => self.stop(Cause::RuntimeDied),
            News::Dropped => self.stop(Cause::RuntimeDropped),
            News::InputEnded { .. } => self.input_ended = Some(Instant::now()),
        }
        let gone = |process: &Process| matches!(process.try_wait(), Ok(Some(_)));
        if self.above.as_ref().is_some_and(gone) {
            self.above = None;
            self.stop(Cause::StandbyDied);
        }
    }

    /// Never by counting SIGCHLD: several children may end with one of it.
    fn reap(&mut self, kill: &mut Kill) -> Reaped {
        for _ in 0..REAPED_AT_ONCE {
            match sys::peek_state_change() {
                Ok(Some(news)) => {
                    let is_command = self.command.as_ref().map(Process::pid) == Some(news.pid);
                    let taken = match news.ended {
                        Some(status) => {
                            if is_command {
                                self.note_end(news.pid, status);
                            }
                            self.count(kill, news.pid, status, is_command);
                            sys::reap(news.pid)
                        }
                        None => sys::take_stop(news.pid).map(|stopped| {
                            if let (true, Some(stopped)) = (is_command, stopped) {
                                self.note_stop(stopped);
                            }
                        }),
                    };
                    // Nobody else takes the news; should it be gone all the same, this is no loop.
                    if taken.is_err() {
                        return Reaped::All;
                    }
                }
                Err(Errno::CHILD) => return Reaped::Nobody,
                Err(Errno::INTR) => {}
                Ok(None) | Err(_) => return Reaped::All,
            }
        }
        Reaped::More
    }

    /// COMMAND has ended, and still has its number: whoever takes over must not take a stranger for it.
    fn note_end(&mut self, pid: Pid, status: ExitStatus) {
        let group = self.proc.as_ref().and_then(|proc| proc.group_of(pid));
        if let Some(group) = group {
            self.ledger.set_group(group);
        }
        self.ledger.set_status(status);
        self.command = None;
        self.stopped = false;
        self.status.report(Event::Exited { status });
    }

    /// One of the tree that was killed, unless a sweep has counted it already.
    fn count(&self, kill: &mut Kill, pid: Pid, status: ExitStatus, is_command: bool) {
        let counted = kill.killed.remove(&pid.as_raw_nonzero().get());
        let ours = is_command || !matches!(self.tree, Tree::CommandAlone);
        let killed = status.signal() == Some(Signal::KILL.as_raw());
        if killed && ours && !counted && self.ledger.phase() == Phase::Killing {
            self.ledger.add_killed(1);
        }
    }

    /// COMMAND was stopped or continued.
    fn note_stop(&mut self, stopped: bool) {
        self.stopped = stopped;
        if stopped
            && self.place.session == Session::Keep
            && let Some(line) = &self.line
        {
            line.say(Message::Stopped);
        }
    }
}

/// What a round of reaping left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reaped {
    /// There may be more.
    More,
    /// All that have ended so far.
    All,
    /// There is no child at all: the tree is empty.
    Nobody,
}

/// How far the killing has got.
#[derive(Debug)]
struct Kill {
    /// Who was killed by a sweep and not reaped here since.
    killed: HashSet<i32>,
    begun: Option<Instant>,
    next: Option<Instant>,
    pause: Duration,
    reported: bool,
    /// There may be children whom no sweep comes to in time.
    moving: bool,
}

impl Default for Kill {
    fn default() -> Kill {
        Kill {
            killed: HashSet::new(),
            begun: None,
            next: None,
            pause: FIRST_PAUSE,
            reported: false,
            moving: false,
        }
    }
}

impl Kill {
    fn is_due(&self) -> bool {
        self.next.is_none_or(|next| next.remaining().is_zero())
    }

    fn until_next(&self) -> Duration {
        self.next.map_or(Duration::ZERO, Instant::remaining)
    }

    /// A sweep was done that began then; how long ago the first was done. The pause is as long as the sweep was, or
    /// longer: those whom it has killed are many where it was long, and are to be reaped before the next one.
    fn note(&mut self, sweep_began: Instant) -> Duration {
        let now = Instant::now();
        let begun = *self.begun.get_or_insert(now);
        self.next = Some(now.after(self.pause.max(now.since(sweep_began))));
        self.pause = (self.pause * 2).min(LAST_PAUSE);
        self.moving = true;
        now.since(begun)
    }
}
