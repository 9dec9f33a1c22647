//! The parent's sentinel: told of a death by the kernel itself, before the pipe. A forked copy of
//! the parent that never executes anything holds the write end in most of these, so that the pipe
//! cannot be what has told.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::time::Duration;

use rustix::process::Signal;
use workspace_tests::cast::{Actor, Bystander, Cast};
use workspace_tests::orders::{Callback, Death, LONG, Order, SentinelPart, Spawn};
use workspace_tests::proc_fs::open_signals;
use workspace_tests::until;

const PARENT: &str = env!("CARGO_BIN_EXE_watchdog_parent");

const WHOLE: &str = "Guarantees(END_IS_TOLD | BEFORE_TEARDOWN | WHOEVER_HOLDS_THE_PIPE)";

const PIPE_ALONE: &str = "Guarantees(END_IS_TOLD)";

fn open() -> (Cast, Actor) {
    Cast::open(env!("CARGO_BIN_EXE_watchdog_reaper"), PARENT)
}

/// A child that has adopted; `options` are the parent's for spawning it.
fn child(cast: &mut Cast, parent: &mut Actor, spawn: Spawn) -> Actor {
    parent.ask(&Order::Spawn(spawn));
    let mut child = cast.enter("child");
    child.must(&Order::Adopt);
    child
}

/// A parent, its child, and the copy that holds every write end to the end of the test.
fn with_sleeper(spawn: Spawn) -> (Cast, Actor, Actor, Bystander) {
    let (mut cast, mut parent) = open();
    let child = child(&mut cast, &mut parent, spawn);
    let sleeper = Bystander::of(&parent.ask(&Order::ForkSleeper));
    (cast, parent, child, sleeper)
}

fn threads_are(child: &mut Actor, count: usize) {
    let count = count.to_string();
    until("threads come or go", || {
        (child.ask(&Order::CountThreads) == count).then_some(())
    });
}

#[test]
fn both_sides_know_what_is_guaranteed() {
    let (mut cast, mut parent) = open();
    let mut child = child(&mut cast, &mut parent, Spawn::new("child"));
    assert_eq!(parent.ask(&Order::GuaranteesOf { link: 0 }), WHOLE);
    assert_eq!(child.ask(&Order::Guarantees), WHOLE);
    assert_eq!(child.ask(&Order::CountThreads), "1");
}

#[test]
fn a_link_without_a_sentinel_guarantees_less() {
    let (mut cast, mut parent) = open();
    let mut child = child(&mut cast, &mut parent, Spawn::new("child").pipe_alone());
    assert_eq!(parent.ask(&Order::GuaranteesOf { link: 0 }), PIPE_ALONE);
    assert_eq!(child.ask(&Order::Guarantees), PIPE_ALONE);
}

// Told in each way there is to be told.

#[test]
fn waiting_child_is_told_whoever_holds_the_pipe() {
    let (_cast, parent, mut child, _sleeper) = with_sleeper(Spawn::new("child"));
    child.tell(&Order::Wait);
    threads_are_two(&child);
    parent.kill();
    assert_eq!(child.hear(), "ParentExited");
    assert_eq!(child.ask(&Order::TryWait), "Some(ParentExited)");
}

/// The child is asleep, and another thread of it listens.
fn threads_are_two(child: &Actor) {
    until("a thread listens", || {
        let tasks = fs::read_dir(format!("/proc/{}/task", child.pid())).ok()?;
        (tasks.count() == 2).then_some(())
    });
}

#[test]
fn child_that_looks_later_is_told_whoever_holds_the_pipe() {
    let (mut cast, parent, mut child, _sleeper) = with_sleeper(Spawn::new("child"));
    assert_eq!(child.ask(&Order::TryWait), "None");
    parent.kill();
    cast.ended(&parent);
    assert_eq!(child.ask(&Order::TryWait), "Some(ParentExited)");
    assert_eq!(child.ask(&Order::CountThreads), "1");
}

#[test]
fn event_loop_is_told_whoever_holds_the_pipe() {
    let (_cast, parent, mut child, _sleeper) = with_sleeper(Spawn::new("child"));
    child.tell(&Order::Poll);
    threads_are_two(&child);
    parent.kill();
    assert_eq!(child.hear(), "ParentExited");
}

