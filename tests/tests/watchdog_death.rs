//! A real parent process dies, with no other path that could tell its child: no PDEATHSIG, no terminal, a
//! session each. pitfalls.md, "shutdown tested while another path also sends SIGTERM".

use rustix::process::Signal;
use workspace_tests::stage::{Actor, Bystander, Stage};
use workspace_tests::until;

/// A parent on its stage.
fn open() -> (Stage, Actor) {
    Stage::open(
        env!("CARGO_BIN_EXE_watchdog_reaper"),
        env!("CARGO_BIN_EXE_watchdog_parent"),
    )
}

/// A child of `parent` that has adopted its watchdog.
fn child(stage: &mut Stage, parent: &mut Actor, name: &str) -> Actor {
    parent.ask(&format!("spawn {name}"));
    // What follows the name says how.
    let name = name.split(' ').next().unwrap_or_default();
    let mut child = stage.enter(name);
    child.must("adopt");
    child
}

/// The parent dies by `kill`; the waiting child must be told `ParentExited`.
fn child_is_told_of(kill: impl FnOnce(&mut Actor)) {
    let (mut stage, mut parent) = open();
    let mut child = child(&mut stage, &mut parent, "child");
    child.tell("wait");
    assert!(child.is_silent());
    kill(&mut parent);
    assert_eq!(child.hear(), "ParentExited");
    // Told, not killed: what a child does with its verdict is its own business.
    child.must("ok");
}

// cases.md: "Parent SIGKILLed, exits, aborts, exec's / child waits / ParentExited".

#[test]
fn child_is_told_that_its_parent_was_killed() {
    child_is_told_of(|parent| parent.kill());
}

#[test]
fn child_is_told_that_its_parent_exited() {
    child_is_told_of(|parent| parent.tell("die exit"));
}

#[test]
fn child_is_told_that_its_parent_aborted() {
    child_is_told_of(|parent| parent.tell("die abort"));
}

#[test]
fn execve_of_the_parent_without_a_hand_over_is_a_death() {
    let (mut stage, mut parent) = open();
    let mut child = child(&mut stage, &mut parent, "child");
    parent.tell("die exec");
    assert_eq!(child.ask("wait"), "ParentExited");
    // The process is there, and is another program.
    assert!(parent.is_running());
}

// cases.md: "a sibling spawned in between (exec'd; ...) / parent killed / detected".
#[test]
fn sibling_that_has_execed_does_not_hide_parent_death() {
    let (mut stage, mut parent) = open();
    let mut first = child(&mut stage, &mut parent, "first");
    let mut second = child(&mut stage, &mut parent, "second");
    parent.kill();
    // Each lives on and holds what it inherited: neither hides the death from the other.
    assert_eq!(first.ask("wait"), "ParentExited");
    assert_eq!(second.ask("wait"), "ParentExited");
}

// cases.md: "a sibling ... (... forked and sleeping ...) / parent killed / detected"; pitfalls.md: "a sibling
// that forked and never exec'd holds the write end": "the sentinel fires all the same".
#[test]
fn sibling_that_never_execs_does_not_hide_parent_death() {
    let (mut stage, mut parent) = open();
    let mut child = child(&mut stage, &mut parent, "child");
    let _sleeper = Bystander::of(&parent.ask("fork-sleeper"));
    parent.kill();
    assert_eq!(child.ask("wait"), "ParentExited");
}

// The pipe alone cannot see past such a sibling: what it promises is the news once that sibling is gone, and nothing
// false before.
#[test]
fn child_that_follows_the_pipe_alone_is_told_once_a_sibling_that_never_execs_is_gone_too() {
    let (mut stage, mut parent) = open();
    let mut child = child(&mut stage, &mut parent, "child pipe-alone");
    let sleeper = Bystander::of(&parent.ask("fork-sleeper"));
    parent.kill();
    stage.ended(&parent);
    assert_eq!(child.ask("try"), "None");
    child.tell("wait");
    sleeper.kill();
    assert_eq!(child.hear(), "ParentExited");
}

// cases.md: "parent killed ... while another child is being spawned"; "forked by another thread mid-fork".

