//! How a shim ends: stopped, dropped, released, adopted.

use std::io::{BufRead, BufReader, Lines, Write};
use std::mem::ManuallyDrop;
use std::os::unix::process::ExitStatusExt;
use std::process::{ChildStdin, ChildStdout, ExitStatus};
use std::time::{Duration, Instant};

use shim_spawner::{AdoptError, ShimHandler, ShimSpawner, Signal, Stdio, StopPolicy};
use workspace_tests::fork::Fork;
use workspace_tests::namespace::kernel;
use workspace_tests::orders::Order;
use workspace_tests::{by_every_method, proc_fs, until};

use super::snapshot::{Snapshot, own_pid, role, shell, spawner_of};

/// A handler with both pipes taken out.
struct Talk {
    handler: ShimHandler,
    stdin: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Talk {
    fn start(spawner: &mut ShimSpawner) -> Talk {
        let mut handler = ShimHandler::new(spawner.spawn().expect("spawn"));
        let stdin = handler.take_stdin().expect("piped");
        let lines = BufReader::new(handler.take_stdout().expect("piped")).lines();
        assert!(handler.take_stdin().is_none(), "once");
        let mut talk = Talk {
            handler,
            stdin,
            lines,
        };
        assert_eq!(talk.hear(), "ready");
        talk
    }

    fn hear(&mut self) -> String {
        self.lines.next().expect("a line").expect("read")
    }

    fn pid(&self) -> i32 {
        pid(&self.handler)
    }

    /// It lives: it answers.
    fn answers(&mut self) {
        self.stdin.write_all(b"are you there\n").expect("write");
        assert_eq!(self.hear(), "are you there");
    }
}

fn pid(handler: &ShimHandler) -> i32 {
    handler.pid().as_raw_nonzero().get()
}

fn signal(pid: i32, signal: i32) {
    // SAFETY: kill(2) has no memory effect; the child is not reaped yet, so that the number is its
    // own.
    assert_eq!(unsafe { libc::kill(pid, signal) }, 0, "kill {pid}");
}

fn reaches(pid: i32, state: char) {
    until("the state", || {
        (proc_fs::stat(pid)?.state == state).then_some(())
    });
}

fn no_children() {
    assert_eq!(proc_fs::children_of(own_pid()), []);
}

/// A shim that has no watchdog and ends by SIGTERM.
fn sleeper() -> ShimHandler {
    ShimHandler::new(spawner_of("/bin/sleep").arg("1000").spawn().expect("spawn"))
}

fn stop(handler: &mut ShimHandler) -> ExitStatus {
    let report = handler.stop().expect("stop");
    assert!(report.is_empty(), "{report:?}");
    let exit = report.exit();
    assert_eq!(exit.pid, handler.pid());
    no_children();
    assert!(!handler.is_attached());
    // What is known stays known.
    assert_eq!(handler.stop().expect("stop again").exit(), exit);
    assert_eq!(handler.wait().expect("wait"), exit);
    assert_eq!(handler.try_wait().expect("try_wait"), Some(exit));
    handler.kill().expect("dead already");
    exit.status.expect("own child")
}

by_every_method!(
    fn shim_that_obeys_is_stopped_with_its_own_status() {
        let before = Snapshot::take();
        let mut talk = Talk::start(&mut shell("trap 'exit 7' TERM; echo ready; read line"));
        assert!(talk.handler.is_attached());
        assert_eq!(talk.handler.try_wait().expect("try_wait"), None);
        assert_eq!(stop(&mut talk.handler).code(), Some(7));
        drop(talk);
        assert_eq!(stop(&mut sleeper()).signal(), Some(libc::SIGTERM));
        // One with a watchdog ends by its signal, not by its watchdog.
        let mut talk = Talk::start(&mut role(&Order::BeShim));
        assert_eq!(stop(&mut talk.handler).signal(), Some(libc::SIGTERM));
        drop(talk);
        assert_eq!(Snapshot::take(), before);
    }
);

by_every_method!(
    fn shim_that_ignores_the_stop_signal_is_killed_after_its_grace_period() {
        const GRACE: Duration = Duration::from_millis(300);
        let mut shell = shell("trap '' TERM; echo ready; while read line; do echo $line; done");
        let mut talk = Talk::start(shell.stop_policy(StopPolicy::new().grace(GRACE)));
        let start = Instant::now();
        assert_eq!(stop(&mut talk.handler).signal(), Some(libc::SIGKILL));
        assert!(start.elapsed() >= GRACE, "the grace period was cut short");
    }
);

by_every_method!(
    fn stopped_shim_is_continued_so_that_it_can_obey() {
        // One that obeys needs to be continued for it; if it were not, SIGKILL would end it.
        let mut talk = Talk::start(&mut shell("trap 'exit 7' TERM; echo ready; read line"));
        signal(talk.pid(), libc::SIGSTOP);
        reaches(talk.pid(), 'T');
        assert_eq!(stop(&mut talk.handler).code(), Some(7));

        let mut handler = sleeper();
        signal(pid(&handler), libc::SIGSTOP);
        reaches(pid(&handler), 'T');
        assert_eq!(stop(&mut handler).signal(), Some(libc::SIGTERM));
    }
);

by_every_method!(
    fn dead_shim_is_only_reaped() {
        for (script, code, by) in [
            ("exit 9", Some(9), None),
            ("kill -KILL $$", None, Some(libc::SIGKILL)),
        ] {
            let mut handler = ShimHandler::new(shell(script).spawn().expect("spawn"));
            reaches(pid(&handler), 'Z');
            let status = stop(&mut handler);
            assert_eq!((status.code(), status.signal()), (code, by));
        }
    }
);

by_every_method!(
    /// Some other code of the runtime waits for all children, as a bad library does.
    fn shim_reaped_elsewhere_is_no_error_and_no_guess() {
        let mut handler = ShimHandler::new(shell("exit 9").spawn().expect("spawn"));
        let mut status = 0;
        // SAFETY: a valid place for the status.
        let reaped = unsafe { libc::waitpid(-1, &raw mut status, 0) };
        assert_eq!(reaped, pid(&handler));
        let exit = handler.stop().expect("stop").exit();
        // The kernel tells it even then, since Linux 6.15; an older one does not, and we do not
        // guess.
        if let Some(status) = exit.status {
            assert_eq!(status.code(), Some(9));
        } else {
            assert!(kernel() < (6, 15), "PIDFD_GET_INFO knows it");
        }
        assert_eq!(handler.wait().expect("wait"), exit);
        handler.kill().expect("dead already");
        drop(handler);
        no_children();
    }
);

by_every_method!(
    fn stop_policy_of_the_spawner_is_followed() {
        let mut shell = shell("trap 'exit 3' INT; trap 'exit 4' TERM; echo ready; read line");
        let mut talk = Talk::start(shell.stop_policy(StopPolicy::new().signal(Signal::INT)));
        assert_eq!(stop(&mut talk.handler).code(), Some(3));
        let mut talk = Talk::start(shell.stop_policy(StopPolicy::immediate()));
        assert_eq!(stop(&mut talk.handler).signal(), Some(libc::SIGKILL));
    }
);

by_every_method!(
    fn killed_shim_is_waited_for() {
        let mut handler = sleeper();
        handler.kill().expect("own child");
        let exit = handler.wait().expect("wait");
        assert_eq!(
            exit.status.and_then(|status| status.signal()),
            Some(libc::SIGKILL)
        );
        no_children();
        handler.identity().expect_err("reaped");
    }
);

by_every_method!(
    /// Nobody calls stop: the shim's own watchdog ends it, and it is reaped behind the scenes.
    fn dropped_shim_ends_and_is_reaped() {
        let Talk {
            handler,
            stdin,
            lines,
        } = Talk::start(&mut role(&Order::BeShim));
        drop(handler);
        until("reaped", || {
            proc_fs::children_of(own_pid()).is_empty().then_some(())
        });
        drop((stdin, lines));
        // A spawned shim that was never given to a handler does the same.
        let shim = role(&Order::BeShim).spawn().expect("spawn");
        drop(shim);
        until("reaped", || {
            proc_fs::children_of(own_pid()).is_empty().then_some(())
        });
    }
);

by_every_method!(
    /// One that is dead already is reaped on the spot.
    fn dropped_dead_shim_is_reaped_at_once() {
        let before = Snapshot::take();
        let handler = ShimHandler::new(shell("exit 9").spawn().expect("spawn"));
        reaches(pid(&handler), 'Z');
        drop(handler);
        assert_eq!(Snapshot::take(), before);
    }
);

by_every_method!(
    fn two_hundred_shims_dropped_at_once_leave_nothing() {
        // The reaper's own descriptors stay: let it have them before we count.
        drop(role(&Order::BeShim).spawn().expect("spawn"));
        until("reaped", || {
            proc_fs::children_of(own_pid()).is_empty().then_some(())
        });
        let before = Snapshot::take();
        let shims: Vec<_> = (0..200)
            .map(|_| {
                let mut spawner = role(&Order::BeShim);
                spawner.stdin(Stdio::null()).stdout(Stdio::null());
                ShimHandler::new(spawner.spawn().expect("spawn"))
            })
            .collect();
        drop(shims);
        until("all reaped", || (Snapshot::take() == before).then_some(()));
    }
);

by_every_method!(
    /// A copy of the runtime, made by fork, drops its copy of the handler: nobody is told to stop,
    /// and nobody is reaped.
    fn forked_copy_of_a_handler_is_inert() {
        let mut talk = Talk::start(&mut role(&Order::TellVerdict));
        let mut handler = ManuallyDrop::new(talk.handler);
        Fork::run(|| {
            // SAFETY: the copy's own; the parent's is still whole.
            unsafe { ManuallyDrop::drop(&mut handler) };
            // Asked again by nobody: had the drop hung on a thread that is not here, we would not
            // be.
        })
        .succeeds();
        talk.handler = ManuallyDrop::into_inner(handler);
        // Told now, and not before: had the copy said anything, another word would stand here.
        talk.handler.release().expect("release");
        assert_eq!(talk.hear(), "Released");
        talk.answers();
        assert_eq!(stop(&mut talk.handler).signal(), Some(libc::SIGTERM));

        // Nor does the copy's drop reap a dead one.
        let handler = ShimHandler::new(shell("exit 9").spawn().expect("spawn"));
        reaches(pid(&handler), 'Z');
        let mut handler = ManuallyDrop::new(handler);
        // SAFETY: as above.
        Fork::run(|| unsafe { ManuallyDrop::drop(&mut handler) }).succeeds();
        let mut handler = ManuallyDrop::into_inner(handler);
        assert_eq!(stop(&mut handler).code(), Some(9));
    }
);

by_every_method!(
    fn released_shim_lives_on() {
        let mut talk = Talk::start(&mut role(&Order::TellVerdict));
        talk.handler.release().expect("release");
        assert!(!talk.handler.is_attached());
        talk.handler.release().expect("once more, without effect");
        let identity = talk.handler.identity().expect("it lives");
        let Talk {
            handler,
            mut stdin,
            mut lines,
        } = talk;
        drop(handler);
        assert_eq!(lines.next().expect("a line").expect("read"), "Released");
        stdin.write_all(b"are you there\n").expect("write");
        assert_eq!(
            lines.next().expect("a line").expect("read"),
            "are you there"
        );
        let mut again = ShimHandler::adopt(&identity).expect("it lives");
        assert_eq!(
            again
                .stop()
                .expect("stop")
                .exit()
                .status
                .and_then(|s| s.signal()),
            Some(libc::SIGTERM)
        );
        until("reaped", || {
            proc_fs::children_of(own_pid()).is_empty().then_some(())
        });
    }
);

by_every_method!(
    fn adopted_shim_is_the_same_process() {
        let mut handler = ShimHandler::new(
            spawner_of("/bin/sleep")
                .arg("1000")
                .detached(true)
                .spawn()
                .expect("spawn"),
        );
        let identity = handler.identity().expect("it lives");
        let adopted = ShimHandler::adopt(&identity).expect("it lives");
        assert_eq!(adopted.pid(), handler.pid());
        assert!(!adopted.is_attached());
        // Dropping an adopted one leaves it alone.
        drop(adopted);
        assert_eq!(handler.try_wait().expect("try_wait"), None);
        // Another process, which is not its parent, stops it.
        Fork::run(|| {
            let mut adopted = ShimHandler::adopt(&identity)
                .expect("it lives")
                .stop_policy(StopPolicy::new().signal(Signal::INT));
            let exit = adopted.stop().expect("stop").exit();
            assert_eq!(exit.pid, adopted.pid());
            if let Some(status) = exit.status {
                assert_eq!(status.signal(), Some(libc::SIGINT));
            }
        })
        .succeeds();
        let exit = handler.wait().expect("wait");
        assert_eq!(
            exit.status.and_then(|status| status.signal()),
            Some(libc::SIGINT)
        );
        no_children();
    }
);

by_every_method!(
    fn adopting_a_dead_shim_says_that_it_is_gone() {
        let before = Snapshot::take();
        let mut handler = sleeper();
        let identity = handler.identity().expect("it lives");
        stop(&mut handler);
        let error = ShimHandler::adopt(&identity).expect_err("it is gone");
        assert!(matches!(error, AdoptError::Gone), "{error}");
        drop(handler);
        assert_eq!(Snapshot::take(), before);
    }
);
