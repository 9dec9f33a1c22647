//! What errors say and what is behind them, that values which are not shown whole say what they
//! are, and that two values have two hashes.

use std::error::Error;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Read};
use std::process::{Command, Stdio};
use std::time::Duration;

use fd_preserve::{ChildFdsError, InheritError};
use pidfd_watcher::{Builder, ChildProcess, Process, Watcher};
use shim_spawner::{
    AdoptError, Cgroup, ConfigError, IdentityErrorKind, ProcessError, ShimHandler, ShimIdentity,
    ShimSpawner, StopError,
};
use workspace_tests::{Guard, alone, fd_limit};

fn full() -> io::Error {
    io::Error::from_raw_os_error(libc::EMFILE)
}

/// It says all of `words`, and `errno` is behind it.
#[track_caller]
fn says(error: &dyn Error, words: &[&str], errno: Option<i32>) {
    let text = error.to_string();
    for word in words {
        assert!(text.contains(word), "{word:?} is not in {text:?}");
    }
    let mut cause = error.source();
    let mut found = None;
    while let Some(one) = cause {
        let of_io = one.downcast_ref().and_then(io::Error::raw_os_error);
        let of_process = one.downcast_ref().and_then(ProcessError::raw_os_error);
        found = found.or(of_io).or(of_process);
        cause = one.source();
    }
    assert_eq!(found, errno, "behind {text:?}");
}

fn shows(value: &impl std::fmt::Debug, words: &[&str]) {
    let text = format!("{value:?}");
    for word in words {
        assert!(text.contains(word), "{word:?} is not in {text:?}");
    }
}

/// A child that ends with its standard input.
fn cat() -> Guard {
    Guard::spawn(Command::new("cat").stdin(Stdio::piped()))
}

