//! The processes of the shim, and who does what.
//!
//! OUTER is the one that the runtime knows. STANDBY stands between OUTER and INNER, and takes over when INNER is killed;
//! INNER starts COMMAND and is in charge of the tree. All three are subreapers, so that the orphans of whoever was killed
//! come to the next one above. In a PID namespace there is no STANDBY: the kernel itself ends all that is in it with INNER.
//! Where OUTER is pid 1 already, it does everything alone.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use pidfd_watcher::Process;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_getfl};
use rustix::io::{Errno, retry_on_intr};
use rustix::process::{
    DumpableBehavior, Pid, Signal, WaitId, WaitIdOptions, chdir, kill_process, set_child_subreaper,
    set_dumpable_behavior, setsid, test_kill_process, waitid,
};

use crate::child::Image;
use crate::failure::{Failure, REFUSED};
use crate::instant::Instant;
use crate::keeper::{HEARD_AT_ONCE, Keeper, Tree};
use crate::ledger::{Ledger, Phase};
use crate::line::{Heard, Line, Message};
use crate::namespace::{self, How};
use crate::options::{self, ExitAs, Options, Session};
use crate::plan::{Containment, Plan};
use crate::policy::Policy;
use crate::signals::{self, Meaning, Place};
use crate::status::{Event, Status};
use crate::sys::{self, Forked, InheritedSignals, NamespaceInit, SoleThread};
use crate::tree::Proc;
use crate::watch::{News, Parent, Watch};

/// How the shim is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Code(u8),
    /// Of this signal, as COMMAND did.
    Signal(i32),
}

/// What every process of the shim has.
struct Shim<'a> {
    alone: SoleThread,
    options: &'a Options,
    session: Session,
    containment: Containment,
    ledger: Ledger,
    status: Option<OwnedFd>,
    born: InheritedSignals,
    parent: Parent,
    proc: Option<Proc>,
}

/// What INNER has of STANDBY.
struct Above {
    standby: Process,
    /// Closed once COMMAND runs.
    _starting: OwnedFd,
}

/// A pipe that continues OUTER, should that be stopped, when the tree is gone: nobody else would, once the runtime has let
/// go, and OUTER would stay for ever. COMMAND may have stopped it, and Ctrl-Z stops both.
///
/// The kernel does it when something is written, and when the processes below OUTER are gone. It is set up before they
/// exist, since OUTER may be stopped at any time.
struct Wake {
    _read: OwnedFd,
    write: OwnedFd,
}

impl Wake {
    fn make() -> io::Result<Wake> {
        let (read, write) = sys::pipe()?;
        // A filter that refuses it takes this alone.
        let _ = sys::continue_at_news_of(&read);
        Ok(Wake { _read: read, write })
    }

    /// Below OUTER: nothing is left to be done.
    fn done(&self) {
        let _ = rustix::io::write(&self.write, &[0]);
    }
}

/// Runs COMMAND under the shim. In OUTER it comes back when the tree is gone; the others end on the way.
pub(crate) fn run(alone: SoleThread, options: &Options) -> Result<End, Failure> {
    let parent = match options.watch {
        options::Watch::Parent => Parent::Alive(Parent::open()?),
        // Not needed where the environment names a watchdog; then it is no error that the parent cannot be watched.
        options::Watch::Default => Parent::look(),
        _ => Parent::NotWatched,
    };
    check_calls()?;
    let session = options.session.unwrap_or_else(default_session);
    let failed = |what: &'static str| move |error: io::Error| Failure::io(what, &error);
    // Before anything is forked: where the caller ignores SIGCHLD, no child could be waited for.
    let born = sys::take_signals().map_err(failed("signals cannot be blocked"))?;
    let plan = Plan::make(&alone, options)?;
    let status = status_fd(&alone, options)?;
    let ledger = Ledger::shared().map_err(failed("no shared page"))?;
    let shim = Shim {
        alone,
        options,
        session,
        containment: plan.containment,
        ledger,
        status,
        born,
        parent,
        proc: plan.proc,
    };
    match shim.containment {
        Containment::AlreadyInit => shim.run_alone(),
        Containment::PidNamespace(how) => shim.run_namespace(how),
        Containment::Subreaper | Containment::Cgroup(_) | Containment::None => shim.run_pair(),
    }
}

