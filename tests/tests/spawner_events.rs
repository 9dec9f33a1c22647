//! What shim-spawner tells a subscriber of `tracing`.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use shim_spawner::{Pid, ShimHandler, ShimIdentity, ShimSpawner, Stdio, StopTarget, Supervisor};
use workspace_tests::collector::{Collector, Hostile};
use workspace_tests::fork::Fork;
use workspace_tests::identity_text::with_field;
use workspace_tests::pack::{OBEDIENT, Pack, STUBBORN, grace, raw};
use workspace_tests::{alone, alone_in_pid_namespace, until};

/// What this crate tells, and not those below it.
const OWN: &str = " shim_spawner";

/// A program that ends with its input.
fn cat() -> ShimSpawner {
    let mut spawner = ShimSpawner::new("cat");
    spawner.stdin(Stdio::piped()).stdout(Stdio::null());
    spawner
}

fn handler() -> ShimHandler {
    ShimHandler::new(cat().spawn().expect("spawn"))
}

/// Ends it, and reaps it.
fn ended(handler: &mut ShimHandler) {
    drop(handler.take_stdin());
    handler.wait().expect("wait");
}

#[test]
fn spawn_is_told_stage_by_stage_within_its_span() {
    let (told, mut shim) =
        Collector::listen(|| cat().spawn().map(ShimHandler::new).expect("spawn"));
    let pid = raw(&shim.pid());
    let span = "shim_spawner spawn{program=cat engine=Vfork}";
    let prepared = "attached=true supervised=false config=false identity_file=false fds=0";
    assert_eq!(
        told.lines(OWN),
        [
            format!("DEBUG {span}: prepared {prepared}"),
            format!("DEBUG {span}: started pid={pid}"),
            format!("INFO {span}: spawned pid={pid} attached=true"),
        ]
    );
    // What the spawn does below is told within its span.
    let link = told.lines("link made");
    assert_eq!(link.len(), 1, "{link:?}");
    assert!(link[0].contains("watchdog_pipe spawn{"), "{link:?}");
    assert_eq!(told.open_spans(), [""; 0]);
    ended(&mut shim);
}

#[test]
fn what_is_told_after_a_spawn_is_not_within_its_span() {
    let (told, ()) = Collector::listen(|| {
        let _ = ShimSpawner::new("/nowhere").spawn().map(drop);
        tracing::info!("later");
    });
    assert_eq!(told.lines("later"), ["INFO spawner_events: later"]);
}

#[test]
fn refused_spawn_is_told_with_stage_and_errno() {
    let (told, error) = Collector::listen(|| {
        let spawned = ShimSpawner::new("/nowhere").detached(true).spawn();
        spawned.map(drop).expect_err("no program")
    });
    let span = "shim_spawner spawn{program=/nowhere engine=Vfork}";
    let line = format!("WARN {span}: not spawned stage=Exec errno=2 error={error}");
    assert_eq!(told.lines("spawned"), [line]);
    assert_eq!(told.open_spans(), [""; 0]);
}

/// What is refused before anything is made has no error number.
#[test]
fn spawn_that_makes_no_sense_is_told_without_an_errno() {
    let (told, error) = Collector::listen(|| {
        let spawned = ShimSpawner::new("a\0b").spawn();
        spawned.map(drop).expect_err("a NUL byte")
    });
    let lines = told.lines(OWN);
    assert_eq!(lines.len(), 1, "{lines:?}");
    let end = format!(": not spawned stage=Arguments error={error}");
    assert!(lines[0].ends_with(&end), "{lines:?}");
}

#[test]
fn supervised_program_is_told_when_it_was_executed() {
    let shim = env!("CARGO_BIN_EXE_shim_under_test");
    alone_in_pid_namespace!({
        let (told, mut shim) = Collector::listen(|| {
            let mut spawner = cat();
            spawner.supervised(Supervisor::at(shim));
            ShimHandler::new(spawner.spawn().expect("spawn"))
        });
        let pid = raw(&shim.pid());
        let lines: Vec<_> = told.lines("pid=");
        let span = "shim_spawner spawn{program=cat engine=Vfork}";
        assert_eq!(
            lines,
            [
                format!("DEBUG {span}: started pid={pid}"),
                format!("DEBUG {span}: program executed pid={pid}"),
                format!("INFO {span}: spawned pid={pid} attached=true"),
            ]
        );
        ended(&mut shim);
    });
}

/// The lines of a stop in which one member outlives the grace period.
fn of_a_stop(shim: Pid, stubborn: Pid) -> [String; 3] {
    let (shim, stubborn) = (raw(&shim), raw(&stubborn));
    let span = format!("shim_spawner stop{{pid={shim} target=group}}");
    [
        format!("DEBUG {span}: signalled signal=15 grace={:?}", grace()),
        format!("WARN {span}: grace over killed=1 pids=[{stubborn}]"),
        format!("INFO {span}: stopped status=exit status: 5 killed=1 left=0"),
    ]
}

#[test]
fn stop_tells_whom_sigkill_was_for_and_who_is_left() {
    alone_in_pid_namespace!({
        for by_a_future in [false, true] {
            let mut pack = Pack::start(&[STUBBORN, OBEDIENT], "wait");
            let (shim, stubborn) = (pack.handler.pid(), pack.members[0].pid());
            let (told, report) = Collector::listen(|| {
                if by_a_future {
                    smol::block_on(pack.handler.stop_async())
                } else {
                    pack.handler.stop()
                }
            });
            assert!(report.expect("stop").is_empty());
            assert_eq!(told.lines(OWN), of_a_stop(shim, stubborn));
            assert_eq!(told.open_spans(), [""; 0]);
        }
    });
}

