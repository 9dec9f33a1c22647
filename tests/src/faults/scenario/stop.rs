//! Stopping a shim: each target, by a thread and as a future, with members that obey and that do
//! not.

use std::os::fd::AsFd;
use std::time::Duration;

use shim_spawner::{
    Cgroup, Contain, ShimHandler, ShimSpawner, Stdio, StopError, StopPolicy, StopReport,
    StopTarget, Supervisor,
};

use crate::faults::scenario::spawn::line;
use crate::faults::scenario::watch::block_on;
use crate::faults::scene::{Scenario, Scene, ended, facts};
use crate::faults::told::{Facts, Outcome, Refusal};
use crate::seccomp;

pub const ALL: &[Scenario] = &[
    Scenario::new("stop-leader", leader),
    Scenario::new("stop-group", group),
    Scenario::new("stop-group-deaf", deaf_group),
    Scenario::new("stop-group-by-number", group).behind(seccomp::refuse_groups_by_pidfd),
    Scenario::new("stop-group-async", group_async),
    Scenario::new("stop-cgroup", cgroup),
    Scenario::new("stop-tree", tree),
    Scenario::new("stop-kill", kill),
    Scenario::new("stop-release", release),
    Scenario::new("stop-drop", drop_handler),
];

/// A leader and a member of its group.
const OBEYS: &str = "sleep 1000 & echo ready; exec >&-; wait";
/// Nobody of them takes the stop signal.
const DEAF: &str = "trap '' TERM; sleep 1000 & echo ready; exec >&-; wait";

fn spawner(script: &str, grace: Duration) -> ShimSpawner {
    let mut spawner = ShimSpawner::new("/bin/sh");
    spawner
        .args(["-c", script])
        .stop_policy(StopPolicy::new().grace(grace))
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    spawner
}

/// Longer than any of them takes.
const LONG: Duration = Duration::from_secs(20);

fn start(spawner: &mut ShimSpawner) -> ShimHandler {
    let mut handler = ShimHandler::new(spawner.spawn().expect("a spawn without a fault"));
    let said = handler.take_stdout().map_or(String::new(), line);
    assert_eq!(said, "ready");
    handler
}

/// What came of a stop. One that failed can be repeated.
fn told(stopped: Result<StopReport, StopError>, handler: &mut ShimHandler) -> Outcome {
    let report = match stopped {
        Ok(report) => report,
        Err(error) => {
            let refusal = Refusal::from(error);
            let again = handler.stop();
            assert!(
                again.as_ref().is_ok_and(StopReport::is_empty),
                "after {refusal:?}: {again:?}"
            );
            return Err(refusal);
        }
    };
    Ok(facts_of(&report))
}

fn facts_of(report: &StopReport) -> Facts {
    facts([
        ("status", ended(report.exit().status)),
        ("target", format!("{:?}", report.target())),
        ("killed", format!("{:?}", report.killed().count())),
        ("left", format!("{:?}", report.left().count())),
    ])
}

fn stop(scene: &Scene<'_>, spawner: &mut ShimSpawner) -> Outcome {
    let mut handler = start(spawner);
    let stopped = scene.under_faults(|| handler.stop());
    told(stopped, &mut handler)
}

fn leader(scene: &Scene<'_>) -> Outcome {
    let script = "echo ready; exec sleep 1000 >&-";
    stop(scene, spawner(script, LONG).stop_target(StopTarget::Leader))
}

fn group(scene: &Scene<'_>) -> Outcome {
    stop(scene, &mut spawner(OBEYS, LONG))
}

fn deaf_group(scene: &Scene<'_>) -> Outcome {
    stop(scene, &mut spawner(DEAF, Duration::from_millis(20)))
}

fn group_async(scene: &Scene<'_>) -> Outcome {
    let mut handler = start(&mut spawner(OBEYS, LONG));
    let stopped = scene.under_faults(|| block_on(handler.stop_async()));
    told(stopped, &mut handler)
}

fn cgroup(scene: &Scene<'_>) -> Outcome {
    let name = format!("workspace-tests-faults-{:x}", fastrand::u64(..));
    let Ok(cgroup) = Cgroup::make(name) else {
        return Ok(facts([("skipped", "no cgroup can be made".to_owned())]));
    };
    let folder = || cgroup.as_fd().try_clone_to_owned().expect("dup");
    let mut spawner = spawner(OBEYS, LONG);
    spawner.cgroup(folder()).stop_cgroup(folder());
    let outcome = stop(scene, &mut spawner);
    drop(spawner);
    assert!(
        cgroup.wait_empty(LONG).expect("a cgroup"),
        "somebody is left in the cgroup"
    );
    cgroup.remove().expect("an empty cgroup");
    outcome
}

fn tree(scene: &Scene<'_>) -> Outcome {
    let mut spawner = spawner("setsid sleep 1000 & echo ready; exec >&-; wait", LONG);
    spawner.supervised(Supervisor::this_program().contain(Contain::Subreaper));
    stop(scene, &mut spawner)
}

fn kill(scene: &Scene<'_>) -> Outcome {
    let mut handler = start(&mut spawner(DEAF, LONG));
    let killed = scene.under_faults(|| handler.kill());
    if let Err(error) = killed {
        return told(Err(error), &mut handler);
    }
    told(handler.stop(), &mut handler)
}

fn release(scene: &Scene<'_>) -> Outcome {
    let mut handler = start(&mut spawner(OBEYS, LONG));
    let released = scene.under_faults(|| handler.release());
    let attached = handler.is_attached();
    let report = handler.stop().expect("a stop without a fault");
    assert!(report.is_empty(), "{report:?}");
    assert_eq!(attached, released.is_err(), "held as before");
    released.map_err(Refusal::from)?;
    Ok(facts_of(&report))
}

/// The watcher that all share reaps it.
fn drop_handler(scene: &Scene<'_>) -> Outcome {
    let script = "echo ready; exec sleep 1000 >&-";
    let handler = start(&mut spawner(script, LONG));
    let process = handler.process().clone();
    scene.under_faults(move || drop(handler));
    process
        .send_signal(shim_spawner::Signal::KILL)
        .expect("it has no watchdog, and lives");
    Ok(facts([]))
}
