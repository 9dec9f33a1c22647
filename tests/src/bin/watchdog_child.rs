//! A shim under orders: adopts its watchdog when it is told to, and makes its own life hard.
//!
//! Enters the stage under the name in its first argument, before it adopts anything.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use watchdog_pipe::{Monitor, Signal, StopPolicy, Watchdog};
use workspace_tests::fork::Fork;
use workspace_tests::proc_fs;
use workspace_tests::stage::Role;

/// Runs before main, as the dynamic loader does what it does before main.
extern "C" fn before_main() {
    // SAFETY: getenv and raise on the only thread there is; the name is a C string.
    unsafe {
        if !libc::getenv(c"WATCHDOG_CHILD_STOPS_BEFORE_MAIN".as_ptr()).is_null() {
            libc::raise(libc::SIGSTOP);
        }
    }
}

// SAFETY: functions of the C library are all that `before_main` calls, and that library is set up first.
#[used]
#[unsafe(link_section = ".init_array")]
static BEFORE_MAIN: extern "C" fn() = before_main;

fn main() {
    named_number();
    let name = std::env::args().nth(1).expect("a name");
    let mut shim = Shim {
        stage: Role::enter(&name),
        watchdog: None,
        monitor: None,
    };
    while let Some(order) = shim.stage.next_order() {
        let words: Vec<&str> = order.split(' ').collect();
        let answer = shim
            .obey(&words)
            .unwrap_or_else(|error| format!("error {error:?}"));
        shim.stage.say(answer);
    }
}

struct Shim {
    stage: Role,
    watchdog: Option<Watchdog>,
    monitor: Option<Monitor>,
}

