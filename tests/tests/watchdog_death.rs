//! A real parent process dies, with no other path that could tell its child: no PDEATHSIG, no terminal, a
//! session each. pitfalls.md, "shutdown tested while another path also sends SIGTERM".

use rustix::process::Signal;
use workspace_tests::orders::{Death, Order, Spawn};
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
fn child(stage: &mut Stage, parent: &mut Actor, spawn: Spawn) -> Actor {
    let name = spawn.name.clone();
    parent.ask(&Order::Spawn(spawn));
    let mut child = stage.enter(&name);
    child.must(&Order::Adopt);
    child
}

/// The parent dies by `kill`; the waiting child must be told `ParentExited`.
fn child_is_told_of(kill: impl FnOnce(&mut Actor)) {
    let (mut stage, mut parent) = open();
    let mut child = child(&mut stage, &mut parent, Spawn::new("child"));
    child.tell(&Order::Wait);
    assert!(child.is_silent());
    kill(&mut parent);
    assert_eq!(child.hear(), "ParentExited");
    // Told, not killed: what a child does with its verdict is its own business.
    child.must(&Order::Answer);
}

// cases.md: "Parent SIGKILLed, exits, aborts, exec's / child waits / ParentExited".

#[test]
fn child_is_told_that_its_parent_was_killed() {
    child_is_told_of(|parent| parent.kill());
}

#[test]
fn child_is_told_that_its_parent_exited() {
    child_is_told_of(|parent| parent.tell(&Order::Die(Death::Exit)));
}

#[test]
fn child_is_told_that_its_parent_aborted() {
    child_is_told_of(|parent| parent.tell(&Order::Die(Death::Abort)));
}

#[test]
fn execve_of_the_parent_without_a_hand_over_is_a_death() {
    let (mut stage, mut parent) = open();
    let mut child = child(&mut stage, &mut parent, Spawn::new("child"));
    parent.tell(&Order::Die(Death::Exec));
    assert_eq!(child.ask(&Order::Wait), "ParentExited");
    // The process is there, and is another program.
    assert!(parent.is_running());
}

// cases.md: "a sibling spawned in between (exec'd; ...) / parent killed / detected".
#[test]
fn sibling_that_has_execed_does_not_hide_parent_death() {
    let (mut stage, mut parent) = open();
    let mut first = child(&mut stage, &mut parent, Spawn::new("first"));
    let mut second = child(&mut stage, &mut parent, Spawn::new("second"));
    parent.kill();
    // Each lives on and holds what it inherited: neither hides the death from the other.
    assert_eq!(first.ask(&Order::Wait), "ParentExited");
    assert_eq!(second.ask(&Order::Wait), "ParentExited");
}

// cases.md: "a sibling ... (... forked and sleeping ...) / parent killed / detected"; pitfalls.md: "a sibling
// that forked and never exec'd holds the write end": "the sentinel fires all the same".
#[test]
fn sibling_that_never_execs_does_not_hide_parent_death() {
    let (mut stage, mut parent) = open();
    let mut child = child(&mut stage, &mut parent, Spawn::new("child"));
    let _sleeper = Bystander::of(&parent.ask(&Order::ForkSleeper));
    parent.kill();
    assert_eq!(child.ask(&Order::Wait), "ParentExited");
}

// The pipe alone cannot see past such a sibling: what it promises is the news once that sibling is gone, and nothing
// false before.
#[test]
fn child_that_follows_the_pipe_alone_is_told_once_a_sibling_that_never_execs_is_gone_too() {
    let (mut stage, mut parent) = open();
    let mut child = child(&mut stage, &mut parent, Spawn::new("child").pipe_alone());
    let sleeper = Bystander::of(&parent.ask(&Order::ForkSleeper));
    parent.kill();
    stage.ended(&parent);
    assert_eq!(child.ask(&Order::TryWait), "None");
    child.tell(&Order::Wait);
    sleeper.kill();
    assert_eq!(child.hear(), "ParentExited");
}

// cases.md: "parent killed ... while another child is being spawned"; "forked by another thread mid-fork".

