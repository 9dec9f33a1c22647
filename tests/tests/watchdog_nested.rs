//! Programs that know a watchdog, started by one another.
//!
//! Each is this test binary, asked for this one test. A second filter, which fits no test, tells
//! which part it has.

use std::env;
use std::io::{BufRead, BufReader, Read};
use std::os::fd::AsFd;
use std::process::{Command, Stdio};
use std::time::Duration;

use pidfd_watcher::{Pid, Process};
use shim_spawner::{ShimHandler, ShimSpawner};
use watchdog_pipe::{AdoptError, ENV_VAR, Watchdog};
use workspace_tests::{Guard, alone, rights, time_limit};

/// The part of a program, in its arguments: what it inherits is what is tested.
const PART: &str = "part=";

/// What a part says begins with this: the harness talks on the same stream.
const SAID: &str = "said: ";

fn arguments(test: &str, part: &str) -> [String; 4] {
    let part = format!("{PART}{part}");
    [test.into(), part, "--exact".into(), "--nocapture".into()]
}

fn shim(test: &str, part: &str) -> ShimHandler {
    let mut spawner = ShimSpawner::new(env::current_exe().expect("the test binary"));
    spawner.args(arguments(test, part));
    spawner.stdin(shim_spawner::Stdio::null());
    spawner.stdout(shim_spawner::Stdio::piped());
    ShimHandler::new(spawner.spawn().expect("spawn"))
}

/// The next thing that a part says.
fn hear(stream: impl Read) -> String {
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    let said = lines.find_map(|line| line.split_once(SAID).map(|(_, said)| said.to_owned()));
    said.expect("it says something before it ends")
}

fn adopt() -> Result<Option<Watchdog>, AdoptError> {
    // SAFETY: no inherited descriptor was adopted before; the harness's other thread waits for this
    // one.
    unsafe { Watchdog::from_env() }
}

/// A supervised program: starts one that it does not supervise, and one that it does.
fn middle(test: &str) {
    let watchdog = adopt().expect("no error").expect("supervised");
    let _monitor = watchdog.enforce_inherited().expect("enforce");
    assert_eq!(env::var_os(ENV_VAR), None);
    let program = env::current_exe().expect("the test binary");
    let mut plain = Command::new(program);
    plain.args(arguments(test, "plain"));
    let status = Guard::spawn(plain.stdin(Stdio::null())).wait_deadline();
    assert!(status.success(), "started by a plain Command: {status}");
    let mut inner = shim(test, "inner");
    assert_eq!(hear(inner.take_stdout().expect("piped")), "supervised");
    println!("\n{SAID}{}", inner.pid().as_raw_nonzero());
    loop {
        std::thread::park();
    }
}

fn inner() {
    let watchdog = adopt().expect("no error").expect("supervised");
    let _monitor = watchdog.enforce_inherited().expect("enforce");
    println!("\n{SAID}supervised");
    loop {
        std::thread::park();
    }
}

#[test]
fn supervised_program_starts_others_and_supervises_only_those_it_made_a_channel_for() {
    const TEST: &str =
        "supervised_program_starts_others_and_supervises_only_those_it_made_a_channel_for";
    let part = env::args().find_map(|arg| arg.strip_prefix(PART).map(str::to_owned));
    match part.as_deref() {
        Some("middle") => return middle(TEST),
        Some("plain") => {
            assert!(adopt().expect("no error").is_none());
            return;
        }
        Some("inner") => return inner(),
        Some(other) => panic!("what is {other}?"),
        None => {}
    }
    let mut handler = shim(TEST, "middle");
    let inner = hear(handler.take_stdout().expect("piped"));
    let inner = inner.parse().ok().and_then(Pid::from_raw).expect("a pid");
    // Its parent lives, and has not reaped it.
    let inner = Process::open(inner).expect("open");
    assert!(inner.try_wait().expect("look").is_none());
    handler.kill().expect("kill");
    let exit = inner.wait_timeout(time_limit()).expect("wait");
    assert!(exit.is_some(), "deadline passed: it outlives its parent");
}

/// A variable that came down from an ancestor is taken out, so that it goes no further down.
#[test]
fn variable_of_an_ancestor_goes_no_further_than_the_first_program_that_looks() {
    alone!({
        // SAFETY: this process has one thread.
        unsafe { env::set_var(ENV_VAR, "fd=77,pipe=14:90210,stop=15:5000") };
        assert!(adopt().expect("no error").is_none());
        assert_eq!(env::var_os(ENV_VAR), None);
        assert!(adopt().expect("no error, again").is_none());
    });
}

/// So it is documented. A wait must not block in read(2) when somebody else was faster.
#[test]
fn adoption_makes_the_open_file_description_nonblocking_for_whoever_shares_it() {
    use rustix::fs::{OFlags, fcntl_getfl};
    alone!({
        let (keepalive, setup) = watchdog_pipe::channel().expect("channel");
        let write = keepalive.hand_over().expect("hand over");
        let (read, _) = setup.fds().next().expect("the read end");
        let flags = || fcntl_getfl(read).expect("F_GETFL");
        assert!(!flags().contains(OFlags::NONBLOCK));
        let own = read.as_fd().try_clone_to_owned().expect("dup");
        // The write end is somebody else's by now.
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().expect("socketpair");
        pass_on(&ours, write);
        let mut watchdog = Watchdog::from_fd(own).expect("adopt");
        assert!(flags().contains(OFlags::NONBLOCK));
        let timeout = Duration::from_millis(1);
        assert_eq!(watchdog.wait_timeout(timeout).expect("wait"), None);
        drop(theirs);
    });
}

/// In flight in a socket: open, and on no number of this process.
fn pass_on(socket: impl AsFd, fd: std::os::fd::OwnedFd) {
    rights::send(socket, b"x", &[fd.as_fd()]).expect("send");
}
