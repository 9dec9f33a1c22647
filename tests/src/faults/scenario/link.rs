//! The lifetime link: its parent's side in this process, and its child's side in a program of its
//! own.

use std::fs;
use std::time::{Duration, Instant};

use shim_spawner::{ShimHandler, ShimSpawner, Stdio, StopPolicy};
use watchdog_pipe::{Builder, Keepalive};

use crate::faults::role::{Role, Ward};
use crate::faults::scene::{Scenario, Scene, ended, facts, program};
use crate::faults::told::{CHILD, Outcome, Refusal};
use crate::orders::Order;
use crate::until;

pub const ALL: &[Scenario] = &[
    Scenario::new("link-channel", channel),
    Scenario::new("link-release", release),
    Scenario::new("link-hand-over", hand_over),
    once("link-adopt", adopt),
    once("link-enforce", enforce),
    once("link-wait", wait),
    once("link-let-go", let_go),
    once("link-stop", stop),
    once("link-stop-deaf", stop_deaf),
    once("link-stop-pipe-alone", stop_pipe_alone),
];

const fn once(name: &'static str, run: fn(&Scene<'_>) -> Outcome) -> Scenario {
    Scenario {
        once: true,
        ..Scenario::new(name, run)
    }
}

fn channel(scene: &Scene<'_>) -> Outcome {
    let done = scene.under_faults(|| {
        let (keepalive, setup) = Builder::new().channel()?;
        let told = (keepalive.guarantees(), setup.fds().count());
        drop((keepalive, setup));
        Ok::<_, std::io::Error>(told)
    });
    let (guarantees, fds) = done.map_err(Refusal::from)?;
    Ok(facts([
        ("guarantees", format!("{guarantees:?}")),
        ("fds", fds.to_string()),
    ]))
}

fn release(scene: &Scene<'_>) -> Outcome {
    let (keepalive, setup) = Builder::new().channel().expect("a channel");
    let released = scene.under_faults(|| keepalive.release());
    drop(setup);
    released.map_err(Refusal::from)?;
    Ok(facts([]))
}

fn hand_over(scene: &Scene<'_>) -> Outcome {
    let (keepalive, setup) = Builder::new().channel().expect("a channel");
    let done = scene.under_faults(|| {
        let write = keepalive.hand_over()?;
        Ok::<_, Refusal>(Keepalive::from_fd(write)?)
    });
    let guarantees = done?.guarantees();
    drop(setup);
    Ok(facts([("guarantees", format!("{guarantees:?}"))]))
}

/// A child with a link to this process, told what to do with it.
fn child(scene: &Scene<'_>, ward: Ward, sentinel: bool) -> ShimHandler {
    let role = Role::Ward {
        ward,
        armed: scene.is_armed(),
        said: scene.file(CHILD),
    };
    let _ = fs::remove_file(scene.file(CHILD));
    let shim = ShimSpawner::new(program())
        .arg(Order::Fault(role).argument())
        .stop_policy(StopPolicy::new().grace(Duration::from_millis(50)))
        .sentinel(sentinel)
        .stdin(Stdio::null())
        .spawn();
    ShimHandler::new(shim.expect("a spawn without a fault"))
}

/// What the child has said of its operation.
fn said(scene: &Scene<'_>, handler: &mut ShimHandler) -> Outcome {
    let text = until("the child says what came of it", || {
        let text = fs::read_to_string(scene.file(CHILD)).ok();
        // It writes before it ends.
        let ended = handler.process().try_wait().ok().flatten();
        let text = text.filter(|text| text.ends_with('\n'));
        if text.is_none() && ended.is_some() {
            let text = fs::read_to_string(scene.file(CHILD)).unwrap_or_default();
            assert!(
                text.ends_with('\n'),
                "the child ended without a word: {ended:?}"
            );
        }
        text
    });
    serde_json::from_str(&text).expect("an outcome")
}

/// Lets go of the child, which ends, or was told what it has told. How it ended.
fn let_go_of(handler: &mut ShimHandler) -> String {
    drop(handler.take_keepalive());
    let began = Instant::now();
    let exit = handler.wait_timeout(Duration::from_secs(20)).expect("wait");
    let exit = exit.unwrap_or_else(|| {
        panic!(
            "the child lives on {:?} after its parent let go",
            began.elapsed()
        )
    });
    ended(exit.status)
}

/// The child does it by itself, and says what came of it; then it is let go of.
fn by_itself(scene: &Scene<'_>, ward: Ward) -> Outcome {
    let mut handler = child(scene, ward, true);
    let outcome = said(scene, &mut handler);
    let status = let_go_of(&mut handler);
    let mut told = outcome?;
    told.insert("status".to_owned(), status);
    Ok(told)
}

fn adopt(scene: &Scene<'_>) -> Outcome {
    by_itself(scene, Ward::Adopt)
}

fn enforce(scene: &Scene<'_>) -> Outcome {
    by_itself(scene, Ward::Enforce)
}

fn let_go(scene: &Scene<'_>) -> Outcome {
    by_itself(scene, Ward::Cancel)
}

/// The child waits for the verdict under faults.
fn wait(scene: &Scene<'_>) -> Outcome {
    let mut handler = child(scene, Ward::Wait, true);
    drop(handler.take_keepalive());
    let outcome = said(scene, &mut handler);
    let status = let_go_of(&mut handler);
    let mut told = outcome?;
    told.insert("status".to_owned(), status);
    Ok(told)
}

/// The child ends under faults: nothing else ends it.
fn stopped(scene: &Scene<'_>, ward: Ward, sentinel: bool) -> Outcome {
    let mut handler = child(scene, ward, sentinel);
    let ready = said(scene, &mut handler);
    assert!(ready.is_ok(), "{ready:?}");
    scene.arm_others();
    let status = let_go_of(&mut handler);
    scene.disarm();
    Ok(facts([("status", status)]))
}

fn stop(scene: &Scene<'_>) -> Outcome {
    stopped(scene, Ward::Die, true)
}

fn stop_deaf(scene: &Scene<'_>) -> Outcome {
    stopped(scene, Ward::DieDeaf, true)
}

fn stop_pipe_alone(scene: &Scene<'_>) -> Outcome {
    stopped(scene, Ward::Die, false)
}
