//! From a saved identity to the same process, or to a typed error; never to a stranger.

use std::process::{Command, Stdio};
use std::time::Instant;

use pidfd_watcher::{Pid, Process};
use shim_spawner::{AdoptError, ShimHandler, ShimIdentity};
use workspace_tests::identity_text::{field, with_field};
use workspace_tests::namespace::{kernel, looked_at};
use workspace_tests::orders::Order;
use workspace_tests::{Folder, Guard, time_limit, until};

fn sleeper() -> (Guard, Process) {
    let mut child = Guard::spawn(
        Command::new(env!("CARGO_BIN_EXE_proc_target"))
            .arg(Order::ExitAtEof { code: 7 }.argument())
            .stdin(Stdio::piped()),
    );
    let process = Process::from_child(&mut child).expect("own child");
    (child, process)
}

/// `identity` with one field changed, or taken out.
fn forged(identity: &ShimIdentity, field: &str, value: Option<&str>) -> ShimIdentity {
    with_field(&identity.to_string(), field, value)
        .parse()
        .expect("well-formed")
}

/// What another process, a restarted runtime, makes of `identity`.
fn adopted_elsewhere(identity: &ShimIdentity) -> String {
    let folder = Folder::new();
    let path = folder.join("identity");
    identity.save(&path).expect("save");
    let output = Command::new(env!("CARGO_BIN_EXE_proc_identity"))
        .arg(Order::LoadAndOpen { path: path.clone() }.argument())
        .output()
        .expect("fixture");
    String::from_utf8(output.stdout)
        .expect("text")
        .trim_end()
        .to_owned()
}

#[test]
fn restarted_runtime_finds_the_same_process() {
    let (mut child, process) = sleeper();
    let identity = ShimIdentity::of(&process).expect("identity");
    assert_eq!(identity, ShimIdentity::of(&process).expect("identity"));
    let pid = process.pid();
    assert_eq!(
        adopted_elsewhere(&identity),
        format!("same {pid} proven {}", identity.proven())
    );

    let found = identity.open().expect("the same process");
    assert_eq!(found.pid(), pid);
    child.stdin = None;
    let exit = found.wait().expect("poll");
    assert_eq!(exit.status.and_then(|status| status.code()), looked_at(7));
    // A zombie is still the process, and its handle says that it has exited.
    let zombie = identity.open().expect("the same process");
    assert_eq!(zombie.try_wait().expect("poll"), Some(exit));

    child.wait_deadline();
    assert!(identity.open().is_err(), "reaped");
    let error = ShimIdentity::of(&process).expect_err("reaped");
    assert_eq!(error.raw_os_error(), Some(libc::ESRCH));
}

/// Since Linux 6.9 each process has an inode of its own (pidfs). What the kernel has is found out
/// without the library: two processes have two inodes there, and one before.
#[test]
fn identity_is_proven_where_two_processes_have_two_inodes() {
    let (_child, process) = sleeper();
    let (_other, other) = sleeper();
    let inode = |process| rustix::fs::fstat(process).expect("a pidfd").st_ino;
    let differ = inode(&process) != inode(&other);
    assert_eq!(differ, kernel() >= (6, 9));
    // Half of the number is no proof.
    let proves = differ && cfg!(target_pointer_width = "64");
    let identity = ShimIdentity::of(&process).expect("identity");
    assert_eq!(identity.proven(), proves);
    let saved = field(&identity.to_string(), "pidfs-inode").map(str::to_owned);
    assert_eq!(saved, proves.then(|| inode(&process).to_string()));
}

/// Whoever may write the file can make it name any process: what it says of that one is true. Keep
/// the file where only the runtime's user may write.
#[test]
fn identity_of_another_process_is_that_process() {
    let (_child, process) = sleeper();
    let stranger = ShimIdentity::of(&process).expect("identity");
    let folder = Folder::new();
    let path = folder.join("shim");
    stranger.save(&path).expect("save");
    let adopted = ShimHandler::adopt(&ShimIdentity::load(&path).expect("load"));
    assert_eq!(adopted.expect("it lives").pid(), process.pid());
}

/// It would stop itself, or wait for its own end.
#[test]
fn identity_that_names_the_runtime_itself_is_not_adopted() {
    let own = Process::open(rustix::process::getpid()).expect("this process");
    let identity = ShimIdentity::of(&own).expect("identity");
    assert_eq!(identity.open().expect("this process").pid(), own.pid());
    let adopted = ShimHandler::adopt(&identity);
    assert!(matches!(adopted, Err(AdoptError::PidReused)), "{adopted:?}");
}