impl Shim {
    fn obey(&mut self, words: &[&str]) -> io::Result<String> {
        match words {
            ["adopt"] => {
                // SAFETY: no inherited descriptor was adopted before; orders come one by one.
                return Ok(match unsafe { Watchdog::from_env() } {
                    Ok(None) => "none".into(),
                    Ok(watchdog) => {
                        self.watchdog = watchdog;
                        "ok".into()
                    }
                    Err(error) => format!("{error:?}"),
                });
            }
            ["guarantees"] => return Ok(format!("{:?}", self.watchdog().guarantees())),
            ["wait"] => return Ok(format!("{:?}", self.watchdog().wait()?)),
            ["try"] => return Ok(format!("{:?}", self.watchdog().try_wait()?)),
            ["enforce", signal, grace] => {
                let signal = Signal::from_named_raw(signal.parse().expect("a number"));
                let policy = StopPolicy::new()
                    .signal(signal.expect("a signal"))
                    .grace(millis(grace));
                self.monitor = Some(self.take_watchdog().enforce(policy)?);
            }
            ["enforce-inherited"] => self.monitor = Some(self.take_watchdog().enforce_inherited()?),
            ["callback", what] => self.callback(what)?,
            ["cancel"] => {
                let monitor = self.monitor.take().expect("a monitor");
                return Ok(format!("{:?}", monitor.cancel()));
            }
            ["drop-monitor"] => drop(self.monitor.take().expect("a monitor")),
            ["sigterm", how] => sigterm(how),
            ["handle", signal] => handle(signal.parse().expect("a number"), count_it),
            ["handled"] => return Ok(HANDLED.load(Ordering::SeqCst).to_string()),
            ["hang-at-exit"] => {
                // SAFETY: a function that never returns, and touches nothing, may run at exit.
                unsafe { libc::atexit(hang_at_exit) };
            }
            // Answers, and never again: main holds a lock that it waits for.
            ["deadlock"] => {
                self.stage.say("ok");
                let lock = Mutex::new(());
                let _first = lock.lock();
                let _second = lock.lock();
            }
            // A caret stands for the line's end.
            ["stray", bytes] => own_pipe()?.write_all(bytes.replace('^', "\n").as_bytes())?,
            ["fill"] => {
                let mut pipe = own_pipe()?;
                while pipe.write(&[b'?'; 4096]).is_ok() {}
                while pipe.write(b"?").is_ok() {}
            }
            ["drain"] => {
                let mut pipe = OpenOptions::new()
                    .read(true)
                    .custom_flags(libc::O_NONBLOCK)
                    .open(format!("/proc/self/fd/{}", pipe_number()))?;
                let mut buffer = [0; 4096];
                while pipe.read(&mut buffer).is_ok_and(|count| count > 0) {}
            }
            // Closes the number behind the watchdog's back.
            ["steal"] => drop(stolen(pipe_number())),
            // As a library does that daemonizes: everything but the standard streams, and the stage here.
            ["close-everything"] => {
                for number in proc_fs::own_fds().into_keys().filter(|number| *number > 2) {
                    if number != self.stage.number() {
                        drop(stolen(number));
                    }
                }
            }
            // The C library tells every thread of it by a signal that nobody can block.
            ["setuid"] => {
                let uid = rustix::process::getuid().as_raw();
                // SAFETY: setresuid(3) has no memory effect; it changes nothing here.
                unsafe { libc::setresuid(uid, uid, uid) };
            }
            ["drop-watchdog"] => self.watchdog = None,
            // As an event loop does.
            ["poll"] => {
                let watchdog = self.watchdog();
                loop {
                    let mut fds = [PollFd::new(&*watchdog, PollFlags::IN)];
                    rustix::io::retry_on_intr(|| poll(&mut fds, None))?;
                    if let Some(verdict) = watchdog.try_wait()? {
                        // Level, and for ever.
                        let mut fds = [PollFd::new(&*watchdog, PollFlags::IN)];
                        assert_eq!(poll(&mut fds, Some(&Timespec::default()))?, 1);
                        return Ok(format!("{verdict:?}"));
                    }
                }
            }
            ["ask-for-the-descriptor"] => drop(self.watchdog().as_fd()),
            ["threads"] => return Ok(std::fs::read_dir("/proc/self/task")?.count().to_string()),
            // A copy made by fork drops its copy of the watchdog.
            ["fork-and-drop"] => {
                let mut watchdog = self.watchdog.take();
                Fork::run(|| drop(watchdog.take())).succeeds();
                self.watchdog = watchdog;
            }
            ["intrude"] => return Ok(intrude(self.stage.number())),
            // What it was given beyond the standard streams, the stage left out.
            ["given"] => {
                let stage = self.stage.number();
                let given = |(number, _): &(i32, String)| *number > 2 && *number != stage;
                let given = proc_fs::own_fds().into_iter().filter(given);
                let given: Vec<String> = given.map(|(fd, name)| format!("{fd}={name}")).collect();
                return Ok(given.join(" "));
            }
            // What a program that this one starts has of the pipe.
            ["descendant"] => return descendant(),
            ["euid"] => return Ok(rustix::process::geteuid().as_raw().to_string()),
            ["pid"] => return Ok(std::process::id().to_string()),
            ["ok"] => {}
            _ => panic!("what is {words:?}?"),
        }
        Ok("ok".into())
    }

    fn watchdog(&mut self) -> &mut Watchdog {
        self.watchdog.as_mut().expect("a watchdog")
    }

    fn take_watchdog(&mut self) -> Watchdog {
        self.watchdog.take().expect("a watchdog")
    }