#[test]
fn event_loop_that_asks_after_the_death_is_told() {
    let (mut cast, parent, mut child, _sleeper) = with_sleeper(Spawn::new("child"));
    parent.kill();
    cast.ended(&parent);
    assert_eq!(child.ask(&Order::Poll), "ParentExited");
}

#[test]
fn enforced_child_is_gone_whoever_holds_the_pipe() {
    let (_cast, parent, mut child, _sleeper) = with_sleeper(Spawn::new("child"));
    child.must(&Order::enforce(libc::SIGTERM, LONG));
    parent.kill();
    child.gone();
}

#[test]
fn callback_is_told_whoever_holds_the_pipe() {
    let (mut cast, parent, mut child, _sleeper) = with_sleeper(Spawn::new("child"));
    child.tell(&Order::Callback(Callback::Tells));
    let mut callback = cast.enter("callback");
    assert_eq!(child.hear(), "ok");
    parent.kill();
    assert_eq!(callback.hear(), "ParentExited");
    // Both threads end with it.
    threads_are(&mut child, 1);
    assert_eq!(child.ask(&Order::Cancel), "Some(ParentExited)");
}

#[test]
fn callback_on_the_sentinels_word_may_cancel_itself() {
    let (mut cast, parent, mut child, _sleeper) = with_sleeper(Spawn::new("child"));
    child.tell(&Order::Callback(Callback::Cancels));
    let mut callback = cast.enter("callback");
    assert_eq!(child.hear(), "ok");
    parent.kill();
    assert_eq!(callback.hear(), "Some(ParentExited)");
    threads_are(&mut child, 1);
}

#[test]
fn dropped_and_released_are_told_by_word_whoever_holds_the_pipe() {
    let (mut cast, mut parent) = open();
    let mut children: Vec<Actor> = (0..2)
        .map(|_| child(&mut cast, &mut parent, Spawn::new("child")))
        .collect();
    let _sleeper = Bystander::of(&parent.ask(&Order::ForkSleeper));
    children
        .iter_mut()
        .for_each(|child| child.tell(&Order::Wait));
    parent.must(&Order::Drop { link: 0 });
    parent.must(&Order::Release { link: 1 });
    parent.kill();
    cast.ended(&parent);
    assert_eq!(children[0].hear(), "KeepaliveDropped");
    assert_eq!(children[1].hear(), "Released");
}

// docs/kernel.md#death
#[test]
fn execve_without_a_hand_over_is_told_whoever_holds_the_pipe() {
    let (_cast, mut parent, mut child, _sleeper) = with_sleeper(Spawn::new("child"));
    child.tell(&Order::Wait);
    parent.tell(&Order::Die(Death::Exec));
    assert_eq!(child.hear(), "ParentExited");
    assert!(parent.is_running());
}

// What is not the end of the process is not told, though threads and processes come and go.
#[test]
fn what_the_parent_spawns_fires_nothing() {
    let (_cast, mut parent, mut child, _sleeper) = with_sleeper(Spawn::new("child"));
    child.tell(&Order::Wait);
    for _ in 0..20 {
        parent.must(&Order::Run {
            program: "/bin/true".into(),
        });
        parent.must(&Order::MakeLinks { count: 3 });
    }
    assert!(child.is_silent());
    parent.must(&Order::Drop { link: 0 });
    assert_eq!(child.hear(), "KeepaliveDropped");
}

// Namespaces and privilege: the word is known by its file and offset, and the owner by its number
// in its own namespace.

#[test]
fn child_in_another_user_namespace_is_told_whoever_holds_the_pipe() {
    let (_cast, parent, mut child, _sleeper) =
        with_sleeper(Spawn::new("child").unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNS));
    assert_eq!(child.ask(&Order::Guarantees), WHOLE);
    parent.kill();
    assert_eq!(child.ask(&Order::Wait), "ParentExited");
}

#[test]
fn child_that_is_pid_1_is_told_whoever_holds_the_pipe() {
    let (mut cast, mut parent) = open();
    // Once its children are to be in another namespace, a process can start no thread.
    parent.must(&Order::HoldLinks { count: 1 });
    parent.must(&Order::UnsharePid);
    let mut child = child(&mut cast, &mut parent, Spawn::new("child"));
    let _sleeper = Bystander::of(&parent.ask(&Order::ForkSleeper));
    assert_eq!(child.ask(&Order::TellPid), "1");
    assert_eq!(child.ask(&Order::Guarantees), WHOLE);
    child.must(&Order::enforce(libc::SIGTERM, Duration::ZERO));
    parent.kill();
    child.gone();
}

