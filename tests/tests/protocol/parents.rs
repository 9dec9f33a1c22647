//! A parent in Python, which has the pipe alone.

use std::process::Command;

use workspace_tests::Dialogue;
use workspace_tests::cast::{Actor, Bystander, Cast};
use workspace_tests::installed::installed;
use workspace_tests::orders::Order;

use crate::foreign::{AS_IT_IS, Foreign, example};

/// A parent, and the process that it has started.
fn parent_of(program: &mut Command) -> (Dialogue, Bystander) {
    let mut parent = Dialogue::spawn(program);
    let child = Bystander::of(&parent.hear());
    (parent, child)
}

fn python() -> Option<Command> {
    let mut command = Command::new("python3");
    command.arg(example("parent.py"));
    installed(&["python3"]).then_some(command)
}

/// The parent of a child that uses watchdog-pipe, and has adopted its link.
fn with_a_rust_child(play: impl FnOnce(Dialogue, &mut Actor)) {
    let Some(mut python) = python() else { return };
    let mut cast = Cast::new();
    let (name, value) = cast.env();
    python.args([env!("CARGO_BIN_EXE_watchdog_child"), "child"]);
    let (parent, _process) = parent_of(python.env(name, value));
    let mut child = cast.enter("child");
    child.must(&Order::Adopt);
    play(parent, &mut child);
}

#[test]
fn rust_child_is_told_that_its_python_parent_was_killed() {
    with_a_rust_child(|mut parent, child| {
        child.tell(&Order::Wait);
        parent.child().kill().expect("own child");
        assert_eq!(child.hear(), "ParentExited");
    });
}

#[test]
fn rust_child_is_told_that_its_python_parent_exited() {
    with_a_rust_child(|mut parent, child| {
        child.tell(&Order::Wait);
        parent.hang_up();
        assert_eq!(child.hear(), "ParentExited");
    });
}

#[test]
fn rust_child_is_told_that_its_python_parent_lets_go() {
    with_a_rust_child(|mut parent, child| {
        assert_eq!(child.ask(&Order::TryWait), "None");
        parent.say("drop");
        assert_eq!(child.ask(&Order::Wait), "KeepaliveDropped");
    });
}

#[test]
fn rust_child_is_told_that_its_python_parent_releases_it() {
    with_a_rust_child(|mut parent, child| {
        parent.say("release");
        assert_eq!(child.ask(&Order::Wait), "Released");
        parent.child().kill().expect("own child");
        parent.child().wait_deadline();
        assert_eq!(child.ask(&Order::TryWait), "Some(Released)");
    });
}

#[test]
fn rust_child_of_a_python_parent_is_promised_the_pipe_alone() {
    with_a_rust_child(|_parent, child| {
        let promised = child.ask(&Order::Guarantees);
        assert_eq!(promised, "Guarantees(END_IS_TOLD)");
    });
}

/// Not by the signal that watchdog-pipe takes if none is named.
#[test]
fn rust_child_stops_by_the_policy_of_its_python_parent() {
    with_a_rust_child(|mut parent, child| {
        child.must(&Order::EnforceInherited);
        parent.say("drop");
        child.gone();
        assert_eq!(parent.hear(), format!("-{}", libc::SIGINT));
    });
}

/// Its Python parent is killed, or lets go, or releases it.
fn foreign_child(language: &str) {
    for (order, verdict) in [("", "exited"), ("drop", "dropped"), ("release", "released")] {
        let Some(mut foreign) = Foreign::new(language, AS_IT_IS) else {
            return;
        };
        let Some(mut python) = python() else { return };
        let (mut parent, process) = parent_of(python.args(foreign.program()));
        assert_eq!(foreign.hear(), "ready");
        if order.is_empty() {
            parent.child().kill().expect("own child");
        } else {
            parent.say(order);
        }
        assert_eq!(foreign.hear(), verdict);
        if verdict == "released" {
            parent.child().kill().expect("own child");
            parent.child().wait_deadline();
            foreign.works();
            foreign.hang_up();
        }
        process.gone();
    }
}

macro_rules! children_of_a_python_parent {
    ($($name:ident in $language:literal)*) => {
        $(#[test]
        fn $name() {
            foreign_child($language);
        })*
    };
}

children_of_a_python_parent! {
    python_child_follows_its_python_parent in "python"
    node_child_follows_its_python_parent in "node"
    shell_child_follows_its_python_parent in "shell"
    c_child_follows_its_python_parent in "c"
    c_child_that_finds_no_sentinel_follows_its_python_parent in "c_with_sentinel"
}
