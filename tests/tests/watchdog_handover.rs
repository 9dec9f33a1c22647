//! The parent's role moves: to another process, or to the runtime's next version.

use workspace_tests::cast::{Actor, Cast};
use workspace_tests::orders::{LONG, Order, Spawn};

const PARENT: &str = env!("CARGO_BIN_EXE_watchdog_parent");

fn open() -> (Cast, Actor) {
    Cast::open(env!("CARGO_BIN_EXE_watchdog_reaper"), PARENT)
}

fn child(cast: &mut Cast, parent: &mut Actor, name: &str) -> Actor {
    parent.ask(&Order::Spawn(Spawn::new(name)));
    let mut child = cast.enter(name);
    child.must(&Order::Adopt);
    child
}

/// Two runtimes and a child of the first, whose keepalive has moved to the second.
fn handed_over() -> (Cast, Actor, Actor, Actor) {
    let (mut cast, mut first) = open();
    first.ask(&Order::Spawn(Spawn::new("second").program(PARENT)));
    let mut second = cast.enter("second");
    let child = child(&mut cast, &mut first, "child");
    let path = cast.folder().join("hand-over");
    assert_eq!(second.ask(&Order::Receive { path: path.clone() }), "ready");
    // Link 0 is the second runtime's own, which it did not adopt.
    first.must(&Order::Send { link: 1, path });
    assert_eq!(second.hear(), "ok");
    (cast, first, second, child)
}

#[test]
fn child_outlives_the_first_holder_and_is_told_of_the_second_ones_death() {
    let (mut cast, first, second, mut child) = handed_over();
    first.kill();
    cast.ended(&first);
    assert_eq!(child.ask(&Order::TryWait), "None");
    child.tell(&Order::Wait);
    assert!(child.is_silent());
    second.kill();
    assert_eq!(child.hear(), "ParentExited");
}

#[test]
fn second_holder_may_drop_what_it_was_handed() {
    let (_cast, first, mut second, mut child) = handed_over();
    first.kill();
    second.must(&Order::Drop { link: 0 });
    assert_eq!(child.ask(&Order::Wait), "KeepaliveDropped");
}

#[test]
fn second_holder_may_release_what_it_was_handed() {
    let (_cast, first, mut second, mut child) = handed_over();
    first.kill();
    second.must(&Order::Release { link: 0 });
    second.kill();
    assert_eq!(child.ask(&Order::Wait), "Released");
}

// The runtime executes its next version, which keeps the links.
#[test]
fn children_live_through_a_live_upgrade_and_die_with_the_new_version() {
    let (mut cast, mut parent) = open();
    let mut enforced = child(&mut cast, &mut parent, "enforced");
    enforced.must(&Order::enforce(libc::SIGTERM, LONG));
    let mut waiting = child(&mut cast, &mut parent, "waiting");
    waiting.tell(&Order::Wait);
    let pid = parent.pid();
    parent.tell(&Order::Upgrade {
        program: PARENT.into(),
    });
    let mut upgraded = cast.enter("upgraded");
    assert_eq!(upgraded.pid(), pid);
    assert!(waiting.is_silent());
    enforced.must(&Order::Answer);
    // Three versions are as good as two.
    upgraded.tell(&Order::Upgrade {
        program: PARENT.into(),
    });
    let mut third = cast.enter("upgraded");
    assert!(waiting.is_silent());
    enforced.must(&Order::Answer);
    // What the new version starts inherits none of the kept write ends: they are close-on-exec
    // again.
    let mut later = child(&mut cast, &mut third, "later");
    third.kill();
    assert_eq!(waiting.hear(), "ParentExited");
    assert_eq!(later.ask(&Order::Wait), "ParentExited");
    enforced.gone();
}

// `Keepalive::from_fd` takes back what was handed over.
#[test]
fn upgrade_whose_exec_failed_takes_the_children_back() {
    let (mut cast, mut parent) = open();
    let mut child = child(&mut cast, &mut parent, "child");
    let answer = parent.ask(&Order::Upgrade {
        program: "/nowhere/at/all".into(),
    });
    assert_eq!(answer, format!("still here {}", libc::ENOENT));
    // Taken back: close-on-exec again, so that a sibling does not hold it.
    parent.ask(&Order::Spawn(Spawn::new("sibling")));
    let _sibling = cast.enter("sibling");
    assert_eq!(child.ask(&Order::TryWait), "None");
    parent.must(&Order::Drop { link: 0 });
    assert_eq!(child.ask(&Order::Wait), "KeepaliveDropped");
}