#[test]
fn parent_in_a_pid_namespace_of_its_own_is_told_of_by_its_number_there() {
    let (mut cast, mut outer) = open();
    outer.must(&Order::UnsharePid);
    outer.ask(&Order::Spawn(Spawn::new("init").program(PARENT)));
    let mut init = cast.enter("init");
    init.ask(&Order::Spawn(Spawn::new("parent").program(PARENT)));
    let mut parent = cast.enter("parent");
    let mut child = child(&mut cast, &mut parent, Spawn::new("child"));
    parent.ask(&Order::ForkSleeper);
    child.tell(&Order::Wait);
    assert!(child.is_silent());
    parent.kill();
    assert_eq!(child.hear(), "ParentExited");
}

#[test]
fn setuid_child_is_told_whoever_holds_the_pipe() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root can make a program setuid root");
        return;
    }
    let (mut cast, mut parent) = open();
    let program = cast.folder().join("setuid-child");
    fs::copy(env!("CARGO_BIN_EXE_watchdog_child"), &program).expect("copy the child program");
    chown(&program, Some(0), Some(0)).expect("chown");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o4755)).expect("chmod");
    parent.must(&Order::Become { uid: 65534 });
    let mut child = child(
        &mut cast,
        &mut parent,
        Spawn::new("child").program(&program),
    );
    if child.ask(&Order::TellEuid) != "0" {
        eprintln!(
            "skipped: {} is on a file system mounted nosuid",
            program.display()
        );
        return;
    }
    let _sleeper = Bystander::of(&parent.ask(&Order::ForkSleeper));
    assert_eq!(child.ask(&Order::Guarantees), WHOLE);
    parent.kill();
    assert_eq!(child.ask(&Order::Wait), "ParentExited");
}

// Root, with namespaces of its own, finds no handle: docs/pitfalls.md#a-handle-on-the-parent.
#[test]
fn child_gets_nothing_of_its_parent_by_what_it_was_given() {
    let (mut cast, mut parent) = open();
    parent.must(&Order::HoldLinks { count: 1 });
    parent.must(&Order::UnsharePid);
    parent.ask(&Order::Spawn(
        Spawn::new("child").unshare(libc::CLONE_NEWNS),
    ));
    let mut child = cast.enter("child");
    assert_eq!(child.ask(&Order::TellPid), "1");
    assert!(
        child
            .ask(&Order::ListGiven)
            .contains("memfd:watchdog-sentinel")
    );
    assert_eq!(child.ask(&Order::Intrude), "");
    // It is still of use.
    child.must(&Order::Adopt);
    assert_eq!(child.ask(&Order::Guarantees), WHOLE);
    parent.must(&Order::Drop { link: 1 });
    assert_eq!(child.ask(&Order::Wait), "KeepaliveDropped");
}

// The pipe is the backstop of a parent that has written over what is the sentinel's.

#[test]
fn parent_that_wrote_over_its_words_is_told_of_by_the_pipe() {
    backstop(SentinelPart::Words);
}

#[test]
fn parent_that_wrote_over_its_list_is_told_of_by_the_pipe() {
    backstop(SentinelPart::List);
}

fn backstop(part: SentinelPart) {
    let (mut cast, mut parent) = open();
    let mut waiting = child(&mut cast, &mut parent, Spawn::new("child"));
    let mut enforced = child(&mut cast, &mut parent, Spawn::new("child"));
    waiting.tell(&Order::Wait);
    enforced.must(&Order::enforce(libc::SIGTERM, LONG));
    parent.must(&Order::WriteOver(part));
    assert!(waiting.is_silent());
    parent.kill();
    assert_eq!(waiting.hear(), "ParentExited");
    enforced.gone();
}

