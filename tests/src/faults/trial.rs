//! One run of a scenario, with or without a fault, and all that is seen of it from outside.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::ExitStatus;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};

use crate::Folder;
use crate::notify::{Answer, Listener, Notified};

use super::arms::Arms;
use super::filter::{self, ALWAYS};
use super::marker::{MARKER, Marker};
use super::scene::Scenario;
use super::spec::Fault;
use super::told::{Holdings, OUTPUT, TOLD, Told};
use super::world::World;
use super::{signals, subject};

/// How long a scenario may take. The longest of the waits that our crates promise to bound is the
/// twenty seconds for a supervised tree that does not vanish.
const DEADLINE: Duration = Duration::from_secs(45);

/// How long those whom a subject has left behind have to end by themselves: the watchdog's grace.
const TO_VANISH: Duration = Duration::from_secs(5);

/// How often each call was made under arms, by whom.
pub type Calls = BTreeMap<(i32, libc::c_long), u32>;

/// What was seen of a run.
#[derive(Debug, Default)]
pub struct Seen {
    pub calls: Calls,
    /// Whether the fault came.
    pub has_come: bool,
    /// The fault was left out: it would say that a descriptor is not open to whoever has it open,
    /// and std ends the process then.
    pub is_unreal: bool,
    /// What the call was that failed.
    pub at: String,
    /// `None`: it was still there when the deadline passed.
    pub ended: Option<ExitStatus>,
    pub told: Option<Told>,
    /// What it and its children wrote to standard output and error.
    pub output: String,
    /// Signals that could have reached somebody else.
    pub stray_signals: Vec<String>,
    pub strangers_lived: bool,
    /// Who was left, as /proc describes them.
    pub left: Vec<String>,
    pub took: Duration,
}

/// The memory that subject and injector share: on which number the subject has the listener, and
/// whether it was taken.
#[derive(Debug)]
struct Cue(&'static AtomicI32);

const TAKEN: i32 = -1;

impl Cue {
    fn new() -> Cue {
        // SAFETY: a new mapping of a page, which is never unmapped, zeroed: valid for an atomic.
        let word = unsafe {
            let page = libc::mmap(
                std::ptr::null_mut(),
                4096,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_ANONYMOUS,
                -1,
                0,
            );
            assert_ne!(page, libc::MAP_FAILED, "mmap");
            &*page.cast::<AtomicI32>()
        };
        Cue(word)
    }

    fn wait(&self, is_come: impl Fn(i32) -> bool) -> i32 {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let value = self.0.load(Ordering::Acquire);
            if is_come(value) {
                return value;
            }
            assert!(Instant::now() < deadline, "deadline passed: the listener");
            std::thread::yield_now();
        }
    }
}

/// Runs scenarios, one at a time.
#[derive(Debug)]
pub struct Injector {
    world: World,
    cue: Cue,
    folder: Folder,
    /// Put in the place of what is not closed.
    not_closed: OwnedFd,
    next: u32,
}

/// A run in progress.
struct Run<'a> {
    fault: Option<&'a Fault>,
    listener: Listener,
    not_closed: &'a OwnedFd,
    first: i32,
    arms: Arms,
    seen: Seen,
}

impl Injector {
    /// # Panics
    /// As [`World::new`].
    #[must_use]
    pub fn new() -> Injector {
        World::mount();
        let folder = Folder::new();
        crate::namespace::mount_tmpfs(folder.path(), "size=64m");
        let name = super::told::NOT_CLOSED.trim_start_matches("/memfd:");
        Injector {
            world: World::new(),
            cue: Cue::new(),
            folder,
            not_closed: memfd_create(name, MemfdFlags::CLOEXEC).expect("memfd_create"),
            next: 0,
        }
    }

    /// Runs it once.
    ///
    /// # Panics
    /// If a call of the injector's own fails.
    pub fn run(
        &mut self,
        scenario: &Scenario,
        fault: Option<&Fault>,
        reference: Option<&Holdings>,
    ) -> Seen {
        self.next += 1;
        let folder = self.folder.join(format!("case-{}", self.next));
        fs::create_dir(&folder).expect("a folder");
        let output = File::create(folder.join(OUTPUT)).expect("a file");
        self.cue.0.store(0, Ordering::Release);
        let began = Instant::now();
        // SAFETY: this process has one thread.
        let first = match unsafe { libc::fork() } {
            -1 => panic!("fork: {}", std::io::Error::last_os_error()),
            0 => {
                let call = fault.map(|fault| fault.call);
                let cue = &self.cue;
                subject::be(scenario, &folder, &output, reference, || listen(call, cue));
            }
            pid => pid,
        };
        let pid = Pid::from_raw(first).expect("a pid");
        let process = pidfd_open(pid, PidfdFlags::empty()).expect("pidfd_open");
        let number = self.cue.wait(|number| number != 0);
        let listener = pidfd_getfd(&process, number, PidfdGetfdFlags::empty());
        let listener = listener.expect("pidfd_getfd");
        self.cue.0.store(TAKEN, Ordering::Release);
        let mut run = Run {
            fault,
            listener: Listener::from_fd(listener),
            not_closed: &self.not_closed,
            first,
            arms: Arms::default(),
            seen: Seen::default(),
        };
        run.serve_until_end(&process, began + DEADLINE);
        run.arms.follow(Marker::Disarm, first);
        if run.seen.ended.is_some() {
            run.serve_until_alone(&self.world);
        }
        let mut seen = run.seen;
        seen.took = began.elapsed();
        seen.left = self.world.living().into_iter().map(describe).collect();
        // The filters of those who are left go with the listener, or they could not even end.
        drop(run.listener);
        seen.strangers_lived = self.world.clear();
        seen.output = read(&folder.join(OUTPUT));
        seen.told = serde_json::from_str(&read(&folder.join(TOLD))).ok();
        fs::remove_dir_all(&folder).expect("remove a folder");
        seen
    }
}