#[test]
fn child_that_is_being_spawned_does_not_hide_parent_death_from_another() {
    let (mut stage, mut parent) = open();
    let mut child = child(&mut stage, &mut parent, Spawn::new("child"));
    // Between its fork and its exec the other one has copies of every write end.
    let other = Bystander::of(&parent.ask(&Order::StartStopped {
        program: "/bin/true".into(),
    }));
    other.stopped();
    parent.kill();
    assert_eq!(child.ask(&Order::Wait), "ParentExited");
    other.signal(Signal::CONT);
    other.gone();
}

#[test]
fn child_that_follows_the_pipe_alone_is_told_of_a_death_while_another_is_being_spawned() {
    let (mut stage, mut parent) = open();
    let mut child = child(&mut stage, &mut parent, Spawn::new("child").pipe_alone());
    let other = Bystander::of(&parent.ask(&Order::StartStopped {
        program: "/bin/true".into(),
    }));
    other.stopped();
    parent.kill();
    stage.ended(&parent);
    assert_eq!(child.ask(&Order::TryWait), "None");
    child.tell(&Order::Wait);
    other.signal(Signal::CONT);
    assert_eq!(child.hear(), "ParentExited");
    other.gone();
}

// cases.md: "parent killed ... between fork and exec".
#[test]
fn child_is_told_of_a_death_between_its_fork_and_its_exec() {
    let (mut stage, mut parent) = open();
    let unborn = Bystander::of(&parent.ask(&Order::Spawn(Spawn::new("child").stopped())));
    unborn.stopped();
    parent.kill();
    stage.ended(&parent);
    unborn.signal(Signal::CONT);
    let mut child = stage.enter("child");
    child.must(&Order::Adopt);
    assert_eq!(child.ask(&Order::TryWait), "Some(ParentExited)");
}

// cases.md: "parent killed before the child reached main".
#[test]
fn child_is_told_of_a_death_before_its_main() {
    let (mut stage, mut parent) = open();
    let unborn = Bystander::of(&parent.ask(&Order::Spawn(Spawn::new("child").stop_before_main())));
    unborn.stopped();
    parent.kill();
    stage.ended(&parent);
    unborn.signal(Signal::CONT);
    let mut child = stage.enter("child");
    child.must(&Order::Adopt);
    assert_eq!(child.ask(&Order::TryWait), "Some(ParentExited)");
}

// pitfalls.md: "watchdog starts late, after slow set-up": a hang-up before that is still seen.
#[test]
fn child_that_adopts_late_is_still_told() {
    let (mut stage, mut parent) = open();
    parent.ask(&Order::Spawn(Spawn::new("child")));
    let mut child = stage.enter("child");
    child.must(&Order::Answer);
    parent.kill();
    stage.ended(&parent);
    child.must(&Order::Adopt);
    assert_eq!(child.ask(&Order::Wait), "ParentExited");
}

// cases.md: "spawning thread ends, parent lives / - / nothing fires"; pitfalls.md: "PDEATHSIG instead of a
// pipe: fires when the spawning THREAD ends".
#[test]
fn end_of_the_spawning_thread_is_no_death() {
    let (mut stage, mut parent) = open();
    parent.must(&Order::SpawnOnThread {
        name: "child".into(),
    });
    let mut child = stage.enter("child");
    child.must(&Order::Adopt);
    assert_eq!(child.ask(&Order::TryWait), "None");
    child.tell(&Order::Wait);
    // The first word the child hears is of what was done after the thread had ended.
    parent.must(&Order::Drop { link: 0 });
    assert_eq!(child.hear(), "KeepaliveDropped");
}

// cases.md: "Parent SIGSTOPped for a while / - / nothing fires".
#[test]
fn stopped_parent_is_no_death() {
    let (mut stage, mut parent) = open();
    let mut child = child(&mut stage, &mut parent, Spawn::new("child"));
    child.tell(&Order::Wait);
    parent.signal(Signal::STOP);
    until("parent stops", || {
        (workspace_tests::proc_fs::stat(parent.pid())?.state == 'T').then_some(())
    });
    assert!(child.is_silent());
    parent.signal(Signal::CONT);
    parent.must(&Order::Drop { link: 0 });
    assert_eq!(child.hear(), "KeepaliveDropped");
}