// The spawner that passes on the pipe alone is no worse off than before.
#[test]
fn child_that_was_not_given_the_page_follows_the_pipe_alone() {
    let (mut cast, mut parent) = open();
    let mut child = child(
        &mut cast,
        &mut parent,
        Spawn::new("child").page_stays_behind(),
    );
    assert_eq!(child.ask(&Order::Guarantees), PIPE_ALONE);
    parent.kill();
    assert_eq!(child.ask(&Order::Wait), "ParentExited");
}

// A slot's next link never speaks to the child of the one before: neither the word on the pipe nor
// the pipe's end is there to save it.
#[test]
fn child_of_a_slot_that_others_have_now_is_not_told_of_their_end() {
    let (mut cast, mut first) = open();
    first.ask(&Order::Spawn(Spawn::new("second").program(PARENT)));
    let mut second = cast.enter("second");
    let mut looking = child(&mut cast, &mut first, Spawn::new("child"));
    let mut waiting = child(&mut cast, &mut first, Spawn::new("child"));
    waiting.tell(&Order::Wait);
    threads_are_two(&waiting);
    let path = cast.folder().join("hand-over");
    for link in [1, 2] {
        assert_eq!(second.ask(&Order::Receive { path: path.clone() }), "ready");
        first.must(&Order::Send {
            link,
            path: path.clone(),
        });
        assert_eq!(second.hear(), "ok");
        fs::remove_file(&path).expect("the socket");
    }
    // Both slots go round and round, and belong to somebody at the end.
    first.must(&Order::MakeLinks { count: 3000 });
    first.must(&Order::HoldLinks { count: 300 });
    first.kill();
    cast.ended(&first);
    assert_eq!(looking.ask(&Order::TryWait), "None");
    assert!(waiting.is_silent());
    second.must(&Order::Drop { link: 0 });
    second.must(&Order::Drop { link: 1 });
    assert_eq!(looking.ask(&Order::Wait), "KeepaliveDropped");
    assert_eq!(waiting.hear(), "KeepaliveDropped");
}

// No thread is left behind in the child.

#[test]
fn watchdog_that_is_dropped_leaves_no_thread() {
    let (mut cast, mut parent) = open();
    let mut child = child(&mut cast, &mut parent, Spawn::new("child"));
    child.must(&Order::AskForDescriptor);
    assert_eq!(child.ask(&Order::CountThreads), "2");
    child.must(&Order::DropWatchdog);
    threads_are(&mut child, 1);
}

#[test]
fn monitor_that_is_cancelled_leaves_no_thread() {
    let (mut cast, mut parent) = open();
    let mut child = child(&mut cast, &mut parent, Spawn::new("child"));
    child.must(&Order::AskForDescriptor);
    child.must(&Order::enforce(libc::SIGKILL, Duration::ZERO));
    threads_are(&mut child, 3);
    assert_eq!(child.ask(&Order::Cancel), "None");
    threads_are(&mut child, 1);
    parent.kill();
    child.must(&Order::Answer);
}

#[test]
fn copy_of_a_child_that_listens_drops_its_watchdog_and_hangs_on_nothing() {
    let (_cast, parent, mut child, _sleeper) = with_sleeper(Spawn::new("child"));
    child.must(&Order::AskForDescriptor);
    child.must(&Order::ForkAndDrop);
    child.tell(&Order::Wait);
    parent.signal(Signal::KILL);
    assert_eq!(child.hear(), "ParentExited");
}

#[test]
fn threads_of_a_watchdog_block_every_signal() {
    let (mut cast, mut parent) = open();
    let mut waiting = child(&mut cast, &mut parent, Spawn::new("child"));
    let mut enforced = child(&mut cast, &mut parent, Spawn::new("child"));
    waiting.must(&Order::AskForDescriptor);
    enforced.must(&Order::enforce(libc::SIGTERM, LONG));
    for (child, threads) in [(&waiting, 1), (&enforced, 2)] {
        let tasks = fs::read_dir(format!("/proc/{}/task", child.pid())).expect("tasks");
        let tasks = tasks.map(|task| task.expect("a task").file_name());
        let numbers = tasks.map(|name| name.to_string_lossy().parse().expect("a number"));
        let ours: Vec<i32> = numbers.filter(|thread| *thread != child.pid()).collect();
        assert_eq!(ours.len(), threads);
        for thread in ours {
            assert_eq!(open_signals(child.pid(), thread), 0);
        }
    }
}
