//! A runtime under orders: makes links, starts children on them, and dies as it is told.
//!
//! Enters the cast as "parent", or under the name in its first argument. `link N` is the Nth it
//! made. Its version after `upgrade` finds the kept write ends in the environment and enters as
//! "upgraded".

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use rustix::process::{Resource, getrlimit, setrlimit};
use watchdog_pipe::{Builder, ChildSetup, Keepalive, Signal, StopPolicy, announce_death};
use workspace_tests::cast::Role;
use workspace_tests::fork::Fork;
use workspace_tests::launch::Launch;
use workspace_tests::orders::{Announcement, Death, Order, SentinelPart, Spawn};
use workspace_tests::rights;

/// The numbers of the write ends that the version before handed over.
const KEPT: &str = "WATCHDOG_PARENT_KEPT";

fn main() -> io::Result<()> {
    let kept = std::env::var(KEPT).unwrap_or_default();
    let links = kept
        .split_terminator(',')
        .map(|number| {
            let number: RawFd = number.parse().expect("a number");
            // SAFETY: the version before kept this very number open for us, and nothing here owns
            // it.
            let write = unsafe { OwnedFd::from_raw_fd(number) };
            Keepalive::from_fd(write).map(Some)
        })
        .collect::<io::Result<Vec<_>>>()?;
    let name = std::env::args().nth(1).unwrap_or("parent".into());
    let mut runtime = Runtime {
        cast: Role::enter(&name),
        links,
    };
    while let Some(order) = runtime.cast.next_order() {
        let answer = match runtime.obey(order) {
            Ok(answer) => answer,
            Err(error) => format!("error {:?}", error.raw_os_error().map_or(-1, |errno| errno)),
        };
        runtime.cast.say(answer);
    }
    Ok(())
}

struct Runtime {
    cast: Role,
    links: Vec<Option<Keepalive>>,
}

impl Runtime {
    fn obey(&mut self, order: Order) -> io::Result<String> {
        match order {
            Order::Spawn(spawn) => return self.spawn(spawn),
            Order::SpawnOnThread { name } => {
                // The thread that made the link and the child ends; this process does not.
                let (keepalive, setup) = Builder::new().channel()?;
                let pid = std::thread::spawn(move || child(&setup, &name, usize::MAX).start());
                pid.join().expect("a thread that ends")?;
                self.links.push(Some(keepalive));
            }
            // A sibling that holds a copy of everything and stays as it is.
            Order::ForkSleeper => return Ok(fork_sleeper()?.to_string()),
            // A sibling between its fork and its exec: SIGCONT lets it go on.
            Order::StartStopped { program } => {
                return Ok(Launch::new(program).stopped().start()?.to_string());
            }
            Order::UnsharePid => {
                // SAFETY: unshare(2) has no memory effect; only children to come are concerned.
                if unsafe { libc::unshare(libc::CLONE_NEWPID) } != 0 {
                    return Err(io::Error::last_os_error());
                }
            }
            Order::Become { uid } => {
                // SAFETY: setresuid(2) has no memory effect, and this process has one thread.
                if unsafe { libc::setresuid(uid, uid, uid) } != 0 {
                    return Err(io::Error::last_os_error());
                }
            }
            // Links that nobody is at the other end of.
            Order::MakeLinks { count } => {
                for _ in 0..count {
                    drop(Builder::new().channel()?);
                }
            }
            Order::HoldLinks { count } => {
                for _ in 0..count {
                    self.links.push(Some(Builder::new().channel()?.0));
                }
            }
            // By the C library's posix_spawn: CLONE_VM, CLONE_VFORK and execve.
            Order::Run { program } => assert!(Command::new(program).status()?.success()),
            Order::GuaranteesOf { link } => {
                let keepalive = self.links[link].as_ref().expect("a keepalive");
                return Ok(format!("{:?}", keepalive.guarantees()));
            }
            Order::WriteOver(target) => write_over(target)?,
            Order::Drop { link } => drop(self.take(link)),
            Order::Release { link } => {
                if let Err(refused) = self.take(link).release() {
                    let (keepalive, error) = refused.into_parts();
                    self.links[link] = Some(keepalive);
                    return Err(error);
                }
            }
            Order::HandOver { link } => drop(self.take(link).hand_over()?),
            Order::Send { link, path } => {
                let write = self.take(link).hand_over()?;
                rights::send(UnixStream::connect(path)?, b".", &[write.as_fd()])?;
            }
            Order::Receive { path } => {
                let listener = UnixListener::bind(path)?;
                self.cast.say("ready");
                let (stream, _) = listener.accept()?;
                self.links
                    .push(Some(Keepalive::from_fd(receive(&stream)?)?));
            }
            Order::Upgrade { program } => {
                let error = self.upgrade(&program)?;
                return Ok(format!("still here {}", error.raw_os_error().unwrap_or(-1)));
            }
            Order::Announce(how) => announce(how)?,
            Order::Die(how) => die(how),
            Order::Crash { folder } => crash(&folder)?,
            Order::Answer => {}
            other => panic!("not for this program: {other:?}"),
        }
        Ok("ok".into())
    }