/// What everything here stands on. A filter that refuses one of these calls is told here, where nothing was started.
///
/// All that waits here waits by the first three: a loop over a wait that fails burns a processor, and a keeper that takes a
/// refusal for an end ends the tree. One that cannot signal anybody never ends it. Where nothing can be closed, no pipe and
/// no line ever ends, and std panics when it has listed a folder.
pub(crate) fn check_calls() -> Result<(), Failure> {
    sys::monotonic_nanoseconds().map_err(|error| Failure::io("clock_gettime(2)", &error))?;
    poll(&mut [], Some(&Timespec::default()))
        .map_err(|errno| Failure::io("poll(2)", &errno.into()))?;
    match sys::peek_state_change() {
        Ok(_) | Err(Errno::CHILD) => {}
        Err(errno) => return Err(Failure::io("waitid(2)", &errno.into())),
    }
    let own = sys::own_pid().map_err(|error| Failure::io("getpid(2)", &error))?;
    test_kill_process(own).map_err(|errno| Failure::io("kill(2)", &errno.into()))?;
    let own = Process::open(own).map_err(|error| Failure::io("pidfd_open(2)", &error.into()))?;
    sys::can_signal(own.as_fd()).map_err(|error| Failure::io("pidfd_send_signal(2)", &error))?;
    sys::try_close().map_err(|error| Failure::io("close(2)", &error))
}

fn default_session() -> Session {
    if rustix::termios::isatty(io::stdin()) {
        Session::Keep
    } else {
        Session::New
    }
}

fn status_fd(alone: &SoleThread, options: &Options) -> Result<Option<OwnedFd>, Failure> {
    let Some(number) = options.status_fd else {
        return Ok(None);
    };
    let name = format!("--status-fd={number}");
    let fd = if options.watch == options::Watch::Fd(number) {
        // The lifetime hangs on the same socket, whose number has its owner there.
        sys::inherited_duplicate(alone, number)
    } else {
        sys::inherited_descriptor(alone, number)
    };
    let fd = fd.map_err(|error| Failure::descriptor(&name, &error))?;
    let flags = fcntl_getfl(&fd).map_err(|error| Failure::io(&name, &error.into()))?;
    if flags & OFlags::ACCMODE == OFlags::RDONLY {
        return Err(Failure::refused(format!(
            "{name}: not open for writing; give the shim the write end of a pipe"
        )));
    }
    Ok(Some(fd))
}

impl<'a> Shim<'a> {
    /// OUTER, STANDBY and INNER.
    fn run_pair(self) -> Result<End, Failure> {
        let failed = |error: io::Error| Failure::io("the shim cannot be set up", &error);
        hide();
        let (ours, theirs) = Line::pair().map_err(failed)?;
        become_subreaper().map_err(failed)?;
        let wake = Wake::make().map_err(failed)?;
        match sys::fork(&self.alone).map_err(failed)? {
            Forked::Parent(child) => {
                drop(theirs);
                let Wake { _read, write } = wake;
                drop(write);
                self.outer(&ours, child)
            }
            Forked::Child => {
                drop(ours);
                self.standby(theirs, &wake)
            }
        }
    }

    /// OUTER, and INNER in a PID namespace.
    fn run_namespace(self, how: How) -> Result<End, Failure> {
        let failed = |error: io::Error| Failure::io("--contain=pidns", &error);
        let (ours, theirs) = Line::pair().map_err(failed)?;
        namespace::enter(&self.alone, how.user).map_err(failed)?;
        // Not before: the files in /proc that set up a user namespace would be root's.
        hide();
        let wake = Wake::make().map_err(failed)?;
        match sys::fork(&self.alone).map_err(failed)? {
            Forked::Parent(child) => {
                drop(theirs);
                let Wake { _read, write } = wake;
                drop(write);
                self.outer(&ours, child)
            }
            Forked::Child => {
                drop(ours);
                let inside = NamespaceInit::of_this_process(&self.alone).and_then(|inside| {
                    if how.proc {
                        namespace::mount_proc()?;
                    }
                    Ok(inside)
                });
                match inside {
                    Ok(inside) => {
                        // The one that was open shows another PID namespace.
                        let proc = Proc::open().ok();
                        Shim { proc, ..self }.inner(Some(theirs), None, Some(inside), &wake)
                    }
                    Err(error) => self.refuse(&failed(error), &wake),
                }
            }
        }
    }

