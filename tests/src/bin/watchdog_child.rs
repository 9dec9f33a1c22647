//! A shim under orders: adopts its watchdog when it is told to, and makes its own life hard.
//!
//! Enters the cast under the name in its first argument, before it adopts anything.

use std::fs::{File, OpenOptions};
use std::io;
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use watchdog_pipe::{Monitor, Signal, StopPolicy, Watchdog};
use workspace_tests::cast::Role;
use workspace_tests::fork::Fork;
use workspace_tests::orders::{Callback, OnSigterm, Order};
use workspace_tests::proc_fs;

/// Runs before main, as the dynamic loader does what it does before main.
extern "C" fn before_main() {
    // SAFETY: getenv and raise on the only thread there is; the name is a C string.
    unsafe {
        if !libc::getenv(c"WATCHDOG_CHILD_STOPS_BEFORE_MAIN".as_ptr()).is_null() {
            libc::raise(libc::SIGSTOP);
        }
    }
}

// SAFETY: functions of the C library are all that `before_main` calls, and that library is set up
// first.
#[used]
#[unsafe(link_section = ".init_array")]
static BEFORE_MAIN: extern "C" fn() = before_main;

fn main() {
    named_number();
    let name = std::env::args().nth(1).expect("a name");
    let mut shim = Shim {
        cast: Role::enter(&name),
        watchdog: None,
        monitor: None,
    };
    while let Some(order) = shim.cast.next_order() {
        let answer = shim
            .obey(order)
            .unwrap_or_else(|error| format!("error {error:?}"));
        shim.cast.say(answer);
    }
}

struct Shim {
    cast: Role,
    watchdog: Option<Watchdog>,
    monitor: Option<Monitor>,
}