    fn take(&mut self, link: usize) -> Keepalive {
        self.links[link].take().expect("a keepalive")
    }

    fn spawn(&mut self, spawn: Spawn) -> io::Result<String> {
        let mut builder = Builder::new().sentinel(!spawn.pipe_alone);
        if let Some((signal, grace)) = spawn.policy {
            let signal = Signal::from_named_raw(signal).expect("a signal");
            builder = builder.stop_policy(StopPolicy::new().signal(signal).grace(grace));
        }
        let (keepalive, mut setup) = builder.channel()?;
        if let Some(number) = spawn.number {
            setup.renumber(number);
        }
        let passed_on = if spawn.page_stays_behind {
            1
        } else {
            usize::MAX
        };
        let mut launch = child(&setup, &spawn.name, passed_on);
        if spawn.stopped {
            launch.stopped();
        }
        if spawn.stop_before_main {
            launch.env("WATCHDOG_CHILD_STOPS_BEFORE_MAIN", "1");
        }
        if spawn.unshare != 0 {
            launch.unshare(spawn.unshare);
        }
        if let Some(program) = spawn.program {
            launch.program(program);
        }
        if let Some(shell) = spawn.through {
            launch.through(shell);
        }
        let pid = launch.start()?;
        self.links.push(Some(keepalive));
        Ok(pid.to_string())
    }

    /// Executes the next version; the error when that failed, with the links taken back.
    fn upgrade(&mut self, program: &Path) -> io::Result<io::Error> {
        let kept: Vec<OwnedFd> = self
            .links
            .drain(..)
            .flatten()
            .map(|keepalive| Ok(keepalive.hand_over()?))
            .collect::<io::Result<_>>()?;
        let numbers: Vec<String> = kept.iter().map(|fd| fd.as_raw_fd().to_string()).collect();
        // In the last moment: nothing is started between here and the exec.
        for fd in &kept {
            rustix::io::fcntl_setfd(fd, rustix::io::FdFlags::empty())?;
        }
        let error = Command::new(program)
            .arg("upgraded")
            .env(KEPT, numbers.join(","))
            .exec();
        for fd in kept {
            self.links.push(Some(Keepalive::from_fd(fd)?));
        }
        Ok(error)
    }
}

/// The child program on `setup`, with so many of its descriptors at most.
fn child(setup: &ChildSetup, name: &str, passed_on: usize) -> Launch {
    let me = std::env::current_exe().expect("/proc/self/exe");
    let mut launch = Launch::new(me.with_file_name("watchdog_child"));
    let (variable, value) = setup.env();
    launch.arg(name).env(variable, value);
    for (source, target) in setup.fds().take(passed_on) {
        launch.fd(source.as_raw_fd(), target);
    }
    launch
}

/// Writes over what belongs to the sentinel, as a program does that has gone wrong.
fn write_over(part: SentinelPart) -> io::Result<()> {
    match part {
        SentinelPart::Words => {
            let maps = std::fs::read_to_string("/proc/self/maps")?;
            let line = maps
                .lines()
                .find(|line| line.contains("memfd:watchdog-sentinel"));
            let (start, _) = line.expect("a page").split_once('-').expect("a range");
            let start = usize::from_str_radix(start, 16).expect("an address") as *mut u32;
            for slot in 0..2048 {
                // SAFETY: writable, shared and that long; nothing but atomics lies there. Owners
                // that nobody is.
                unsafe { start.add(slot * 2).write_volatile(0x2AAA_AAAA) };
            }
        }
        SentinelPart::List => {
            for task in std::fs::read_dir("/proc/self/task")? {
                let task = task?;
                let name = std::fs::read_to_string(task.path().join("comm"))?;
                if !name.starts_with("watchdog-sent") {
                    continue;
                }
                let thread: i32 = task.file_name().to_string_lossy().parse().expect("a tid");
                let (mut head, mut length) = (std::ptr::null_mut::<usize>(), 0_usize);
                // SAFETY: both are valid places for the answer.
                let answer = unsafe {
                    libc::syscall(
                        libc::SYS_get_robust_list,
                        thread,
                        &raw mut head,
                        &raw mut length,
                    )
                };
                assert_eq!((answer, length), (0, 24), "{}", io::Error::last_os_error());
                let page = (head as usize & !4095) as *mut libc::c_void;
                // SAFETY: the sentinel's own page, which nobody but the kernel reads at this
                // thread's death.
                unsafe {
                    libc::mprotect(page, 4096, libc::PROT_READ | libc::PROT_WRITE);
                    head.write_volatile(0x10);
                }
            }
        }
    }
    Ok(())
}