    /// OUTER is pid 1, and does everything.
    fn run_alone(self) -> Result<End, Failure> {
        hide();
        let ledger = self.ledger;
        let exit = self.options.exit;
        // Without a /proc of its own all of the namespace is the tree, as it is anyway when this process ends.
        let inside = match self.proc {
            Some(_) => None,
            None => NamespaceInit::of_this_process(&self.alone).ok(),
        };
        let keeper = self.start(None, None, inside)?;
        keeper.run();
        Ok(end(ledger, exit))
    }

    /// Passes signals on until nobody is left on the other side of the line.
    fn outer(self, line: &Line, child: Pid) -> Result<End, Failure> {
        let failed = |error: io::Error| Failure::io("the shim cannot be set up", &error);
        let signals = sys::signal_fd().map_err(failed)?;
        let place = Place::here(self.session);
        loop {
            let mut fds = [
                PollFd::new(&signals, PollFlags::IN),
                PollFd::from_borrowed_fd(line.as_fd(), PollFlags::IN),
            ];
            // Whatever it answers, both are looked at.
            let _ = poll(&mut fds, None);
            continue_if_stopped(child);
            for _ in 0..HEARD_AT_ONCE {
                let Some(arrived) = sys::next_signal(&signals) else {
                    break;
                };
                let signal = match signals::meaning(arrived, place) {
                    Meaning::Nothing => continue,
                    Meaning::Stop | Meaning::Interrupt | Meaning::Forward(_) => arrived.signal,
                };
                line.say(Message::Signal(signal));
            }
            match line.hear() {
                Heard::Message(Message::Started) => let_go_of_inherited(&self.alone),
                Heard::Message(Message::Stopped) => {
                    sys::stop_here();
                    // Continued: by a shell's fg, or by whoever stopped us.
                    line.say(Message::Signal(libc::SIGCONT));
                }
                Heard::Message(Message::Signal(_)) | Heard::Nothing => {}
                Heard::End => break,
            }
        }
        let (ledger, exit) = (self.ledger, self.options.exit);
        let containment = self.containment.clone();
        if ledger.phase() == Phase::Done {
            // Whoever gets its orphans may not reap them: it has ended, or is about to.
            let _ = sys::reap(child);
        } else {
            self.take_over(signals, None);
        }
        if let Containment::Cgroup(cgroup) = containment {
            // Where INNER has started nothing, nobody has removed it yet.
            cgroup.remove();
        }
        Ok(end(ledger, exit))
    }

    /// Starts INNER, and takes over if that is killed.
    fn standby(self, line: Line, wake: &Wake) -> ! {
        let failed = |error: io::Error| Failure::io("the shim cannot be set up", &error);
        let prepared = become_subreaper().and_then(|()| {
            let (started, starting) = sys::pipe()?;
            let above = Above {
                standby: Process::open(sys::own_pid()?)?,
                _starting: starting,
            };
            Ok((above, started, sys::fork(&self.alone)?))
        });
        match prepared {
            Err(error) => self.refuse(&failed(error), wake),
            Ok((above, started, Forked::Child)) => {
                drop(started);
                self.inner(Some(line), Some(above), None, wake)
            }
            Ok((above, started, Forked::Parent(pid))) => {
                drop(above);
                // A session of its own: no terminal's signal comes here, and no group's.
                let _ = setsid();
                // Without the descriptor the line ends with this process, and OUTER takes over.
                let Ok(signals) = sys::signal_fd() else {
                    sys::exit_now(REFUSED)
                };
                // Nothing more until COMMAND runs, or INNER has ended: COMMAND's start takes less time so.
                until_news_of(&started, pid, &signals);
                let_go_of_inherited(&self.alone);
                until_the_end_of(pid, &signals);
                if self.ledger.phase() == Phase::Done {
                    let _ = sys::reap(pid);
                } else {
                    self.take_over(signals, Some(line));
                    wake.done();
                }
                sys::exit_now(0)
            }
        }
    }

    /// Starts COMMAND and is in charge of the tree.
    fn inner(
        self,
        line: Option<Line>,
        above: Option<Above>,
        inside: Option<NamespaceInit>,
        wake: &Wake,
    ) -> ! {
        let (ledger, code) = (self.ledger, 0);
        match self.start(line, above, inside) {
            Ok(keeper) => keeper.run(),
            Err(failure) => refuse(ledger, &failure),
        }
        wake.done();
        sys::exit_now(code)
    }

