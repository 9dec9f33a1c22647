//! What watchdog-pipe tells a subscriber of `tracing`, and when it must tell nothing.

use std::os::fd::AsRawFd;
use std::os::unix::process::ExitStatusExt;
use std::sync::mpsc::channel;
use std::time::Duration;

use watchdog_pipe::{Builder, ENV_VAR, Keepalive, StopPolicy, Watchdog};
use workspace_tests::allow_list::trap_all_but;
use workspace_tests::collector::{Collector, Hostile};
use workspace_tests::fork::{Cue, Fork};
use workspace_tests::orphan::{Birth, Flag, Pair};
use workspace_tests::{alone, alone_in_pid_namespace, time_limit};

/// A child with a watchdog from its environment, this process with the keepalive. `child` gets what
/// was told of the adoption; `parent` lets go once it has a cue, or the child has ended.
fn supervised(
    parent: impl FnOnce(Keepalive, &mut Cue),
    child: impl FnOnce(Watchdog, &Collector, &mut Cue),
) {
    let (keepalive, mut setup) = watchdog_pipe::channel().expect("channel");
    let numbers: Vec<_> = setup.fds().map(|(fd, _)| fd.as_raw_fd()).collect();
    setup.renumber_each(numbers);
    let (name, value) = setup.env();
    let (mut ours, theirs) = Cue::pair();
    let mut copies = Some((keepalive, setup, theirs));
    let forked = Fork::run(|| {
        let (keepalive, setup, mut cue) = copies.take().expect("the copies");
        drop(keepalive);
        std::mem::forget(setup);
        // SAFETY: this copy has one thread, and nothing in it owns the numbers any more.
        let adopt = || unsafe {
            std::env::set_var(name, value);
            Watchdog::from_env().expect("a link").expect("a watchdog")
        };
        let (told, watchdog) = Collector::listen(adopt);
        child(watchdog, &told, &mut cue);
    });
    let (keepalive, setup, theirs) = copies.expect("the originals");
    drop((setup, theirs));
    parent(keepalive, &mut ours);
    forked.succeeds();
}

fn let_go(keepalive: Keepalive, cue: &mut Cue) {
    cue.take();
    drop(keepalive);
}

const DROPPED: &str = "INFO watchdog_pipe: verdict verdict=KeepaliveDropped";

#[test]
fn link_is_told_when_it_is_made_and_when_its_child_is_let_go() {
    for sentinel in [false, true] {
        let (told, (keepalive, setup)) = Collector::listen(|| {
            let made = Builder::new().sentinel(sentinel).channel();
            made.expect("channel")
        });
        let made = told.lines("");
        assert_eq!(made.len(), 1, "{made:?}");
        let fd = made[0]
            .strip_prefix("DEBUG watchdog_pipe: link made fd=")
            .and_then(|line| line.strip_suffix(&format!(" sentinel={sentinel}")));
        let fd = fd.unwrap_or_else(|| panic!("{made:?}"));
        let (told, ()) = Collector::listen(|| drop(keepalive));
        assert_eq!(
            told.lines(""),
            [format!("DEBUG watchdog_pipe: link dropped fd={fd}")]
        );
        drop(setup);
    }
}

#[test]
fn release_hand_over_and_refusal_are_told() {
    let (keepalive, setup) = watchdog_pipe::channel().expect("channel");
    let (told, released) = Collector::listen(|| keepalive.release());
    released.expect("room for a word");
    let lines = told.lines("");
    assert_eq!(lines.len(), 1, "{lines:?}");
    let begin = "DEBUG watchdog_pipe: link released fd=";
    assert!(lines[0].starts_with(begin), "{lines:?}");
    drop(setup);

    let (keepalive, setup) = watchdog_pipe::channel().expect("channel");
    let (told, handed_over) = Collector::listen(|| keepalive.hand_over());
    let fd = handed_over.expect("room for a word").as_raw_fd();
    assert_eq!(
        told.lines(""),
        [format!("DEBUG watchdog_pipe: link handed over fd={fd}")]
    );
    drop(setup);

    let (keepalive, setup) = watchdog_pipe::channel().expect("channel");
    drop(setup);
    // No child: neither does the drop of what comes back tell anybody.
    let (told, error) = Collector::listen(|| {
        let refused = keepalive.release().expect_err("nobody reads");
        refused.error().to_string()
    });
    assert_eq!(
        told.lines(""),
        [format!("WARN watchdog_pipe: link not let go error={error}")]
    );
}

#[test]
fn copy_made_by_fork_tells_nothing_of_the_links_that_it_drops() {
    alone!({
        let mut link = Some(watchdog_pipe::channel().expect("channel"));
        Fork::run(|| {
            let (keepalive, _setup) = link.take().expect("the copy");
            let (told, ()) = Collector::listen(|| drop(keepalive));
            assert_eq!(told.lines(""), [""; 0]);
        })
        .succeeds();
        drop(link);
    });
}

#[test]
fn adoption_is_told_with_its_number() {
    alone!({
        supervised(
            |keepalive, cue| {
                cue.closed();
                drop(keepalive);
            },
            |_watchdog, told, _| {
                let lines = told.lines("");
                assert_eq!(lines.len(), 1, "{lines:?}");
                let begin = "DEBUG watchdog_pipe: adopted fd=";
                assert!(lines[0].starts_with(begin), "{lines:?}");
                assert!(lines[0].ends_with(" sentinel=true"), "{lines:?}");
            },
        );
    });
}

