//! A child in each language, whose parent uses watchdog-pipe.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};

use rustix::process::Signal;
use workspace_tests::cast::{Actor, Bystander, Cast};
use workspace_tests::orders::{LONG, Order, Spawn};
use workspace_tests::{Guard, proc_fs};

use crate::foreign::{AS_IT_IS, Foreign};

/// A parent in its cast.
fn open() -> (Cast, Actor) {
    Cast::open(
        env!("CARGO_BIN_EXE_watchdog_reaper"),
        env!("CARGO_BIN_EXE_watchdog_parent"),
    )
}

/// A child as its parent starts it if nothing else is asked for.
fn plain(spawn: Spawn) -> Spawn {
    spawn
}

/// Its parent is killed.
fn ends_when_its_parent_is_killed(language: &str, variable: &str) {
    let Some(mut foreign) = Foreign::new(language, variable) else {
        return;
    };
    let (_cast, mut parent) = open();
    let process = foreign.spawn(&mut parent, plain);
    assert_eq!(foreign.hear(), "ready");
    foreign.works();
    parent.kill();
    assert_eq!(foreign.hear(), "exited");
    process.gone();
}

/// Its parent was killed before it looked for the first time.
fn ends_if_its_parent_is_dead_already(language: &str) {
    let Some(mut foreign) = Foreign::new(language, AS_IT_IS) else {
        return;
    };
    let (mut cast, mut parent) = open();
    let process = foreign.spawn(&mut parent, Spawn::stopped);
    process.stopped();
    parent.kill();
    cast.ended(&parent);
    process.signal(Signal::CONT);
    // It may end before it says that it is ready.
    let first = foreign.hear();
    let verdict = if first == "ready" {
        foreign.hear()
    } else {
        first
    };
    assert_eq!(verdict, "exited");
    process.gone();
}

/// Its parent drops the keepalive, and lives.
fn ends_when_its_parent_lets_go(language: &str) {
    let Some(mut foreign) = Foreign::new(language, AS_IT_IS) else {
        return;
    };
    let (_cast, mut parent) = open();
    let process = foreign.spawn(&mut parent, plain);
    assert_eq!(foreign.hear(), "ready");
    parent.must(&Order::Drop { link: 0 });
    assert_eq!(foreign.hear(), "dropped");
    process.gone();
}

/// Its parent releases it, and is killed.
fn lives_on_once_it_is_released(language: &str) {
    let Some(mut foreign) = Foreign::new(language, AS_IT_IS) else {
        return;
    };
    let (mut cast, mut parent) = open();
    let process = foreign.spawn(&mut parent, plain);
    assert_eq!(foreign.hear(), "ready");
    parent.must(&Order::Release { link: 0 });
    assert_eq!(foreign.hear(), "released");
    parent.kill();
    cast.ended(&parent);
    foreign.works();
    foreign.hang_up();
    process.gone();
}

/// The write end of the parent's one link, opened once more.
fn writer(parent: &Actor) -> File {
    let open = proc_fs::fds_of(parent.pid());
    let pipe = open
        .iter()
        .find(|(number, file)| **number > 2 && file.starts_with("pipe:"));
    let path = format!("/proc/{}/fd/{}", parent.pid(), pipe.expect("a pipe").0);
    OpenOptions::new().write(true).open(path).expect("open")
}

/// Stray bytes, half a word, and a word that is no verdict: then comes one that is.
fn passes_over_what_is_no_verdict(language: &str) {
    let Some(mut foreign) = Foreign::new(language, AS_IT_IS) else {
        return;
    };
    let (_cast, mut parent) = open();
    let process = foreign.spawn(&mut parent, plain);
    assert_eq!(foreign.hear(), "ready");
    let mut stray = writer(&parent);
    stray.write_all(b"??\nwd:hand\nwd:dro").expect("write");
    drop(stray);
    foreign.works();
    parent.must(&Order::Drop { link: 0 });
    assert_eq!(foreign.hear(), "dropped");
    process.gone();
}

/// Started with that variable by somebody who makes no link.
fn started(foreign: &Foreign) -> Guard {
    let [shell, script] = foreign.program();
    let mut command = Command::new(shell);
    Guard::spawn(
        command
            .arg(script)
            .stdin(Stdio::null())
            .stdout(Stdio::null()),
    )
}

/// The number that the variable names is not open.
fn takes_no_variable_of_another_process(language: &str) {
    let Some(mut foreign) = Foreign::new(language, "fd=9,pipe=14:90210") else {
        return;
    };
    let mut process = started(&foreign);
    assert_eq!(foreign.hear(), "unsupervised");
    foreign.works();
    foreign.hang_up();
    assert!(process.wait_deadline().success());
}