    fn refuse(&self, failure: &Failure, wake: &Wake) -> ! {
        refuse(self.ledger, failure);
        wake.done();
        sys::exit_now(failure.code())
    }

    /// Containment is there; arms the watches, looks once whether the runtime is gone already, and executes COMMAND.
    fn start(
        self,
        line: Option<Line>,
        above: Option<Above>,
        inside: Option<NamespaceInit>,
    ) -> Result<Keeper<'a>, Failure> {
        let failed = |error: io::Error| Failure::io("the shim cannot be set up", &error);
        if line.is_some() && inside.is_none() {
            become_subreaper().map_err(failed)?;
        }
        let mut watch = Watch::arm(&self.alone, self.options, self.parent)?;
        let inherited = watch.stop_policy();
        self.ledger.set_policy(Policy {
            signal: (self.options.stop_signal)
                .or(inherited.map(|policy| policy.stop_signal()))
                .unwrap_or(Policy::default().signal),
            grace: (self.options.stop_timeout)
                .or(inherited.map(|policy| policy.grace_period()))
                .unwrap_or(Policy::default().grace),
        });
        let signals = sys::signal_fd().map_err(failed)?;
        let image = Image::of(self.options, self.session, self.born, &self.containment)?;
        let input_ended = match watch.look() {
            News::Lives => None,
            // What the runtime has written before it went is COMMAND's.
            News::InputEnded { unread: true } => Some(Instant::now()),
            News::Died | News::Dropped | News::InputEnded { unread: false } => {
                return Err(Failure::refused(
                    "the runtime is gone already: nothing was started",
                ));
            }
        };
        let command = image.start(&self.alone, self.ledger, self.options, self.proc.as_ref())?;
        self.ledger.set_phase(Phase::Running);
        // What this process changes of itself from here on is none of COMMAND's business.
        if line.is_some() {
            let _ = setsid();
        }
        let status = Status::to(self.status);
        status.report(Event::Started { pid: command.pid() });
        protect();
        let_go_of_inherited(&self.alone);
        // The others let go now.
        if let Some(line) = &line {
            line.say(Message::Started);
        }
        let above = above.map(|Above { standby, .. }| standby);
        Ok(Keeper {
            options: self.options,
            place: Place::here(self.session),
            proc: self.proc,
            ledger: self.ledger,
            status,
            tree: match (self.containment, inside) {
                (Containment::None, _) => Tree::CommandAlone,
                (_, Some(inside)) => Tree::Namespace(inside),
                (Containment::Cgroup(cgroup), None) => Tree::Cgroup(cgroup),
                _ => Tree::Descendants,
            },
            signals,
            line,
            above,
            watch,
            command: Some(command),
            stopped: false,
            input_ended,
            asked: false,
        })
    }

    /// In STANDBY or OUTER, when all below it were killed.
    fn take_over(self, signals: OwnedFd, line: Option<Line>) {
        protect();
        // It is this process's child now, or will be as soon as INNER is gone. Once its status is known it was reaped, and
        // its number may be a stranger's. In a PID namespace it had another number, and the kernel has ended it.
        let command = match (self.ledger.status(), &self.containment) {
            (Some(_), _) | (_, Containment::PidNamespace(_)) => None,
            (None, _) => self.ledger.command(),
        };
        let command = command.and_then(|pid| Process::open(pid).ok());
        let keeper = Keeper {
            options: self.options,
            place: Place::here(self.session),
            proc: self.proc,
            ledger: self.ledger,
            status: Status::to(self.status),
            tree: match self.containment {
                Containment::None => Tree::CommandAlone,
                Containment::Cgroup(cgroup) => Tree::Cgroup(cgroup),
                _ => Tree::Descendants,
            },
            signals,
            line,
            above: None,
            watch: Watch::Released,
            command,
            stopped: false,
            input_ended: None,
            asked: false,
        };
        keeper.take_over();
    }
}

/// Waits for the end of INNER, and keeps it going until then.
fn until_the_end_of(inner: Pid, signals: &OwnedFd) {
    // A child that nobody else reaps: its number is its own.
    if let Ok(process) = Process::open(inner) {
        while let Ok(None) = process.try_wait() {
            until_news_of(&process, inner, signals);
        }
    }
    // Tells of its end at once where the loop has seen that; without a pidfd it waits. No other answer is an end.
    let ended = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    let _ = retry_on_intr(|| waitid(WaitId::Pid(inner), ended));
}

