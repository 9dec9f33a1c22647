//! A shim is found again by its identity file, by a process that is not its parent.

use std::time::Duration;

use shim_spawner::{ShimHandler, ShimIdentity, ShimSpawner, Stdio, StopPolicy, StopReport};

use crate::faults::scene::{Scenario, Scene, ended, facts};
use crate::faults::told::{Outcome, Refusal};
use crate::fork::Fork;

pub const ALL: &[Scenario] = &[
    Scenario::new("adopt-open", open),
    Scenario::new("adopt-stop", stop),
    Scenario::new("adopt-save", save),
];

const LONG: Duration = Duration::from_secs(20);

/// A detached shim whose runtime has ended, and has left its identity in this file.
fn leave_behind(scene: &Scene<'_>) {
    let identity = scene.file("identity");
    Fork::run(|| {
        let shim = ShimSpawner::new("/bin/sleep")
            .arg("1000")
            .detached(true)
            .identity_file(&identity)
            .stop_policy(StopPolicy::new().grace(LONG))
            .stdin(Stdio::null())
            .spawn();
        std::mem::forget(shim.expect("a spawn without a fault"));
    })
    .succeeds();
}

/// Ends it, whatever came of the case.
fn end(scene: &Scene<'_>) -> StopReport {
    let identity = ShimIdentity::load(scene.file("identity")).expect("an identity");
    let mut handler = ShimHandler::adopt(&identity).expect("the shim");
    let report = handler.stop().expect("a stop without a fault");
    std::fs::remove_file(scene.file("identity")).expect("the file");
    report
}

fn open(scene: &Scene<'_>) -> Outcome {
    leave_behind(scene);
    let path = scene.file("identity");
    let done = scene.under_faults(|| {
        let identity = ShimIdentity::load(&path)?;
        let handler = ShimHandler::adopt(&identity)?;
        Ok::<_, Refusal>((identity, handler))
    });
    let report = end(scene);
    let (identity, mut handler) = done?;
    let gone = handler.wait_timeout(LONG).expect("wait").is_some();
    assert!(gone, "another process was adopted");
    Ok(facts([
        ("proven", identity.proven().to_string()),
        ("target", format!("{:?}", identity.stop_target())),
        ("attached", format!("{:?}", identity.is_attached())),
        ("empty", report.is_empty().to_string()),
    ]))
}

fn stop(scene: &Scene<'_>) -> Outcome {
    leave_behind(scene);
    let identity = ShimIdentity::load(scene.file("identity")).expect("an identity");
    let mut handler = ShimHandler::adopt(&identity).expect("the shim");
    let stopped = scene.under_faults(|| handler.stop());
    let report = match stopped {
        Ok(report) => report,
        Err(error) => {
            let again = end(scene);
            assert!(again.is_empty(), "after {error}: {again:?}");
            return Err(error.into());
        }
    };
    std::fs::remove_file(scene.file("identity")).expect("the file");
    Ok(facts([
        ("status", ended(report.exit().status)),
        ("killed", format!("{:?}", report.killed().count())),
        ("left", format!("{:?}", report.left().count())),
    ]))
}

/// The identity is written anew: the old file or the new one is there, whole.
fn save(scene: &Scene<'_>) -> Outcome {
    leave_behind(scene);
    let path = scene.file("identity");
    let before = ShimIdentity::load(&path).expect("an identity");
    let handler = ShimHandler::adopt(&before).expect("the shim");
    let done = scene.under_faults(|| {
        let identity = handler.identity()?;
        identity.save(&path)?;
        Ok::<_, std::io::Error>(identity)
    });
    let after = ShimIdentity::load(&path).expect("half an identity");
    let _ = end(scene);
    let identity = match done {
        Ok(identity) => identity,
        Err(error) => {
            // A save that failed may have left its spare, which the next one removes.
            assert_eq!(after.pid(), before.pid());
            return Err(error.into());
        }
    };
    assert_eq!(after, identity);
    Ok(facts([("proven", identity.proven().to_string())]))
}