impl Default for Injector {
    fn default() -> Injector {
        Injector::new()
    }
}

/// In the subject: its calls are held from here on.
fn listen(call: Option<libc::c_long>, cue: &Cue) {
    let mut program = filter::program(call);
    let flags = libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV;
    let listener = Listener::install(&mut program, flags).expect("seccomp");
    cue.0.store(listener.as_fd().as_raw_fd(), Ordering::Release);
    cue.wait(|value| value == TAKEN);
}

impl Run<'_> {
    fn serve_until_end(&mut self, process: &OwnedFd, deadline: Instant) {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let mut fds = [
                PollFd::new(&self.listener, PollFlags::IN),
                PollFd::new(process, PollFlags::IN),
            ];
            let limit = Timespec::try_from(left).expect("a short time");
            let _ = poll(&mut fds, Some(&limit));
            let [held, ended] = [0, 1].map(|index: usize| fds[index].revents());
            if held.contains(PollFlags::IN) {
                self.serve();
            } else if ended.contains(PollFlags::IN) {
                let mut status = 0;
                // SAFETY: a place for the status; the child is ours, and not reaped.
                let reaped = unsafe { libc::waitpid(self.first, &raw mut status, 0) };
                assert_eq!(reaped, self.first, "waitpid");
                self.seen.ended = Some(ExitStatus::from_raw(status));
                return;
            } else if left.is_zero() {
                // Nothing waits for this process, which may have been held up itself.
                return;
            }
        }
    }

    /// Those who are left may still have calls to make.
    fn serve_until_alone(&mut self, world: &World) {
        let deadline = Instant::now() + TO_VANISH;
        while !world.living().is_empty() && Instant::now() < deadline {
            let mut fds = [PollFd::new(&self.listener, PollFlags::IN)];
            let limit = Timespec {
                tv_sec: 0,
                tv_nsec: 1_000_000,
            };
            let _ = poll(&mut fds, Some(&limit));
            if fds[0].revents().contains(PollFlags::IN) {
                self.serve();
            }
        }
    }

    fn serve(&mut self) {
        if let Some(call) = self.listener.receive().expect("SECCOMP_IOCTL_NOTIF_RECV") {
            let answer = self.answer(&call);
            let sent = self.listener.answer(call.id, answer);
            sent.expect("SECCOMP_IOCTL_NOTIF_SEND");
        }
    }

    fn answer(&mut self, call: &Notified) -> Answer {
        if call.number == libc::SYS_prctl && call.arguments[0] == u64::from(MARKER) {
            if let Some(marker) = Marker::heard(call.arguments[1]) {
                self.arms.follow(marker, call.thread);
            }
            return Answer::Zero;
        }
        if ALWAYS.contains(&call.number) {
            let stray = signals::reaches_strangers(call, self.first);
            self.seen.stray_signals.extend(stray);
        }
        let answer = if self.arms.are_on(call.thread) {
            self.count(call)
        } else {
            Answer::GoOn
        };
        if call.number == libc::SYS_execve && answer == Answer::GoOn {
            self.arms.exclude(call.thread);
        }
        answer
    }

    /// Counts the call, and answers it.
    fn count(&mut self, call: &Notified) -> Answer {
        let actor = call.thread - self.first;
        let turn = self.seen.calls.entry((actor, call.number)).or_default();
        *turn += 1;
        let is_ours = |fault: &&Fault| {
            fault.call == call.number && fault.actor == actor && fault.turn == *turn
        };
        let Some(fault) = self.fault.filter(is_ours) else {
            return Answer::GoOn;
        };
        if is_close_on_exec(call) && fault.errno == libc::EBADF {
            self.seen.is_unreal = true;
            return Answer::GoOn;
        }
        self.seen.has_come = true;
        self.seen.at = describe_call(call);
        if call.number == libc::SYS_close {
            // The kernel closes a descriptor whatever else it says; and one that is not open is
            // none that could be left behind.
            let number = u32::try_from(call.arguments[0]).unwrap_or(u32::MAX);
            let _ = self
                .listener
                .replace(call.id, number, self.not_closed.as_fd());
        }
        Answer::Fail(fault.errno)
    }
}

fn read(path: &Path) -> String {
    let bytes = fs::read(path).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// What std asks before it closes a descriptor, in debug builds.
fn is_close_on_exec(call: &Notified) -> bool {
    let command = u64::from(libc::F_GETFD.unsigned_abs());
    call.number == libc::SYS_fcntl && call.arguments[1] == command
}

/// The program that makes a call, and the file that its first argument may name.
fn describe_call(call: &Notified) -> String {
    let thread = call.thread;
    let name = read(Path::new(&format!("/proc/{thread}/comm")));
    let number = call.arguments[0];
    let file = fs::read_link(format!("/proc/{thread}/fd/{number}")).unwrap_or_default();
    let arguments = call.arguments.map(|argument| format!("{argument:x}"));
    let [name, file] = [name.trim(), &file.display().to_string()];
    format!("{name}, {file}, arguments {}", arguments.join(" "))
}

/// What /proc says of somebody who is left.
fn describe(pid: i32) -> String {
    let of = |name: &str| read(Path::new(&format!("/proc/{pid}/{name}")));
    let command = of("cmdline").replace('\0', " ");
    let stat = of("stat");
    let state = stat.rsplit(')').next().unwrap_or_default().trim();
    let state: String = state.chars().take(20).collect();
    let (wait, call) = (of("wchan"), of("syscall"));
    format!(
        "{pid} ({}) state {state} in {wait}, call {}",
        command.trim(),
        call.trim()
    )
}
