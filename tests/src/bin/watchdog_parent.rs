//! A runtime under orders: makes links, starts children on them, and dies as it is told.
//!
//! Enters the stage as "parent", or under the name in its first argument. `link N` is the Nth it made. Its
//! version after `upgrade` finds the kept write ends in the environment and enters as "upgraded".

use std::ffi::CString;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use watchdog_pipe::{Builder, ChildSetup, Keepalive, Signal, StopPolicy};
use workspace_tests::launch::Launch;
use workspace_tests::stage::Role;

/// The numbers of the write ends that the version before handed over.
const KEPT: &str = "WATCHDOG_PARENT_KEPT";

fn main() -> io::Result<()> {
    let kept = std::env::var(KEPT).unwrap_or_default();
    let links = kept
        .split_terminator(',')
        .map(|number| {
            let number: RawFd = number.parse().expect("a number");
            // SAFETY: the version before kept this very number open for us, and nothing here owns it.
            let write = unsafe { OwnedFd::from_raw_fd(number) };
            Keepalive::from_fd(write).map(Some)
        })
        .collect::<io::Result<Vec<_>>>()?;
    let name = std::env::args().nth(1).unwrap_or("parent".into());
    let mut runtime = Runtime {
        stage: Role::enter(&name),
        links,
    };
    while let Some(order) = runtime.stage.next_order() {
        let words: Vec<&str> = order.split(' ').collect();
        let answer = match runtime.obey(&words) {
            Ok(answer) => answer,
            Err(error) => format!("error {:?}", error.raw_os_error().map_or(-1, |errno| errno)),
        };
        runtime.stage.say(answer);
    }
    Ok(())
}

struct Runtime {
    stage: Role,
    links: Vec<Option<Keepalive>>,
}

impl Runtime {
    fn obey(&mut self, words: &[&str]) -> io::Result<String> {
        match words {
            ["spawn", name, options @ ..] => return self.spawn(name, options),
            ["spawn-on-thread", name] => {
                // The thread that made the link and the child ends; this process does not.
                let (keepalive, setup) = Builder::new().channel()?;
                let name = (*name).to_owned();
                let pid = std::thread::spawn(move || child(&setup, &name).start());
                pid.join().expect("a thread that ends")?;
                self.links.push(Some(keepalive));
            }
            // A sibling that holds a copy of everything and stays as it is.
            ["fork-sleeper"] => return Ok(fork_sleeper()?.to_string()),
            // A sibling between its fork and its exec: SIGCONT lets it go on.
            ["spawn-stopped", program] => {
                return Ok(Launch::new(program).stopped().start()?.to_string());
            }
            ["unshare-pid"] => {
                // SAFETY: unshare(2) has no memory effect; only children to come are concerned.
                if unsafe { libc::unshare(libc::CLONE_NEWPID) } != 0 {
                    return Err(io::Error::last_os_error());
                }
            }
            ["become", uid] => {
                let uid: u32 = uid.parse().expect("a uid");
                // SAFETY: setresuid(2) has no memory effect, and this process has one thread.
                if unsafe { libc::setresuid(uid, uid, uid) } != 0 {
                    return Err(io::Error::last_os_error());
                }
            }
            ["drop", link] => drop(self.take(link)),
            ["release", link] => {
                if let Err((keepalive, error)) = self.take(link).release() {
                    let index: usize = link.parse().expect("a link");
                    self.links[index] = Some(keepalive);
                    return Err(error);
                }
            }
            ["close-without-a-word", link] => drop(self.take(link).hand_over()?),
            ["send", link, path] => {
                send(&UnixStream::connect(path)?, &self.take(link).hand_over()?)?
            }
            ["receive", path] => {
                let listener = UnixListener::bind(path)?;
                self.stage.say("ready");
                let (stream, _) = listener.accept()?;
                self.links
                    .push(Some(Keepalive::from_fd(receive(&stream)?)?));
            }
            ["upgrade", program] => {
                let error = self.upgrade(program)?;
                return Ok(format!("still here {}", error.raw_os_error().unwrap_or(-1)));
            }
            ["die", how] => die(how),
            _ => panic!("what is {words:?}?"),
        }
        Ok("ok".into())
    }