/// Waits until that can be read, and keeps INNER going until then.
fn until_news_of(what: &impl AsFd, inner: Pid, signals: &OwnedFd) {
    loop {
        continue_if_stopped(inner);
        let mut fds = [
            PollFd::new(what, PollFlags::IN),
            PollFd::new(signals, PollFlags::IN),
        ];
        // An error says nothing, and there is no other way to wait.
        let _ = poll(&mut fds, None);
        if !fds[0].revents().is_empty() {
            return;
        }
        for _ in 0..HEARD_AT_ONCE {
            if sys::next_signal(signals).is_none() {
                break;
            }
        }
    }
}

/// COMMAND of the same user may stop a process of the shim, and would put off its own end so. The parent continues it. The
/// child is not reaped before, so that the number is its own.
fn continue_if_stopped(child: Pid) {
    let stopped = WaitIdOptions::STOPPED | WaitIdOptions::NOHANG;
    if let Ok(Some(status)) = waitid(WaitId::Pid(child), stopped)
        && status.stopped()
    {
        let _ = kill_process(child, Signal::CONT);
    }
}

/// COMMAND may have the same user. It cannot trace a process that is not dumpable, read its memory or open its descriptors,
/// unless it has `CAP_SYS_PTRACE`. The next exec, which is COMMAND's, makes its own process dumpable again.
fn hide() {
    // The kernel refuses no valid value; a filter that does takes this protection alone.
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
}

/// Orphans come here then, COMMAND among them where INNER was killed: also with `--contain=none`.
fn become_subreaper() -> io::Result<()> {
    set_child_subreaper(Some(sys::own_pid()?))?;
    Ok(())
}

/// Nothing was started, or it could not become COMMAND.
fn refuse(ledger: Ledger, failure: &Failure) {
    failure.tell();
    ledger.set_refusal(failure.code());
    ledger.set_phase(Phase::Done);
}

fn end(ledger: Ledger, exit: ExitAs) -> End {
    if let Some(code) = ledger.refusal() {
        return End::Code(code);
    }
    let Some(status) = ledger.status() else {
        // COMMAND was never seen to end: it was reaped by somebody else, or never ran.
        return End::Code(REFUSED);
    };
    of_status(status, exit)
}

fn of_status(status: ExitStatus, exit: ExitAs) -> End {
    match (status.signal(), exit) {
        (Some(signal), ExitAs::Mirror) => End::Signal(signal),
        (Some(signal), ExitAs::Shell) => End::Code(u8::try_from(128 + signal).unwrap_or(u8::MAX)),
        (None, _) => End::Code(u8::try_from(status.code().unwrap_or(0)).unwrap_or(u8::MAX)),
    }
}

/// What COMMAND inherits is COMMAND's alone: whoever waits for the end of a stream or a pipe must not wait for the shim's.
///
/// All that is the shim's own is close-on-exec, and nothing that came through an exec can be. The working directory is let
/// go of too: the shim must not keep a file system busy that COMMAND has left.
fn let_go_of_inherited(alone: &SoleThread) {
    let _ = chdir("/");
    for number in inherited_numbers().unwrap_or_default() {
        sys::close_inherited(alone, number);
    }
    let Ok(null) = File::options().read(true).write(true).open("/dev/null") else {
        return;
    };
    let _ = rustix::stdio::dup2_stdin(&null);
    let _ = rustix::stdio::dup2_stdout(&null);
    let _ = rustix::stdio::dup2_stderr(&null);
}

/// The numbers above the standard streams that are open here. Without /proc they are not found, and stay open.
fn inherited_numbers() -> io::Result<Vec<RawFd>> {
    let entries = fs::read_dir("/proc/self/fd")?;
    let number = |entry: io::Result<fs::DirEntry>| entry.ok()?.file_name().to_str()?.parse().ok();
    Ok(entries
        .filter_map(number)
        .filter(|number| *number > 2)
        .collect())
}

/// What may be refused: not to be chosen when memory runs out, and room for the pidfds of a sweep.
fn protect() {
    if let Ok(mut file) = OpenOptions::new()
        .write(true)
        .open("/proc/self/oom_score_adj")
    {
        let _ = io::Write::write_all(&mut file, b"-900");
    }
    sys::raise_descriptor_limit();
}