    fn callback(&mut self, what: &str) -> io::Result<()> {
        let watchdog = self.take_watchdog();
        // The callback speaks on a connection of its own: main owns the other.
        let mut voice = Role::enter(&format!("callback-{what}"));
        let monitor = match what {
            "tells" => watchdog.on_verdict(move |verdict| voice.say(format!("{verdict:?}")))?,
            "tells-its-mask" => watchdog.on_verdict(move |_| {
                let status = std::fs::read_to_string("/proc/thread-self/status");
                let status = status.expect("/proc/thread-self/status");
                let mask = status
                    .lines()
                    .find_map(|line| line.strip_prefix("SigBlk:\t"));
                voice.say(mask.expect("a mask"));
            })?,
            "panics" => watchdog.on_verdict(move |verdict| {
                voice.say(format!("{verdict:?}"));
                panic!("as ordered");
            })?,
            "panics-in-drop" => {
                let trap = PanicsInDrop;
                watchdog.on_verdict(move |verdict| {
                    let _trap = &trap;
                    voice.say(format!("{verdict:?}"));
                })?
            }
            // It panics with something that panics again when it is dropped.
            "panics-twice" => watchdog.on_verdict(move |verdict| {
                voice.say(format!("{verdict:?}"));
                std::panic::panic_any(PanicsInDrop);
            })?,
            "cancels" => {
                let slot: Arc<Mutex<Option<Monitor>>> = Arc::default();
                let theirs = Arc::clone(&slot);
                let mut held = slot.lock().expect("a fresh lock");
                let monitor = watchdog.on_verdict(move |_| {
                    let monitor = theirs.lock().expect("a lock").take().expect("a monitor");
                    voice.say(format!("{:?}", monitor.cancel()));
                })?;
                *held = Some(monitor);
                return Ok(());
            }
            what => panic!("a callback that {what}?"),
        };
        self.monitor = Some(monitor);
        Ok(())
    }
}

/// Panics where it hurts.
struct PanicsInDrop;

impl Drop for PanicsInDrop {
    fn drop(&mut self) {
        panic!("in a drop, as ordered");
    }
}

static HANDLED: AtomicU32 = AtomicU32::new(0);

extern "C" fn count_it(_: libc::c_int) {
    HANDLED.fetch_add(1, Ordering::SeqCst);
}

extern "C" fn hang(_: libc::c_int) {
    loop {
        // SAFETY: pause(2) has no memory effect and is async-signal-safe.
        unsafe { libc::pause() };
    }
}

extern "C" fn hang_at_exit() {
    hang(0);
}

fn sigterm(how: &str) {
    match how {
        "block" => {
            // SAFETY: sigemptyset initialises the set before it is used; no other thread exists.
            unsafe {
                let mut set = std::mem::zeroed();
                libc::sigemptyset(&raw mut set);
                libc::sigaddset(&raw mut set, libc::SIGTERM);
                libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut());
            }
        }
        "ignore" => {
            // SAFETY: SIG_IGN is a disposition that any signal but two may have.
            unsafe { libc::signal(libc::SIGTERM, libc::SIG_IGN) };
        }
        "hang" => handle(libc::SIGTERM, hang),
        "count" => handle(libc::SIGTERM, count_it),
        how => panic!("SIGTERM {how}?"),
    }
}

/// Installs a handler without SA_RESTART: system calls are interrupted.
fn handle(signal: i32, handler: extern "C" fn(libc::c_int)) {
    // SAFETY: the action is initialised; both handlers are async-signal-safe.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler as *const () as usize;
        libc::sigemptyset(&raw mut action.sa_mask);
        assert_eq!(
            libc::sigaction(signal, &raw const action, std::ptr::null_mut()),
            0
        );
    }
}

/// The number that the variable names when this is called first: adoption takes it out of the environment.
fn named_number() -> Option<i32> {
    static NUMBER: OnceLock<Option<i32>> = OnceLock::new();
    *NUMBER.get_or_init(|| {
        let value = std::env::var(watchdog_pipe::ENV_VAR).ok()?;
        let mut fields = value.split(',');
        let number = fields.find_map(|field| field.strip_prefix("fd="))?;
        number.parse().ok()
    })
}

fn pipe_number() -> i32 {
    named_number().expect("the variable")
}