#[test]
fn process_that_is_gone_is_gone() {
    let (mut child, process) = sleeper();
    let identity = ShimIdentity::of(&process).expect("identity");
    child.kill().expect("kill");
    child.wait_deadline();
    // Some other test's process may have taken the number.
    match identity.open() {
        Err(AdoptError::Gone | AdoptError::PidReused) => {}
        other => panic!("{other:?}"),
    }
    // Above any number that a process can have.
    let nobody = forged(&identity, "pid", Some("4194305"));
    assert!(matches!(nobody.open(), Err(AdoptError::Gone)));
    assert_eq!(adopted_elsewhere(&nobody), "gone");
}

#[test]
fn everything_must_fit() {
    let (_child, process) = sleeper();
    let identity = ShimIdentity::of(&process).expect("identity");
    let text = identity.to_string();
    let other = |name: &str| {
        let value: u64 = field(&text, name)
            .expect("a field")
            .parse()
            .expect("a number");
        [(value + 1).to_string(), (value - 1).to_string()]
    };
    for value in other("start-time") {
        let forged = forged(&identity, "start-time", Some(&value));
        assert!(
            matches!(forged.open(), Err(AdoptError::PidReused)),
            "start time {value}"
        );
    }
    for value in other("pid-namespace") {
        let forged = forged(&identity, "pid-namespace", Some(&value));
        assert!(
            matches!(forged.open(), Err(AdoptError::OtherNamespace)),
            "namespace {value}"
        );
    }
    let boot = field(&text, "boot-id").expect("a field");
    let last = if boot.ends_with('0') { "1" } else { "0" };
    let boot = format!("{}{last}", &boot[..boot.len() - 1]);
    let elsewhere = forged(&identity, "boot-id", Some(&boot));
    assert!(matches!(elsewhere.open(), Err(AdoptError::OtherBoot)));
    // Whether the number is taken says nothing about another boot.
    let elsewhere = forged(&elsewhere, "pid", Some("4194305"));
    assert!(matches!(elsewhere.open(), Err(AdoptError::OtherBoot)));

    if !identity.proven() {
        eprintln!("skipped: no pidfs before Linux 6.9");
        return;
    }
    // Same number, same start, same boot: what pid and clock tick cannot tell apart, the inode
    // does.
    for value in other("pidfs-inode") {
        let forged = forged(&identity, "pidfs-inode", Some(&value));
        assert!(
            matches!(forged.open(), Err(AdoptError::PidReused)),
            "inode {value}"
        );
    }
    // As saved on a kernel without pidfs: found, and it says that it is not proven.
    let unproven = forged(&identity, "pidfs-inode", None);
    assert!(!unproven.proven());
    assert_eq!(
        unproven.open().expect("the same process").pid(),
        process.pid()
    );
    assert_eq!(
        adopted_elsewhere(&unproven),
        format!("same {} proven false", process.pid())
    );
}

#[test]
fn fields_are_what_the_kernel_says() {
    let (child, process) = sleeper();
    let text = ShimIdentity::of(&process).expect("identity").to_string();
    let stat = until("stat", || {
        workspace_tests::proc_fs::stat(child.id().cast_signed())
    });
    let number = |name| field(&text, name).map(|value| value.parse::<u64>().expect("a number"));
    assert_eq!(number("pid"), Some(u64::from(child.id())));
    assert_eq!(number("start-time"), Some(stat.start_time));
    let namespace = std::fs::read_link("/proc/self/ns/pid").expect("link");
    let inode = number("pid-namespace").expect("a field");
    assert_eq!(namespace.to_str(), Some(format!("pid:[{inode}]").as_str()));
    let inode = rustix::fs::fstat(&process).expect("fstat").st_ino;
    assert!(number("pidfs-inode").is_none_or(|said| said == inode));
    assert_eq!(Pid::from_child(&child), process.pid());
}

#[test]
fn process_that_is_reaped_while_it_is_looked_at_is_gone_and_nothing_else() {
    for _ in 0..100 {
        let (mut child, process) = sleeper();
        let identity = ShimIdentity::of(&process).expect("identity");
        child.kill().expect("kill");
        let looking = std::thread::spawn(move || {
            // Without a pause, so that some look falls into the reaping.
            let deadline = Instant::now() + time_limit();
            loop {
                assert!(Instant::now() < deadline, "deadline passed: reaped");
                match ShimIdentity::of(&process) {
                    Ok(again) => assert_eq!(again, identity),
                    Err(error) => return error.raw_os_error(),
                }
            }
        });
        child.wait_deadline();
        assert_eq!(looking.join().expect("thread"), Some(libc::ESRCH));
    }
}