#[test]
fn child_that_is_being_spawned_does_not_hide_parent_death_from_another() {
    let (mut stage, mut parent) = open();
    let mut child = child(&mut stage, &mut parent, "child");
    // Between its fork and its exec the other one has copies of every write end.
    let other = Bystander::of(&parent.ask("spawn-stopped /bin/true"));
    other.stopped();
    parent.kill();
    assert_eq!(child.ask("wait"), "ParentExited");
    other.signal(Signal::CONT);
    other.gone();
}

#[test]
fn child_that_follows_the_pipe_alone_is_told_of_a_death_while_another_is_being_spawned() {
    let (mut stage, mut parent) = open();
    let mut child = child(&mut stage, &mut parent, "child pipe-alone");
    let other = Bystander::of(&parent.ask("spawn-stopped /bin/true"));
    other.stopped();
    parent.kill();
    stage.ended(&parent);
    assert_eq!(child.ask("try"), "None");
    child.tell("wait");
    other.signal(Signal::CONT);
    assert_eq!(child.hear(), "ParentExited");
    other.gone();
}

// cases.md: "parent killed ... between fork and exec".
#[test]
fn child_is_told_of_a_death_between_its_fork_and_its_exec() {
    let (mut stage, mut parent) = open();
    let unborn = Bystander::of(&parent.ask("spawn child stopped"));
    unborn.stopped();
    parent.kill();
    stage.ended(&parent);
    unborn.signal(Signal::CONT);
    let mut child = stage.enter("child");
    child.must("adopt");
    assert_eq!(child.ask("try"), "Some(ParentExited)");
}

// cases.md: "parent killed before the child reached main".
#[test]
fn child_is_told_of_a_death_before_its_main() {
    let (mut stage, mut parent) = open();
    let unborn = Bystander::of(&parent.ask("spawn child stop-before-main"));
    unborn.stopped();
    parent.kill();
    stage.ended(&parent);
    unborn.signal(Signal::CONT);
    let mut child = stage.enter("child");
    child.must("adopt");
    assert_eq!(child.ask("try"), "Some(ParentExited)");
}

// pitfalls.md: "watchdog starts late, after slow set-up": a hang-up before that is still seen.
#[test]
fn child_that_adopts_late_is_still_told() {
    let (mut stage, mut parent) = open();
    parent.ask("spawn child");
    let mut child = stage.enter("child");
    child.must("ok");
    parent.kill();
    stage.ended(&parent);
    child.must("adopt");
    assert_eq!(child.ask("wait"), "ParentExited");
}

// cases.md: "spawning thread ends, parent lives / - / nothing fires"; pitfalls.md: "PDEATHSIG instead of a
// pipe: fires when the spawning THREAD ends".
#[test]
fn end_of_the_spawning_thread_is_no_death() {
    let (mut stage, mut parent) = open();
    parent.must("spawn-on-thread child");
    let mut child = stage.enter("child");
    child.must("adopt");
    assert_eq!(child.ask("try"), "None");
    child.tell("wait");
    // The first word the child hears is of what was done after the thread had ended.
    parent.must("drop 0");
    assert_eq!(child.hear(), "KeepaliveDropped");
}

// cases.md: "Parent SIGSTOPped for a while / - / nothing fires".
#[test]
fn stopped_parent_is_no_death() {
    let (mut stage, mut parent) = open();
    let mut child = child(&mut stage, &mut parent, "child");
    child.tell("wait");
    parent.signal(Signal::STOP);
    until("parent stops", || {
        (workspace_tests::proc_fs::stat(parent.pid())?.state == 'T').then_some(())
    });
    assert!(child.is_silent());
    parent.signal(Signal::CONT);
    parent.must("drop 0");
    assert_eq!(child.hear(), "KeepaliveDropped");
}

// pitfalls.md: "kill(ppid, 0) polling: a zombie parent looks alive for ever".
#[test]
fn zombie_parent_is_dead() {
    let (mut stage, mut parent) = open();
    // A second runtime whose own parent, the first one, never reaps it.
    parent.ask(&format!(
        "spawn second program={}",
        env!("CARGO_BIN_EXE_watchdog_parent")
    ));
    let mut zombie = stage.enter("second");
    let mut child = child(&mut stage, &mut zombie, "child");
    zombie.kill();
    let state = workspace_tests::proc_fs::stat(zombie.pid()).map(|stat| stat.state);
    assert_eq!(state, Some('Z'));
    assert_eq!(child.ask("wait"), "ParentExited");
}