impl Shim {
    fn obey(&mut self, order: Order) -> io::Result<String> {
        match order {
            Order::Adopt => {
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
            Order::Guarantees => return Ok(format!("{:?}", self.watchdog().guarantees())),
            Order::Wait => return Ok(format!("{:?}", self.watchdog().wait()?)),
            Order::TryWait => return Ok(format!("{:?}", self.watchdog().try_wait()?)),
            Order::Enforce { signal, grace } => {
                let signal = Signal::from_named_raw(signal).expect("a signal");
                let policy = StopPolicy::new().signal(signal).grace(grace);
                self.monitor = Some(self.take_watchdog().enforce(policy)?);
            }
            Order::EnforceInherited => {
                self.monitor = Some(self.take_watchdog().enforce_inherited()?)
            }
            Order::Callback(what) => self.callback(what)?,
            Order::Cancel => {
                let monitor = self.monitor.take().expect("a monitor");
                return Ok(format!("{:?}", monitor.cancel()));
            }
            Order::DropMonitor => drop(self.monitor.take().expect("a monitor")),
            Order::OnSigterm(how) => sigterm(how),
            Order::Handle { signal } => handle(signal, count_it),
            Order::CountHandled => return Ok(HANDLED.load(Ordering::SeqCst).to_string()),
            Order::HangAtExit => {
                // SAFETY: a function that never returns, and touches nothing, may run at exit.
                unsafe { libc::atexit(hang_at_exit) };
            }
            // Answers, and never again: main holds a lock that it waits for.
            Order::Deadlock => {
                self.cast.say("ok");
                let lock = Mutex::new(());
                let _first = lock.lock();
                let _second = lock.lock();
            }
            Order::WriteStray(text) => own_pipe()?.write_all(text.as_bytes())?,
            Order::FillPipe => {
                let mut pipe = own_pipe()?;
                while pipe.write(&[b'?'; 4096]).is_ok() {}
                while pipe.write(b"?").is_ok() {}
            }
            Order::DrainPipe => {
                let mut pipe = OpenOptions::new()
                    .read(true)
                    .custom_flags(libc::O_NONBLOCK)
                    .open(format!("/proc/self/fd/{}", pipe_number()))?;
                let mut buffer = [0; 4096];
                while pipe.read(&mut buffer).is_ok_and(|count| count > 0) {}
            }
            // Closes the number behind the watchdog's back.
            Order::CloseDescriptor => drop(stolen(pipe_number())),
            // As a library does that daemonizes: everything but the standard streams, and the cast
            // here.
            Order::CloseEverything => {
                for number in proc_fs::own_fds().into_keys().filter(|number| *number > 2) {
                    if number != self.cast.number() {
                        drop(stolen(number));
                    }
                }
            }
            // The C library tells every thread of it by a signal that nobody can block.
            Order::SetUid => {
                let uid = rustix::process::getuid().as_raw();
                // SAFETY: setresuid(3) has no memory effect; it changes nothing here.
                unsafe { libc::setresuid(uid, uid, uid) };
            }
            Order::DropWatchdog => self.watchdog = None,
            // As an event loop does.
            Order::Poll => {
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
            Order::AskForDescriptor => drop(self.watchdog().as_fd()),
            Order::CountThreads => {
                return Ok(std::fs::read_dir("/proc/self/task")?.count().to_string());
            }
            // A copy made by fork drops its copy of the watchdog.
            Order::ForkAndDrop => {
                let mut watchdog = self.watchdog.take();
                Fork::run(|| drop(watchdog.take())).succeeds();
                self.watchdog = watchdog;
            }
            Order::Intrude => return Ok(intrude(self.cast.number())),
            // What it was given beyond the standard streams, the cast left out.
            Order::ListGiven => {
                let cast = self.cast.number();
                let given = |(number, _): &(i32, String)| *number > 2 && *number != cast;
                let given = proc_fs::own_fds().into_iter().filter(given);
                let given: Vec<String> = given.map(|(fd, name)| format!("{fd}={name}")).collect();
                return Ok(given.join(" "));
            }
            // What a program that this one starts has of the pipe.
            Order::StartDescendant => return descendant(),
            Order::TellEuid => return Ok(rustix::process::geteuid().as_raw().to_string()),
            Order::TellPid => return Ok(std::process::id().to_string()),
            Order::Answer => {}
            other => panic!("not for this program: {other:?}"),
        }
        Ok("ok".into())
    }

    fn watchdog(&mut self) -> &mut Watchdog {
        self.watchdog.as_mut().expect("a watchdog")
    }

    fn take_watchdog(&mut self) -> Watchdog {
        self.watchdog.take().expect("a watchdog")
    }

    fn callback(&mut self, what: Callback) -> io::Result<()> {
        let watchdog = self.take_watchdog();
        // The callback speaks on a connection of its own: main owns the other.
        let mut voice = Role::enter("callback");
        let monitor = match what {
            Callback::Tells => {
                watchdog.on_verdict(move |verdict| voice.say(format!("{verdict:?}")))?
            }
            Callback::TellsItsMask => watchdog.on_verdict(move |_| {
                let status = std::fs::read_to_string("/proc/thread-self/status");
                let status = status.expect("/proc/thread-self/status");
                let mask = status
                    .lines()
                    .find_map(|line| line.strip_prefix("SigBlk:\t"));
                voice.say(mask.expect("a mask"));
            })?,
            Callback::Panics => watchdog.on_verdict(move |verdict| {
                voice.say(format!("{verdict:?}"));
                panic!("as ordered");
            })?,
            Callback::PanicsInDrop => {
                let trap = PanicsInDrop;
                watchdog.on_verdict(move |verdict| {
                    let _trap = &trap;
                    voice.say(format!("{verdict:?}"));
                })?
            }
            // It panics with something that panics again when it is dropped.
            Callback::PanicsTwice => watchdog.on_verdict(move |verdict| {
                voice.say(format!("{verdict:?}"));
                std::panic::panic_any(PanicsInDrop);
            })?,
            Callback::Cancels => {
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

fn sigterm(how: OnSigterm) {
    match how {
        OnSigterm::Block => {
            // SAFETY: sigemptyset initialises the set before it is used; no other thread exists.
            unsafe {
                let mut set = std::mem::zeroed();
                libc::sigemptyset(&raw mut set);
                libc::sigaddset(&raw mut set, libc::SIGTERM);
                libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut());
            }
        }
        OnSigterm::Ignore => {
            // SAFETY: SIG_IGN is a disposition that any signal but two may have.
            unsafe { libc::signal(libc::SIGTERM, libc::SIG_IGN) };
        }
        OnSigterm::Hang => handle(libc::SIGTERM, hang),
        OnSigterm::Count => handle(libc::SIGTERM, count_it),
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

/// The number that the variable names when this is called first: adoption takes it out of the
/// environment.
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
    // SAFETY: not sound in general, and that is the point: somebody in this process closes what is
    // the watchdog's. Nothing is opened afterwards that could take the number over.
    unsafe { OwnedFd::from_raw_fd(number) }
}

/// Tries whatever it was given as a way to its parent; what worked, if anything.
fn intrude(cast: i32) -> String {
    let mut worked = Vec::new();
    for (fd, name) in proc_fs::own_fds() {
        if fd <= 2 || fd == cast {
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
    // SAFETY: none of these touches memory of this process, but for the new mapping, which is only
    // undone.
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