// pitfalls.md: "kill(ppid, 0) polling: a zombie parent looks alive for ever".
#[test]
fn zombie_parent_is_dead() {
    let (mut stage, mut parent) = open();
    // A second runtime whose own parent, the first one, never reaps it.
    parent.ask(&Order::Spawn(
        Spawn::new("second").program(env!("CARGO_BIN_EXE_watchdog_parent")),
    ));
    let mut zombie = stage.enter("second");
    let mut child = child(&mut stage, &mut zombie, Spawn::new("child"));
    zombie.kill();
    let state = workspace_tests::proc_fs::stat(zombie.pid()).map(|stat| stat.state);
    assert_eq!(state, Some('Z'));
    assert_eq!(child.ask(&Order::Wait), "ParentExited");
}

// pitfalls.md: "any return of poll is taken for death: EINTR"; cases.md: "storm of handled signals without
// SA_RESTART in the child / - / nothing fires".
#[test]
fn storm_of_handled_signals_is_no_death() {
    let (mut stage, mut parent) = open();
    let mut child = child(&mut stage, &mut parent, Spawn::new("child"));
    child.must(&Order::Handle {
        signal: libc::SIGUSR1,
    });
    child.tell(&Order::Wait);
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
    parent.must(&Order::Drop { link: 0 });
    assert_eq!(child.hear(), "KeepaliveDropped");
    assert_ne!(child.ask(&Order::CountHandled), "0");
}

// cases.md: "A stray byte / - / no death"; pitfalls.md: "stray data".
#[test]
fn stray_bytes_are_no_death_and_hide_none() {
    let (mut stage, mut parent) = open();
    let mut child = child(&mut stage, &mut parent, Spawn::new("child"));
    child.must(&Order::WriteStray("?".into()));
    assert_eq!(child.ask(&Order::TryWait), "None");
    // Half a word, and words of nobody.
    child.must(&Order::WriteStray("wd:dropwd:free".into()));
    assert_eq!(child.ask(&Order::TryWait), "None");
    child.tell(&Order::Wait);
    assert!(child.is_silent());
    parent.kill();
    assert_eq!(child.hear(), "ParentExited");
}

// kernel-facts.md: opening the pipe anew "can even reverse an earlier POLLHUP": the first verdict stays.
#[test]
fn verdict_is_latched() {
    let (mut stage, mut parent) = open();
    let mut child = child(&mut stage, &mut parent, Spawn::new("child"));
    parent.kill();
    assert_eq!(child.ask(&Order::Wait), "ParentExited");
    child.must(&Order::WriteStray("wd:free\n".into()));
    assert_eq!(child.ask(&Order::TryWait), "Some(ParentExited)");
    assert_eq!(child.ask(&Order::Wait), "ParentExited");
}

// cases.md: "five children on five channels, one dropped / - / exactly that one".
#[test]
fn of_five_children_exactly_the_dropped_one_is_told() {
    let (mut stage, mut parent) = open();
    let names = ["zero", "one", "two", "three", "four"];
    let mut children = names.map(|name| child(&mut stage, &mut parent, Spawn::new(name)));
    parent.must(&Order::Drop { link: 2 });
    assert_eq!(children[2].ask(&Order::Wait), "KeepaliveDropped");
    for index in [0, 1, 3, 4] {
        assert_eq!(
            children[index].ask(&Order::TryWait),
            "None",
            "{}",
            names[index]
        );
    }
    parent.kill();
    for index in [0, 1, 3, 4] {
        assert_eq!(
            children[index].ask(&Order::Wait),
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
    let mut child = child(&mut stage, &mut parent, Spawn::new("child"));
    parent.must(&Order::Release { link: 0 });
    parent.kill();
    stage.ended(&parent);
    assert_eq!(child.ask(&Order::Wait), "Released");
    assert_eq!(child.ask(&Order::TryWait), "Some(Released)");
}

// design.md: "a close without a word is a death", whoever closes; a hand-over is no such word.
#[test]
fn write_end_that_is_closed_without_a_word_is_a_death() {
    let (mut stage, mut parent) = open();
    let mut child = child(&mut stage, &mut parent, Spawn::new("child"));
    parent.must(&Order::HandOver { link: 0 });
    assert_eq!(child.ask(&Order::Wait), "ParentExited");
}