fn hash(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

#[test]
fn errors_of_a_plan_say_the_number_and_why() {
    let keep = ChildFdsError::Keep {
        fd: 7,
        errno: libc::EBADF,
    };
    says(
        &keep,
        &["cannot keep descriptor 7", "Bad file descriptor"],
        None,
    );
    let duplicate = ChildFdsError::Duplicate {
        target: 8,
        errno: libc::EMFILE,
    };
    says(&duplicate, &["descriptor 8", "Too many open files"], None);
    let inherit = InheritError::Io {
        fd: 9,
        source: full(),
    };
    says(
        &inherit,
        &["descriptor 9", "close-on-exec"],
        Some(libc::EMFILE),
    );
    says(&InheritError::NotOpen { fd: 9 }, &["9 is not open"], None);
}

#[test]
fn release_that_reaches_nobody_says_so_and_why() {
    let (keepalive, setup) = watchdog_pipe::channel().expect("a link");
    drop(setup);
    let error = keepalive.release().expect_err("nobody reads");
    says(&error, &["could not be told"], Some(libc::EPIPE));
}

#[test]
fn child_that_cannot_be_opened_comes_back_with_its_number_and_the_reason() {
    alone!({
        let child = Command::new("cat")
            .stdin(Stdio::piped())
            .spawn()
            .expect("cat");
        let mut failed = {
            let _full = fd_limit::fill();
            ChildProcess::new(child).expect_err("no descriptor is left")
        };
        let number = failed.child.id().to_string();
        says(&failed, &["open child", &number], Some(libc::EMFILE));
        drop(failed.child.stdin.take());
        failed.child.wait().expect("wait");
    });
}

#[test]
fn process_that_lives_is_not_reaped_and_the_error_says_which() {
    let mut child = cat();
    let process = Process::from_child(&mut child).expect("own child");
    let number = child.id().to_string();
    let error = process.reap().expect_err("it lives");
    says(&error, &["reap process", &number], Some(libc::EAGAIN));
}

#[test]
fn what_a_watcher_is_made_of_says_what_it_is() {
    let (watcher, driver) = Builder::new().build_driven().expect("a watcher");
    shows(&driver, &["Driver"]);
    shows(&watcher.sleep(Duration::from_secs(1)), &["Sleep"]);
    let hooked = Builder::new().on_panic(|_| {}).build().expect("a watcher");
    shows(&hooked, &["Watcher"]);
    shows(&Watcher::global().expect("a watcher"), &["Watcher"]);
}

#[test]
fn errors_of_the_spawner_say_what_failed_and_why() {
    let cgroup = Cgroup::open("/nonexistent").expect_err("no cgroup");
    says(&cgroup, &["/nonexistent"], Some(libc::ENOENT));
    says(
        &ConfigError::Io(full()),
        &["could not be read"],
        Some(libc::EMFILE),
    );
    says(
        &ConfigError::NotSealed { fd: 5 },
        &["5 is not sealed"],
        None,
    );
    says(&StopError::Cgroup(full()), &["cgroup"], Some(libc::EMFILE));
    says(
        &StopError::Process(ProcessError::Io(full())),
        &["could not be stopped"],
        Some(libc::EMFILE),
    );
    says(&StopError::OwnProcess, &["this process"], None);
    says(&StopError::NoCgroup, &["not known"], None);
    let pid = rustix::process::getpid();
    let alive = StopError::StillAlive { pid };
    says(&alive, &[&pid.to_string(), "SIGKILL"], None);
}

#[test]
fn errors_of_an_adoption_say_what_is_known() {
    says(&AdoptError::Gone, &["gone"], None);
    says(&AdoptError::PidReused, &["another process"], None);
    says(&AdoptError::OtherBoot, &["another boot"], None);
    says(
        &AdoptError::OtherNamespace,
        &["another PID namespace"],
        None,
    );
    says(
        &AdoptError::Unproven(full()),
        &["cannot tell"],
        Some(libc::EMFILE),
    );
    says(
        &AdoptError::Io(full()),
        &["cannot read"],
        Some(libc::EMFILE),
    );
    let process = AdoptError::Process(ProcessError::Io(full()));
    says(&process, &["cannot open"], Some(libc::EMFILE));
}

#[test]
fn errors_of_an_identity_name_the_field_or_what_is_behind_them() {
    let missing = ShimIdentity::load("/nonexistent/identity").expect_err("no file");
    says(&missing, &["/nonexistent/identity"], Some(libc::ENOENT));
    assert!(matches!(missing.kind, IdentityErrorKind::Io(_)));
    assert_eq!(missing.field(), None);

    let own = Process::open(rustix::process::getpid()).expect("this process");
    let text = ShimIdentity::of(&own).expect("an identity").to_string();
    let (before, checksum) = text.split_at(text.len() - 3);
    let other = if checksum.starts_with('0') { "1" } else { "0" };
    let damaged = format!("{before}{other}{}", &checksum[1..]);
    let error = damaged.parse::<ShimIdentity>().expect_err("damaged");
    says(&error, &["checksum"], None);
    assert_eq!(error.field(), Some("checksum"));
}

#[test]
fn identities_of_one_process_have_one_hash_and_of_two_have_two() {
    let of = |child: &mut Guard| {
        let process = Process::from_child(child).expect("own child");
        ShimIdentity::of(&process).expect("an identity")
    };
    let (mut one, mut other) = (cat(), cat());
    assert_eq!(hash(&of(&mut one)), hash(&of(&mut one)));
    assert_ne!(hash(&of(&mut one)), hash(&of(&mut other)));
}

#[test]
fn handles_on_one_process_have_one_hash_and_on_two_have_two() {
    let (mut one, mut other) = (cat(), cat());
    let [one, other] =
        [&mut one, &mut other].map(|child| Process::from_child(child).expect("own child"));
    assert_eq!(hash(&one), hash(&one.clone()));
    assert_ne!(hash(&one), hash(&other));
}

#[test]
fn spawn_whose_child_died_says_how_it_died() {
    let mut spawner = ShimSpawner::new("true");
    // SAFETY: _exit(2) is async-signal-safe.
    unsafe { spawner.pre_exec(|| libc::_exit(3)) };
    let error = spawner.spawn().expect_err("it died");
    let words = ["the child died before its exec", "exit status: 3"];
    says(&error, &words, None);
}

#[test]
fn handler_gives_the_standard_error_once_and_the_kernel_is_not_asked_to_kill() {
    let mut spawner = ShimSpawner::new("sh");
    spawner
        .args(["-c", "echo heard >&2; exec cat"])
        .stdin(shim_spawner::Stdio::piped())
        .stderr(shim_spawner::Stdio::piped());
    let mut shim = ShimHandler::new(spawner.spawn().expect("spawn"));
    assert!(!shim.is_killed_on_close());
    let mut stderr = shim.take_stderr().expect("it was asked for");
    assert!(shim.take_stderr().is_none());
    drop(shim.take_stdin());
    let mut said = String::new();
    stderr.read_to_string(&mut said).expect("read");
    assert_eq!(said, "heard\n");
    shim.wait().expect("wait");
}