/// Its own number is open, as another file.
fn takes_no_file_for_its_pipe(language: &str) {
    let variable = "$(echo $WATCHDOG_PIPE | sed 's/pipe=[0-9]*/pipe=9999/')";
    let Some(mut foreign) = Foreign::new(language, variable) else {
        return;
    };
    let (_cast, mut parent) = open();
    let _process = foreign.spawn(&mut parent, plain);
    assert_eq!(foreign.hear(), "unsupervised");
    parent.kill();
    foreign.works();
}

/// Neither the pipe nor anything else.
fn refuses_a_variable_without_a_pipe(language: &str) {
    for malformed in ["", "fd=3", "pipe=14:90210"] {
        let Some(foreign) = Foreign::new(language, malformed) else {
            return;
        };
        let status = started(&foreign).wait_deadline();
        assert!(!status.success(), "{malformed:?}: {status}");
    }
}

macro_rules! children {
    ($($language:ident)*) => {
        $(mod $language {
            use super::AS_IT_IS;

            const LANGUAGE: &str = stringify!($language);

            #[test]
            fn child_ends_when_its_parent_is_killed() {
                super::ends_when_its_parent_is_killed(LANGUAGE, AS_IT_IS);
            }

            #[test]
            fn child_passes_over_keys_that_it_does_not_know() {
                let more = "later=4:x:-1,$WATCHDOG_PIPE,fdx=1,empty=";
                super::ends_when_its_parent_is_killed(LANGUAGE, more);
            }

            #[test]
            fn child_ends_if_its_parent_was_dead_before_it_looked() {
                super::ends_if_its_parent_is_dead_already(LANGUAGE);
            }

            #[test]
            fn child_ends_when_its_parent_lets_go() {
                super::ends_when_its_parent_lets_go(LANGUAGE);
            }

            #[test]
            fn child_that_was_released_outlives_its_parent() {
                super::lives_on_once_it_is_released(LANGUAGE);
            }

            #[test]
            fn child_passes_over_bytes_that_are_no_verdict() {
                super::passes_over_what_is_no_verdict(LANGUAGE);
            }

            #[test]
            fn variable_that_names_a_closed_number_is_not_for_the_child() {
                super::takes_no_variable_of_another_process(LANGUAGE);
            }

            #[test]
            fn variable_that_names_another_pipe_is_not_for_the_child() {
                super::takes_no_file_for_its_pipe(LANGUAGE);
            }

            #[test]
            fn variable_without_a_pipe_is_refused() {
                super::refuses_a_variable_without_a_pipe(LANGUAGE);
            }
        })*
    };
}

children! { python node shell c c_with_sentinel }

/// It sends itself the signal of the policy, whose default action ends it.
#[test]
fn python_child_stops_by_the_policy_of_its_parent() {
    let Some(mut foreign) = Foreign::new("python", AS_IT_IS) else {
        return;
    };
    let (mut cast, mut parent) = open();
    let process = foreign.spawn(&mut parent, |spawn| spawn.policy(libc::SIGUSR1, LONG));
    assert_eq!(foreign.hear(), "ready");
    parent.kill();
    assert_eq!(foreign.hear(), "exited");
    let status = cast.status_of(process.pid());
    assert_eq!(status.signal(), Some(libc::SIGUSR1), "{status}");
}

/// A copy of the parent, made by fork, holds the write end.
fn killed_with_a_holder_left(
    language: &str,
    variable: &str,
    adapt: fn(Spawn) -> Spawn,
    by_the_page: bool,
) {
    let Some(mut foreign) = Foreign::new(language, variable) else {
        return;
    };
    let (mut cast, mut parent) = open();
    let process = foreign.spawn(&mut parent, adapt);
    assert_eq!(foreign.hear(), "ready");
    let holder = Bystander::of(&parent.ask(&Order::ForkSleeper));
    parent.kill();
    if !by_the_page {
        cast.ended(&parent);
        foreign.works();
        holder.kill();
    }
    assert_eq!(foreign.hear(), "exited");
    process.gone();
}

#[test]
fn child_that_reads_the_page_is_told_whoever_holds_the_pipe() {
    killed_with_a_holder_left("c_with_sentinel", AS_IT_IS, plain, true);
}

#[test]
fn child_that_follows_the_pipe_alone_is_told_once_nobody_holds_it() {
    killed_with_a_holder_left("c", AS_IT_IS, plain, false);
}

#[test]
fn child_follows_the_pipe_alone_if_the_page_was_not_passed_on() {
    killed_with_a_holder_left("c_with_sentinel", AS_IT_IS, Spawn::page_stays_behind, false);
}

/// The last number of the field `sentinel` is another one's.
#[test]
fn child_does_not_take_the_word_of_another_link_for_its_own() {
    let variable = "$(echo $WATCHDOG_PIPE | sed 's/\\(sentinel=[0-9:]*:\\)[0-9]*/\\177/')";
    killed_with_a_holder_left("c_with_sentinel", variable, plain, false);
}