#[test]
fn death_after_a_failed_upgrade_is_told() {
    let (mut cast, mut parent) = open();
    let mut child = child(&mut cast, &mut parent, "child");
    parent.ask(&Order::Upgrade {
        program: "/nowhere/at/all".into(),
    });
    parent.ask(&Order::Spawn(Spawn::new("sibling")));
    let _sibling = cast.enter("sibling");
    parent.kill();
    assert_eq!(child.ask(&Order::Wait), "ParentExited");
}

// A last word that nobody can take: docs/pitfalls.md#sigpipe-from-the-last-word.

#[test]
fn release_to_a_child_that_filled_its_pipe_gives_the_keepalive_back() {
    let (mut cast, mut parent) = open();
    let mut child = child(&mut cast, &mut parent, "child");
    child.must(&Order::FillPipe);
    assert_eq!(
        parent.ask(&Order::Release { link: 0 }),
        format!("error {}", libc::EAGAIN)
    );
    child.must(&Order::DrainPipe);
    // It still works.
    parent.must(&Order::Release { link: 0 });
    assert_eq!(child.ask(&Order::Wait), "Released");
}

#[test]
fn death_is_told_to_a_child_that_filled_its_pipe() {
    let (mut cast, mut parent) = open();
    let mut child = child(&mut cast, &mut parent, "child");
    child.must(&Order::FillPipe);
    // No room for a word: neither hangs, and the close is a verdict of its own.
    parent.must(&Order::Drop { link: 0 });
    assert_eq!(child.ask(&Order::Wait), "ParentExited");
}

#[test]
fn release_to_a_dead_child_gives_the_keepalive_back() {
    let (mut cast, mut parent) = open();
    let child = child(&mut cast, &mut parent, "child");
    child.kill();
    assert_eq!(
        parent.ask(&Order::Release { link: 0 }),
        format!("error {}", libc::EPIPE)
    );
    assert_eq!(
        parent.ask(&Order::HandOver { link: 0 }),
        format!("error {}", libc::EPIPE)
    );
}

// Nothing that it gets is a handle on its parent: docs/pitfalls.md#a-handle-on-the-parent.
#[test]
fn child_gets_the_read_end_of_a_pipe_and_the_sentinels_page_and_no_more() {
    let (mut cast, mut parent) = open();
    parent.ask(&Order::Spawn(Spawn::new("first")));
    parent.ask(&Order::Spawn(Spawn::new("second")));
    let mut second = cast.enter("second");
    let given = second.ask(&Order::ListGiven);
    let (pipe, page) = given.split_once(' ').expect("two descriptors");
    assert!(pipe.starts_with("3=pipe:["), "{given}");
    assert_eq!(page, "4=/memfd:watchdog-sentinel (deleted)");
    // It is adopted, so that it can be no write end.
    second.must(&Order::Adopt);
    assert_eq!(second.ask(&Order::TryWait), "None");
    // What is mapped needs no descriptor.
    let given = second.ask(&Order::ListGiven);
    assert!(!given.contains("memfd"), "{given}");
}

#[test]
fn child_of_a_link_without_a_sentinel_gets_the_read_end_and_no_more() {
    let (mut cast, mut parent) = open();
    parent.ask(&Order::Spawn(Spawn::new("child").pipe_alone()));
    let given = cast.enter("child").ask(&Order::ListGiven);
    assert!(
        given.starts_with("3=pipe:[") && !given.contains(' '),
        "{given}"
    );
}

// docs/pitfalls.md#an-agreed-number
#[test]
fn program_that_the_child_starts_has_no_copy_of_the_pipe() {
    let (mut cast, mut parent) = open();
    parent.ask(&Order::Spawn(Spawn::new("child")));
    let mut child = cast.enter("child");
    // The control: before the adoption a program does inherit it.
    assert_eq!(child.ask(&Order::StartDescendant), "has the pipe");
    child.must(&Order::Adopt);
    assert_eq!(child.ask(&Order::StartDescendant), "has no pipe");
}