#[test]
fn stop_whose_future_was_dropped_is_told_to_its_end() {
    alone_in_pid_namespace!({
        let told = Collector::default();
        // It goes on in the watcher's thread.
        tracing::subscriber::set_global_default(told.clone()).expect("the first one");
        let mut pack = Pack::start(&[STUBBORN], "wait");
        let (shim, stubborn) = (pack.handler.pid(), pack.members[0].pid());
        {
            let mut stop = pin!(pack.handler.stop_async());
            let polled = stop.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            assert!(matches!(polled, Poll::Pending));
        }
        until("the stop is over", || {
            let over = told.open_spans().is_empty();
            over.then_some(())
        });
        assert_eq!(told.lines(" stop{"), of_a_stop(shim, stubborn));
    });
}

#[test]
fn stop_that_fails_is_told_whoever_drives_it() {
    let mut shim = handler().stop_target(StopTarget::Cgroup);
    let pid = raw(&shim.pid());
    for by_a_future in [false, true] {
        let (told, stopped) = Collector::listen(|| {
            if by_a_future {
                smol::block_on(shim.stop_async())
            } else {
                shim.stop()
            }
        });
        let error = stopped.expect_err("which cgroup is not known");
        let span = format!("shim_spawner stop{{pid={pid} target=cgroup}}");
        assert_eq!(
            told.lines(OWN),
            [format!("WARN {span}: not stopped error={error}")]
        );
        assert_eq!(told.open_spans(), [""; 0]);
    }
    ended(&mut shim);
}

#[test]
fn adoption_and_its_refusal_are_told() {
    let mut shim = handler();
    let pid = raw(&shim.pid());
    let identity = shim.identity().expect("alive");
    let (told, adopted) = Collector::listen(|| ShimHandler::adopt(&identity));
    drop(adopted.expect("it lives"));
    assert_eq!(
        told.lines(OWN),
        [format!("INFO shim_spawner: adopted pid={pid}")]
    );

    let text = with_field(&identity.to_string(), "start-time", Some("1"));
    let stranger: ShimIdentity = text.parse().expect("well-formed");
    let (told, adopted) = Collector::listen(|| ShimHandler::adopt(&stranger));
    let error = adopted.map(drop).expect_err("another process");
    assert_eq!(
        told.lines(OWN),
        [format!(
            "WARN shim_spawner: not adopted pid={pid} error={error}"
        )]
    );
    ended(&mut shim);
}

#[test]
fn release_and_its_refusal_are_told() {
    let mut shim = handler();
    let pid = raw(&shim.pid());
    let (told, released) = Collector::listen(|| shim.release());
    released.expect("it listens");
    assert_eq!(
        told.lines(OWN),
        [format!("INFO shim_spawner: released pid={pid}")]
    );
    ended(&mut shim);

    let mut shim = handler();
    let pid = raw(&shim.pid());
    // Not by the handler, which would let go.
    drop(shim.take_stdin());
    shim.process().wait().expect("wait");
    let (told, released) = Collector::listen(|| shim.release());
    let error = released.expect_err("nobody reads");
    assert_eq!(
        told.lines(OWN),
        [format!(
            "WARN shim_spawner: not released pid={pid} error={error}"
        )]
    );
}

#[test]
fn drop_of_the_handler_of_an_attached_shim_is_told_and_of_no_other() {
    let shim = handler();
    let pid = raw(&shim.pid());
    let (told, ()) = Collector::listen(|| drop(shim));
    assert_eq!(
        told.lines(OWN),
        [format!("INFO shim_spawner: handler dropped pid={pid}")]
    );
    let mut spawner = cat();
    let detached = ShimHandler::new(spawner.detached(true).spawn().expect("spawn"));
    let mut over = handler();
    ended(&mut over);
    let (told, ()) = Collector::listen(|| drop((detached, over)));
    assert_eq!(told.lines(OWN), [""; 0]);
}

#[test]
fn copy_made_by_fork_tells_nothing_of_the_handlers_that_it_drops() {
    alone!({
        let mut shim = Some(handler());
        Fork::run(|| {
            let copy = shim.take();
            let (told, ()) = Collector::listen(|| drop(copy));
            assert_eq!(told.lines(""), [""; 0]);
        })
        .succeeds();
        ended(shim.as_mut().expect("the original"));
    });
}

#[test]
fn subscriber_that_panics_changes_nothing() {
    alone_in_pid_namespace!({
        // Hundreds of messages say nothing.
        std::panic::set_hook(Box::new(|_| ()));
        let hostile = Hostile(|| panic!("at whatever it is told"));
        tracing::subscriber::with_default(hostile, || {
            let mut pack = Pack::start(&[STUBBORN], "wait");
            let report = pack.stop();
            assert!(report.is_empty(), "{report:?}");
            assert_eq!(report.killed().count(), Some(1), "{report:?}");
            let refused = ShimSpawner::new("/nowhere").spawn().map(drop);
            assert_eq!(refused.expect_err("no program").raw_os_error(), Some(2));
            let mut shim = handler();
            shim.release().expect("it listens");
            ended(&mut shim);
            drop(handler());
        });
    });
}
