//! A real parent process dies, with no other path that could tell its child: no PDEATHSIG, no
//! terminal, a session each. See docs/pitfalls.md#a-test-with-two-paths.

use rustix::process::Signal;
use workspace_tests::cast::{Actor, Bystander, Cast};
use workspace_tests::orders::{Death, Order, Spawn};
use workspace_tests::until;

/// A parent in its cast.
fn open() -> (Cast, Actor) {
    Cast::open(
        env!("CARGO_BIN_EXE_watchdog_reaper"),
        env!("CARGO_BIN_EXE_watchdog_parent"),
    )
}

/// A child of `parent` that has adopted its watchdog.
fn child(cast: &mut Cast, parent: &mut Actor, spawn: Spawn) -> Actor {
    let name = spawn.name.clone();
    parent.ask(&Order::Spawn(spawn));
    let mut child = cast.enter(&name);
    child.must(&Order::Adopt);
    child
}

/// The parent dies by `kill`; the waiting child must be told `ParentExited`.
fn child_is_told_of(kill: impl FnOnce(&mut Actor)) {
    let (mut cast, mut parent) = open();
    let mut child = child(&mut cast, &mut parent, Spawn::new("child"));
    child.tell(&Order::Wait);
    assert!(child.is_silent());
    kill(&mut parent);
    assert_eq!(child.hear(), "ParentExited");
    // Told, not killed: what a child does with its verdict is its own business.
    child.must(&Order::Answer);
}

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
    let (mut cast, mut parent) = open();
    let mut child = child(&mut cast, &mut parent, Spawn::new("child"));
    parent.tell(&Order::Die(Death::Exec));
    assert_eq!(child.ask(&Order::Wait), "ParentExited");
    // The process is there, and is another program.
    assert!(parent.is_running());
}

#[test]
fn sibling_that_has_execed_does_not_hide_parent_death() {
    let (mut cast, mut parent) = open();
    let mut first = child(&mut cast, &mut parent, Spawn::new("first"));
    let mut second = child(&mut cast, &mut parent, Spawn::new("second"));
    parent.kill();
    // Each lives on and holds what it inherited: neither hides the death from the other.
    assert_eq!(first.ask(&Order::Wait), "ParentExited");
    assert_eq!(second.ask(&Order::Wait), "ParentExited");
}

// The sentinel fires all the same: docs/pitfalls.md#a-sibling-that-never-executes.
#[test]
fn sibling_that_never_execs_does_not_hide_parent_death() {
    let (mut cast, mut parent) = open();
    let mut child = child(&mut cast, &mut parent, Spawn::new("child"));
    let _sleeper = Bystander::of(&parent.ask(&Order::ForkSleeper));
    parent.kill();
    assert_eq!(child.ask(&Order::Wait), "ParentExited");
}

// The pipe alone cannot see past such a sibling: what it promises is the news once that sibling is
// gone, and nothing false before.
#[test]
fn child_that_follows_the_pipe_alone_is_told_once_a_sibling_that_never_execs_is_gone_too() {
    let (mut cast, mut parent) = open();
    let mut child = child(&mut cast, &mut parent, Spawn::new("child").pipe_alone());
    let sleeper = Bystander::of(&parent.ask(&Order::ForkSleeper));
    parent.kill();
    cast.ended(&parent);
    assert_eq!(child.ask(&Order::TryWait), "None");
    child.tell(&Order::Wait);
    sleeper.kill();
    assert_eq!(child.hear(), "ParentExited");
}

// Between a fork and its exec a process holds what its parent does: docs/kernel.md#pipes.

#[test]
fn child_that_is_being_spawned_does_not_hide_parent_death_from_another() {
    let (mut cast, mut parent) = open();
    let mut child = child(&mut cast, &mut parent, Spawn::new("child"));
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
    let (mut cast, mut parent) = open();
    let mut child = child(&mut cast, &mut parent, Spawn::new("child").pipe_alone());
    let other = Bystander::of(&parent.ask(&Order::StartStopped {
        program: "/bin/true".into(),
    }));
    other.stopped();
    parent.kill();
    cast.ended(&parent);
    assert_eq!(child.ask(&Order::TryWait), "None");
    child.tell(&Order::Wait);
    other.signal(Signal::CONT);
    assert_eq!(child.hear(), "ParentExited");
    other.gone();
}

#[test]
fn child_is_told_of_a_death_between_its_fork_and_its_exec() {
    let (mut cast, mut parent) = open();
    let unborn = Bystander::of(&parent.ask(&Order::Spawn(Spawn::new("child").stopped())));
    unborn.stopped();
    parent.kill();
    cast.ended(&parent);
    unborn.signal(Signal::CONT);
    let mut child = cast.enter("child");
    child.must(&Order::Adopt);
    assert_eq!(child.ask(&Order::TryWait), "Some(ParentExited)");
}