fn fork_sleeper() -> io::Result<i32> {
    // SAFETY: the copy sleeps and does nothing else, in this process's only thread.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => loop {
            // SAFETY: pause(2) has no memory effect.
            unsafe { libc::pause() };
        },
        pid => Ok(pid),
    }
}

fn receive(stream: &UnixStream) -> io::Result<OwnedFd> {
    let (_, mut fds) = rights::receive(stream, &mut [0])?;
    Ok(fds.pop().expect("a descriptor"))
}

fn announce(how: Announcement) -> io::Result<()> {
    match how {
        Announcement::Main => announce_death(),
        Announcement::SecondThread => std::thread::spawn(announce_death).join().expect("a thread"),
        Announcement::PanicHook => {
            std::panic::set_hook(Box::new(|_| announce_death()));
            let panicked = std::panic::catch_unwind(|| panic!("as ordered"));
            assert!(panicked.is_err());
        }
        Announcement::CrashHandler => {
            handle(libc::SIGSEGV, announce_and_hang)?;
            fault();
        }
        Announcement::Copy => Fork::run(announce_death).succeeds(),
        Announcement::SharedMemory => announce_in_shared_memory()?,
    }
    Ok(())
}

/// On the signal stack that std gives each thread; the default action is back when it runs.
fn handle(signal: i32, handler: extern "C" fn(libc::c_int)) -> io::Result<()> {
    // SAFETY: zeros are a valid action, which is filled in; the handlers are async-signal-safe.
    let set = unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler as *const () as usize;
        action.sa_flags = libc::SA_RESETHAND | libc::SA_ONSTACK;
        libc::sigaction(signal, &raw const action, std::ptr::null_mut())
    };
    match set {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

extern "C" fn announce_and_hang(_: libc::c_int) {
    announce_death();
    loop {
        // SAFETY: pause(2) has no memory effect and is async-signal-safe.
        unsafe { libc::pause() };
    }
}

extern "C" fn announce_and_crash(signal: libc::c_int) {
    announce_death();
    // SAFETY: raise(3) is async-signal-safe.
    unsafe { libc::raise(signal) };
}

/// Writes where nothing is mapped.
fn fault() {
    let nowhere = std::ptr::without_provenance_mut::<u8>(8);
    // SAFETY: none; that is the point. The handler is all that runs in this thread from here on.
    unsafe { nowhere.write_volatile(1) };
}

/// As vfork(2) does it, with a stack of its own.
fn announce_in_shared_memory() -> io::Result<()> {
    extern "C" fn child(_: *mut libc::c_void) -> libc::c_int {
        announce_death();
        0
    }
    let mut stack = vec![0_u128; 4096];
    let top = stack.as_mut_ptr_range().end.cast();
    let how = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
    let mut status = -1;
    // SAFETY: the child has a stack that outlives it, since this thread waits for its end, and runs
    // nothing but what is async-signal-safe.
    unsafe {
        let pid = libc::clone(child, top, how, std::ptr::null_mut());
        if pid < 0 || libc::waitpid(pid, &raw mut status, 0) != pid {
            return Err(io::Error::last_os_error());
        }
    }
    assert_eq!(status, 0);
    Ok(())
}

fn crash(folder: &Path) -> io::Result<()> {
    std::env::set_current_dir(folder)?;
    let mut limit = getrlimit(Resource::Core);
    limit.current = limit.maximum;
    setrlimit(Resource::Core, limit)?;
    handle(libc::SIGSEGV, announce_and_crash)?;
    fault();
    Ok(())
}

fn die(how: Death) -> ! {
    match how {
        Death::Exit => std::process::exit(0),
        Death::Abort => std::process::abort(),
        Death::Exec => {
            // A program that goes on and on in this very process, without the links.
            let program = CString::new("/bin/sleep").expect("no NUL");
            let args = [program.as_ptr(), c"1000".as_ptr(), std::ptr::null()];
            // SAFETY: a null-terminated array of strings that live until the program has changed.
            unsafe { libc::execv(program.as_ptr(), args.as_ptr()) };
            panic!("exec: {}", io::Error::last_os_error())
        }
    }
}