    fn take(&mut self, link: &str) -> Keepalive {
        let index: usize = link.parse().expect("a link");
        self.links[index].take().expect("a keepalive")
    }

    fn spawn(&mut self, name: &str, options: &[&str]) -> io::Result<String> {
        let mut builder = Builder::new();
        if options.contains(&"pipe-alone") {
            builder = builder.sentinel(false);
        }
        for option in options {
            if let Some(policy) = option.strip_prefix("policy=") {
                let (signal, grace) = policy.split_once(':').expect("signal:grace");
                let signal = Signal::from_named_raw(signal.parse().expect("a number"));
                let grace = Duration::from_millis(grace.parse().expect("milliseconds"));
                builder = builder.stop_policy(
                    StopPolicy::new()
                        .signal(signal.expect("a signal"))
                        .grace(grace),
                );
            }
        }
        let (keepalive, mut setup) = builder.channel()?;
        for option in options {
            if let Some(number) = option.strip_prefix("number=") {
                setup.renumber(number.parse().expect("a number"));
            }
        }
        let mut launch = child(&setup, name);
        for option in options {
            match *option {
                "stopped" => launch.stopped(),
                "stop-before-main" => launch.env("WATCHDOG_CHILD_STOPS_BEFORE_MAIN", "1"),
                "userns" => launch.unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNS),
                option => match option.split_once('=') {
                    // Through a program that executes the child: the descriptor passes both execs.
                    Some(("through", shell)) => launch.through(shell),
                    Some(("program", path)) => launch.program(path),
                    _ => &mut launch,
                },
            };
        }
        let pid = launch.start()?;
        self.links.push(Some(keepalive));
        Ok(pid.to_string())
    }

    /// Executes the next version; the error when that failed, with the links taken back.
    fn upgrade(&mut self, program: &str) -> io::Result<io::Error> {
        let kept: Vec<OwnedFd> = self
            .links
            .drain(..)
            .flatten()
            .map(Keepalive::hand_over)
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

/// The child program on `setup`.
fn child(setup: &ChildSetup, name: &str) -> Launch {
    let me = std::env::current_exe().expect("/proc/self/exe");
    let mut launch = Launch::new(me.with_file_name("watchdog_child"));
    let (variable, value) = setup.env();
    launch.arg(name).env(variable, value);
    for (source, target) in setup.fds() {
        launch.fd(source.as_raw_fd(), target);
    }
    launch
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

fn send(stream: &UnixStream, fd: &OwnedFd) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds = [fd.as_fd()];
    assert!(control.push(SendAncillaryMessage::ScmRights(&fds)));
    sendmsg(
        stream,
        &[IoSlice::new(b".")],
        &mut control,
        SendFlags::empty(),
    )?;
    Ok(())
}

fn receive(stream: &UnixStream) -> io::Result<OwnedFd> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    recvmsg(
        stream,
        &mut [IoSliceMut::new(&mut byte)],
        &mut control,
        RecvFlags::CMSG_CLOEXEC,
    )?;
    let fd = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    Ok(fd.expect("a descriptor"))
}

fn die(how: &str) -> ! {
    match how {
        "exit" => std::process::exit(0),
        "abort" => std::process::abort(),
        "exec" => {
            // A program that goes on and on in this very process, without the links.
            let program = CString::new("/bin/sleep").expect("no NUL");
            let args = [program.as_ptr(), c"1000".as_ptr(), std::ptr::null()];
            // SAFETY: a null-terminated array of strings that live until the program has changed.
            unsafe { libc::execv(program.as_ptr(), args.as_ptr()) };
            panic!("exec: {}", io::Error::last_os_error())
        }
        how => panic!("die how: {how}?"),
    }
}