#[test]
fn child_is_told_of_a_death_before_its_main() {
    let (mut cast, mut parent) = open();
    let unborn = Bystander::of(&parent.ask(&Order::Spawn(Spawn::new("child").stop_before_main())));
    unborn.stopped();
    parent.kill();
    cast.ended(&parent);
    unborn.signal(Signal::CONT);
    let mut child = cast.enter("child");
    child.must(&Order::Adopt);
    assert_eq!(child.ask(&Order::TryWait), "Some(ParentExited)");
}

// A hang-up before the adoption is still seen: docs/pitfalls.md#a-late-start.
#[test]
fn child_that_adopts_late_is_still_told() {
    let (mut cast, mut parent) = open();
    parent.ask(&Order::Spawn(Spawn::new("child")));
    let mut child = cast.enter("child");
    child.must(&Order::Answer);
    parent.kill();
    cast.ended(&parent);
    child.must(&Order::Adopt);
    assert_eq!(child.ask(&Order::Wait), "ParentExited");
}

// What the parent-death signal would take for a death: docs/pitfalls.md#the-parent-death-signal.
#[test]
fn end_of_the_spawning_thread_is_no_death() {
    let (mut cast, mut parent) = open();
    parent.must(&Order::SpawnOnThread {
        name: "child".into(),
    });
    let mut child = cast.enter("child");
    child.must(&Order::Adopt);
    assert_eq!(child.ask(&Order::TryWait), "None");
    child.tell(&Order::Wait);
    // The first word the child hears is of what was done after the thread had ended.
    parent.must(&Order::Drop { link: 0 });
    assert_eq!(child.hear(), "KeepaliveDropped");
}

#[test]
fn stopped_parent_is_no_death() {
    let (mut cast, mut parent) = open();
    let mut child = child(&mut cast, &mut parent, Spawn::new("child"));
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

// It would answer `kill(parent, 0)` for ever: docs/pitfalls.md#asking-by-number.
#[test]
fn zombie_parent_is_dead() {
    let (mut cast, mut parent) = open();
    // A second runtime whose own parent, the first one, never reaps it.
    parent.ask(&Order::Spawn(
        Spawn::new("second").program(env!("CARGO_BIN_EXE_watchdog_parent")),
    ));
    let mut zombie = cast.enter("second");
    let mut child = child(&mut cast, &mut zombie, Spawn::new("child"));
    zombie.kill();
    let state = workspace_tests::proc_fs::stat(zombie.pid()).map(|stat| stat.state);
    assert_eq!(state, Some('Z'));
    assert_eq!(child.ask(&Order::Wait), "ParentExited");
}

// EINTR is no death: docs/pitfalls.md#any-return-of-poll.
#[test]
fn storm_of_handled_signals_is_no_death() {
    let (mut cast, mut parent) = open();
    let mut child = child(&mut cast, &mut parent, Spawn::new("child"));
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

// docs/pitfalls.md#any-return-of-poll
#[test]
fn stray_bytes_are_no_death_and_hide_none() {
    let (mut cast, mut parent) = open();
    let mut child = child(&mut cast, &mut parent, Spawn::new("child"));
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

// Opening the pipe anew takes its hang-up back (docs/kernel.md#pipes): the first verdict stays.
#[test]
fn verdict_is_latched() {
    let (mut cast, mut parent) = open();
    let mut child = child(&mut cast, &mut parent, Spawn::new("child"));
    parent.kill();
    assert_eq!(child.ask(&Order::Wait), "ParentExited");
    child.must(&Order::WriteStray("wd:free\n".into()));
    assert_eq!(child.ask(&Order::TryWait), "Some(ParentExited)");
    assert_eq!(child.ask(&Order::Wait), "ParentExited");
}

#[test]
fn of_five_children_exactly_the_dropped_one_is_told() {
    let (mut cast, mut parent) = open();
    let names = ["zero", "one", "two", "three", "four"];
    let mut children = names.map(|name| child(&mut cast, &mut parent, Spawn::new(name)));
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

#[test]
fn child_that_looks_after_its_parents_death_knows_that_it_was_released() {
    let (mut cast, mut parent) = open();
    let mut child = child(&mut cast, &mut parent, Spawn::new("child"));
    parent.must(&Order::Release { link: 0 });
    parent.kill();
    cast.ended(&parent);
    assert_eq!(child.ask(&Order::Wait), "Released");
    assert_eq!(child.ask(&Order::TryWait), "Some(Released)");
}

// Whoever closes: a close without a word is a death, and a hand-over is no such word.
#[test]
fn write_end_that_is_closed_without_a_word_is_a_death() {
    let (mut cast, mut parent) = open();
    let mut child = child(&mut cast, &mut parent, Spawn::new("child"));
    parent.must(&Order::HandOver { link: 0 });
    assert_eq!(child.ask(&Order::Wait), "ParentExited");
}
