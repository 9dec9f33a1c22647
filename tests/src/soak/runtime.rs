//! The runtime of a soak: does everything once in each round, in an order of the seed's.

use std::os::fd::IntoRawFd;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::process::{getpid, set_child_subreaper};
use shim_spawner::ShimHandler;

use super::act::Act;
use super::heap;
use super::spawns::{Spawns, tell};
use super::wire::{Ask, Told};
use crate::orders::Leak;
use crate::proc_fs;

/// The shim and the tree that live from the start to the end.
const LASTING: usize = 2;

/// How long the last children may take to end, before the director looks all the same.
const SETTLE: Duration = Duration::from_secs(10);

/// Works until standard input ends.
///
/// # Errors
/// Whatever goes wrong is the end of the soak.
pub fn run(seed: u64, folder: &Path, leak: Option<Leak>) -> Result<()> {
    // What another runtime leaves behind comes here.
    set_child_subreaper(Some(getpid()))?;
    let mut spawns = Spawns::new(seed, folder);
    let mut shim = spawns.attached()?;
    let mut tree = spawns.lasting_tree()?;
    let pid = shim.pid().as_raw_nonzero().get();
    tell(&Told::Ready { shim: pid })?;
    for line in std::io::stdin().lines() {
        let Ask::Round = serde_json::from_str(&line?)?;
        round(&mut spawns)?;
        if let Some(leak) = leak {
            lose(leak)?;
        }
        ensure!(
            lives(&mut shim)? && lives(&mut tree)?,
            "a shim has ended by itself"
        );
        settle();
        tell(&Told::Settled { heap: heap::tidy() })?;
    }
    for mut lasting in [tree, shim] {
        let report = lasting.stop()?;
        ensure!(report.is_empty(), "left: {report:?}");
    }
    Ok(())
}

/// A runtime that spawns a detached shim, and ends.
///
/// # Errors
/// As the spawn.
pub fn leave_shim(identity: &Path) -> Result<()> {
    let folder = identity.parent().context("a folder")?;
    let shim = Spawns::new(fastrand::u64(..), folder).detached(identity)?;
    // It lives on.
    drop(shim);
    Ok(())
}

fn round(spawns: &mut Spawns) -> Result<()> {
    let mut acts = Act::ALL;
    spawns.random.shuffle(&mut acts);
    let mut begun = Vec::with_capacity(acts.len());
    for act in acts {
        let shim = act.begin(spawns).with_context(|| format!("{act:?}"))?;
        begun.push((act, shim));
    }
    spawns.random.shuffle(&mut begun);
    for (act, shim) in begun {
        act.end(shim, spawns).with_context(|| format!("{act:?}"))?;
    }
    Ok(())
}

fn lives(shim: &mut ShimHandler) -> Result<bool> {
    Ok(shim.try_wait()?.is_none())
}

/// Waits until all others have ended and were reaped. One that does not is seen by the director.
fn settle() {
    let own = std::process::id().cast_signed();
    let deadline = Instant::now() + SETTLE;
    while proc_fs::children_of(own).len() > LASTING && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(5));
    }
}

fn lose(what: Leak) -> Result<()> {
    match what {
        Leak::Descriptor => {
            let _ = memfd_create("lost", MemfdFlags::CLOEXEC)?.into_raw_fd();
        }
        Leak::Memory => drop(Box::leak(vec![1_u8; 4096].into_boxed_slice())),
    }
    Ok(())
}