/// The pipe's device and inode, as /proc has it.
fn pipe_name() -> String {
    proc_fs::own_fds().remove(&pipe_number()).expect("the pipe")
}

/// A writer that this process mints for itself.
fn own_pipe() -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(format!("/proc/self/fd/{}", pipe_number()))
}

fn stolen(number: i32) -> OwnedFd {
    // SAFETY: not sound in general, and that is the point: somebody in this process closes what is the
    // watchdog's. Nothing is opened afterwards that could take the number over.
    unsafe { OwnedFd::from_raw_fd(number) }
}

/// Tries whatever it was given as a way to its parent; what worked, if anything.
fn intrude(stage: i32) -> String {
    let mut worked = Vec::new();
    for (fd, name) in proc_fs::own_fds() {
        if fd <= 2 || fd == stage {
            continue;
        }
        for what in ways_in(fd) {
            worked.push(format!("{what} by {fd}, {name}"));
        }
        // The same file, opened anew with all that this process is allowed to.
        let again = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(format!("/proc/self/fd/{fd}"));
        let Ok(again) = again else { continue };
        // Its own pipe it can write to: that reaches nobody but itself.
        if !name.starts_with("pipe:") {
            for what in ways_in(again.as_raw_fd()) {
                worked.push(format!("{what} by a new {fd}, {name}"));
            }
        }
    }
    worked.join("; ")
}

fn ways_in(fd: i32) -> Vec<&'static str> {
    let mut worked = Vec::new();
    let mut tried = |what, answer: i64| {
        if answer >= 0 {
            worked.push(what);
        }
    };
    // SAFETY: none of these touches memory of this process, but for the new mapping, which is only undone.
    unsafe {
        for theirs in 0..64 {
            tried(
                "pidfd_getfd",
                libc::syscall(libc::SYS_pidfd_getfd, fd, theirs, 0),
            );
        }
        for kind in [0, libc::CLONE_NEWNS, libc::CLONE_NEWPID, libc::CLONE_NEWNET] {
            tried("setns", libc::setns(fd, kind).into());
        }
        tried("write", libc::write(fd, c"x".as_ptr().cast(), 1) as i64);
        tried(
            "pwrite",
            libc::pwrite(fd, c"x".as_ptr().cast(), 1, 0) as i64,
        );
        tried("ftruncate", libc::ftruncate(fd, 0).into());
        tried("grow", libc::ftruncate(fd, 1 << 20).into());
        let hole = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
        tried("punch", libc::fallocate(fd, hole, 0, 4096).into());
        tried(
            "seal",
            libc::fcntl(fd, libc::F_ADD_SEALS, libc::F_SEAL_WRITE).into(),
        );
        let access = libc::PROT_READ | libc::PROT_WRITE;
        let map = |access| libc::mmap(std::ptr::null_mut(), 4096, access, libc::MAP_SHARED, fd, 0);
        let writable = map(access);
        tried(
            "map writable",
            if writable == libc::MAP_FAILED { -1 } else { 0 },
        );
        let readable = map(libc::PROT_READ);
        if readable != libc::MAP_FAILED {
            tried(
                "make writable",
                libc::mprotect(readable, 4096, access).into(),
            );
            tried(
                "remove",
                libc::madvise(readable, 4096, libc::MADV_REMOVE).into(),
            );
            libc::munmap(readable, 4096);
        }
    }
    worked
}

fn descendant() -> io::Result<String> {
    let pipe = pipe_name();
    let mut program = Command::new("/bin/cat").stdin(Stdio::piped()).spawn()?;
    let has_pipe = proc_fs::fds_of(program.id().cast_signed())
        .values()
        .any(|file| *file == pipe);
    drop(program.stdin.take());
    program.wait()?;
    Ok(if has_pipe {
        "has the pipe"
    } else {
        "has no pipe"
    }
    .into())
}

fn millis(text: &str) -> Duration {
    Duration::from_millis(text.parse().expect("milliseconds"))
}
