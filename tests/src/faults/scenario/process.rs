//! A handle on a process: made, asked, waited for, reaped.

use std::process::Command;
use std::time::Duration;

use pidfd_watcher::{ChildProcess, Process, Signal};

use crate::Held;
use crate::faults::scene::{Scenario, Scene, ended, facts};
use crate::faults::told::{Outcome, Refusal};

pub const ALL: &[Scenario] = &[
    Scenario::new("process-open", open),
    Scenario::new("process-fork", fork),
    Scenario::new("process-wait", wait),
    Scenario::new("process-child", child),
];

fn open(scene: &Scene<'_>) -> Outcome {
    let held = Held::new();
    let done = scene.under_faults(|| {
        let process = Process::open(held.process().pid())?;
        process.send_signal(Signal::CONT)?;
        let alive = process.try_wait()?.is_none();
        Ok::<_, pidfd_watcher::Error>((process.pid() == held.process().pid(), alive))
    });
    let (same, alive) = done.map_err(Refusal::from)?;
    Ok(facts([
        ("same", same.to_string()),
        ("alive", alive.to_string()),
    ]))
}

fn fork(scene: &Scene<'_>) -> Outcome {
    // SAFETY: the child makes no call but the one that ends it.
    let forked = scene.under_faults(|| unsafe { Process::fork(|| 7) });
    let process = forked.map_err(Refusal::from)?;
    let status = process.reap_after_wait();
    Ok(facts([("status", status)]))
}

fn wait(scene: &Scene<'_>) -> Outcome {
    let held = Held::new();
    held.exit(7);
    let process = held.process().clone();
    let done = scene.under_faults(|| {
        let soon = process.wait_timeout(Duration::from_secs(20))?;
        let waited = process.wait()?;
        let looked = process.try_wait()?;
        let reaped = process.clone().reap()?;
        Ok::<_, pidfd_watcher::Error>([
            soon.and_then(|exit| exit.status),
            waited.status,
            looked.and_then(|exit| exit.status),
            reaped.status,
        ])
    });
    let statuses = done.map_err(Refusal::from)?;
    Ok(facts([("statuses", statuses.map(ended).join(", "))]))
}

/// A child of std's own.
fn child(scene: &Scene<'_>) -> Outcome {
    let mut child = Command::new("true").spawn().expect("spawn");
    let made = scene.under_faults(|| Process::from_child(&mut child));
    let process = match made {
        Ok(process) => process,
        Err(error) => {
            child.wait().expect("wait");
            return Err(error.into());
        }
    };
    let first = process.reap_after_wait();
    let child = Command::new("true").spawn().expect("spawn");
    let mut child = match scene.under_faults(|| ChildProcess::new(child)) {
        Ok(child) => child,
        Err(mut failed) => {
            failed.child.wait().expect("the child is given back");
            return Err(failed.into());
        }
    };
    let waited = scene.under_faults(|| child.wait());
    let status = waited.map_err(Refusal::from)?.status;
    Ok(facts([("first", first), ("status", ended(status))]))
}

trait ReapAfterWait {
    /// How it ended, told without a fault.
    fn reap_after_wait(self) -> String;
}

impl ReapAfterWait for Process {
    fn reap_after_wait(self) -> String {
        let exit = self.wait_timeout(Duration::from_secs(20)).expect("wait");
        assert!(exit.is_some(), "it does not end");
        ended(self.reap().expect("reap").status)
    }
}