#[test]
fn refused_adoption_is_told_with_its_reason() {
    // This process holds the write end.
    let (_keepalive, setup) = watchdog_pipe::channel().expect("channel");
    let (fd, _) = setup.fds().next().expect("the read end");
    let fd = fd.try_clone_to_owned().expect("dup");
    let (told, error) = Collector::listen(|| {
        let refused = Watchdog::from_fd(fd).map(drop);
        refused.expect_err("it holds the writer")
    });
    assert_eq!(
        told.lines(""),
        [format!("WARN watchdog_pipe: not adopted error={error}")]
    );
}

#[test]
fn refused_variable_is_told_with_its_reason() {
    alone!({
        // SAFETY: one thread, and no number is adopted.
        let adopt = || unsafe {
            std::env::set_var(ENV_VAR, "damaged");
            Watchdog::from_env().map(drop).expect_err("damaged")
        };
        let (told, error) = Collector::listen(adopt);
        assert_eq!(
            told.lines(""),
            [format!("WARN watchdog_pipe: not adopted error={error}")]
        );
    });
}

#[test]
fn verdict_is_told_by_the_call_that_learns_of_it_and_once() {
    alone!({
        for call in 0..3 {
            supervised(let_go, |mut watchdog, _, cue| {
                let (told, ()) = Collector::listen(|| {
                    assert_eq!(watchdog.try_wait().expect("look"), None);
                    let short = watchdog.wait_timeout(Duration::ZERO);
                    assert_eq!(short.expect("look"), None);
                });
                assert_eq!(told.lines(""), [""; 0], "no verdict yet");
                cue.give();
                let (told, ()) = Collector::listen(|| match call {
                    0 => drop(watchdog.wait().expect("wait")),
                    1 => drop(watchdog.wait_timeout(time_limit()).expect("wait")),
                    _ => while watchdog.try_wait().expect("look").is_none() {},
                });
                assert_eq!(told.lines(""), [DROPPED]);
                let (told, _) = Collector::listen(|| {
                    watchdog.wait().expect("known");
                    watchdog.try_wait().expect("known")
                });
                assert_eq!(told.lines(""), [""; 0], "it was told before");
            });
        }
    });
}

#[test]
fn verdict_is_told_before_its_callback_runs() {
    alone!({
        supervised(let_go, |watchdog, _, cue| {
            let told = Collector::default();
            // The callback has a thread of its own.
            tracing::subscriber::set_global_default(told.clone()).expect("the first one");
            let (tell, called) = channel();
            let callback = move |_| tell.send(told.lines("")).expect("the test listens");
            let _monitor = watchdog.on_verdict(callback).expect("a thread");
            cue.give();
            let lines = called
                .recv_timeout(time_limit())
                .expect("the callback runs");
            assert_eq!(lines, [DROPPED]);
        });
    });
}

#[test]
fn callback_runs_though_the_subscriber_panics() {
    alone!({
        supervised(let_go, |watchdog, _, cue| {
            std::panic::set_hook(Box::new(|_| ()));
            let hostile = Hostile(|| panic!("at whatever it is told"));
            tracing::subscriber::set_global_default(hostile).expect("the first one");
            let (tell, called) = channel();
            let callback = move |verdict| tell.send(verdict).expect("the test listens");
            let _monitor = watchdog.on_verdict(callback).expect("a thread");
            cue.give();
            called
                .recv_timeout(time_limit())
                .expect("the callback runs");
        });
    });
}

/// A verdict is reported where it is learnt, which may be under a filter.
#[test]
fn event_without_a_subscriber_makes_no_system_call() {
    alone_in_pid_namespace!({
        for sentinel in [false, true] {
            let birth = Birth {
                sentinel,
                as_pid_1: false,
            };
            let ready = Flag::new();
            let pair = Pair::start(birth, |mut watchdog| {
                // Those of the look at the pipe, and of the end.
                trap_all_but(&[&[libc::SYS_read, libc::SYS_exit_group]]);
                ready.set(1);
                while watchdog.try_wait().expect("look").is_none() {}
                // SAFETY: ends this copy, which has nothing to clean up.
                unsafe { libc::_exit(42) };
            });
            ready.wait();
            let (status, _) = pair.kill_the_parent();
            assert_eq!(status.code(), Some(42), "{status}");
        }
    });
}

/// For ever.
fn block() {
    loop {
        std::thread::park();
    }
}

#[test]
fn subscriber_that_blocks_keeps_no_protected_child_alive() {
    alone_in_pid_namespace!({
        for sentinel in [false, true] {
            let birth = Birth {
                sentinel,
                as_pid_1: false,
            };
            let ready = Flag::new();
            let pair = Pair::start(birth, |watchdog| {
                tracing::subscriber::set_global_default(Hostile(block)).expect("the first one");
                // SAFETY: SIG_DFL.
                unsafe { libc::signal(libc::SIGTERM, libc::SIG_DFL) };
                let _monitor = watchdog.enforce(StopPolicy::new()).expect("a thread");
                ready.set(1);
                block();
            });
            ready.wait();
            let (status, _) = pair.kill_the_parent();
            assert_eq!(status.signal(), Some(libc::SIGTERM), "{status}");
        }
    });
}