// pitfalls.md: "any return of poll is taken for death: EINTR"; cases.md: "storm of handled signals without
// SA_RESTART in the child / - / nothing fires".
#[test]
fn storm_of_handled_signals_is_no_death() {
    let (mut stage, mut parent) = open();
    let mut child = child(&mut stage, &mut parent, "child");
    child.must(&format!("handle {}", libc::SIGUSR1));
    child.tell("wait");
    until("child waits in poll", || {
        let wchan = std::fs::read_to_string(format!("/proc/{}/syscall", child.pid())).ok()?;
        let number: i64 = wchan.split(' ').next()?.parse().ok()?;
        // As the architecture has it.
        #[cfg(target_arch = "x86_64")]
        let poll = libc::SYS_poll;
        #[cfg(not(target_arch = "x86_64"))]
        let poll = libc::SYS_ppoll;
        (number == poll).then_some(())
    });
    for _ in 0..2_000 {
        child.signal(Signal::USR1);
    }
    assert!(child.is_silent());
    parent.must("drop 0");
    assert_eq!(child.hear(), "KeepaliveDropped");
    assert_ne!(child.ask("handled"), "0");
}

// cases.md: "A stray byte / - / no death"; pitfalls.md: "stray data".
#[test]
fn stray_bytes_are_no_death_and_hide_none() {
    let (mut stage, mut parent) = open();
    let mut child = child(&mut stage, &mut parent, "child");
    child.must("stray ?");
    assert_eq!(child.ask("try"), "None");
    // Half a word, and words of nobody.
    child.must("stray wd:dropwd:free");
    assert_eq!(child.ask("try"), "None");
    child.tell("wait");
    assert!(child.is_silent());
    parent.kill();
    assert_eq!(child.hear(), "ParentExited");
}

// kernel-facts.md: opening the pipe anew "can even reverse an earlier POLLHUP": the first verdict stays.
#[test]
fn verdict_is_latched() {
    let (mut stage, mut parent) = open();
    let mut child = child(&mut stage, &mut parent, "child");
    parent.kill();
    assert_eq!(child.ask("wait"), "ParentExited");
    child.must("stray wd:free^");
    assert_eq!(child.ask("try"), "Some(ParentExited)");
    assert_eq!(child.ask("wait"), "ParentExited");
}

// cases.md: "five children on five channels, one dropped / - / exactly that one".
#[test]
fn of_five_children_exactly_the_dropped_one_is_told() {
    let (mut stage, mut parent) = open();
    let names = ["zero", "one", "two", "three", "four"];
    let mut children = names.map(|name| child(&mut stage, &mut parent, name));
    parent.must("drop 2");
    assert_eq!(children[2].ask("wait"), "KeepaliveDropped");
    for index in [0, 1, 3, 4] {
        assert_eq!(children[index].ask("try"), "None", "{}", names[index]);
    }
    parent.kill();
    for index in [0, 1, 3, 4] {
        assert_eq!(
            children[index].ask("wait"),
            "ParentExited",
            "{}",
            names[index]
        );
    }
}

// cases.md: "Released / - / Released, child lives on after the parent's death".
#[test]
fn child_that_looks_after_its_parents_death_knows_that_it_was_released() {
    let (mut stage, mut parent) = open();
    let mut child = child(&mut stage, &mut parent, "child");
    parent.must("release 0");
    parent.kill();
    stage.ended(&parent);
    assert_eq!(child.ask("wait"), "Released");
    assert_eq!(child.ask("try"), "Some(Released)");
}

// design.md: "a close without a word is a death", whoever closes; a hand-over is no such word.
#[test]
fn write_end_that_is_closed_without_a_word_is_a_death() {
    let (mut stage, mut parent) = open();
    let mut child = child(&mut stage, &mut parent, "child");
    parent.must("close-without-a-word 0");
    assert_eq!(child.ask("wait"), "ParentExited");
}
