//! What the runtime of a soak does, each once in a round.

use std::process::{Command, Stdio};
use std::sync::mpsc;

use anyhow::{Context, Result, bail, ensure};
use fd_preserve::CommandFdExt;
use rustix::fs::{MemfdFlags, memfd_create};
use shim_spawner::{
    Cancelled, Contain, ShimHandler, ShimIdentity, ShimSpawner, Stage, Stdio as ShimStdio,
    Supervisor, Watcher,
};
use watchdog_pipe::Keepalive;

use super::spawns::{Spawns, took};
use super::wire::Step;
use crate::orders::Order;
use crate::{clock, time_limit};

#[derive(Clone, Copy, Debug)]
pub(super) enum Act {
    Stop,
    StopAsync,
    /// Killed, and told of it by the watcher that all share.
    Kill,
    /// By a watcher of its own, which is shut down.
    KillAndReap,
    /// A callback is taken back.
    Cancel,
    /// The shim is told to end by the drop of its handler.
    Drop,
    /// The shim is let go, and killed.
    Release,
    /// The link goes to another handler of the same process.
    HandOver,
    /// Found again by the runtime that spawned it.
    Adopt,
    /// Found again after the end of the runtime that spawned it.
    AdoptOrphan,
    /// A file passed on to a program without a shim.
    Preserve,
    /// Nothing is started.
    Refused,
    Tree(Contain),
    /// The tree is told to end by the drop of its handler.
    TreeDropped,
    /// The tree is let go, and stopped.
    TreeReleased,
}

impl Act {
    pub(super) const ALL: [Act; 19] = [
        Act::Stop,
        Act::StopAsync,
        Act::Kill,
        Act::KillAndReap,
        Act::Cancel,
        Act::Drop,
        Act::Release,
        Act::HandOver,
        Act::Adopt,
        Act::AdoptOrphan,
        Act::Preserve,
        Act::Refused,
        Act::Tree(Contain::Auto),
        Act::Tree(Contain::PidNamespace),
        Act::Tree(Contain::Cgroup),
        Act::Tree(Contain::Subreaper),
        Act::Tree(Contain::Nothing),
        Act::TreeDropped,
        Act::TreeReleased,
    ];

    /// Spawns what this act is about. Others live at the same time.
    pub(super) fn begin(self, spawns: &mut Spawns) -> Result<Option<ShimHandler>> {
        match self {
            Act::Adopt | Act::AdoptOrphan | Act::Preserve | Act::Refused => Ok(None),
            Act::Tree(contain) => spawns.tree(contain),
            Act::TreeDropped | Act::TreeReleased => spawns.tree(Contain::Auto),
            _ => spawns.attached().map(Some),
        }
    }

    pub(super) fn end(self, shim: Option<ShimHandler>, spawns: &mut Spawns) -> Result<()> {
        match (self, shim) {
            (Act::Adopt, _) => adopt(spawns),
            (Act::AdoptOrphan, _) => adopt_orphan(spawns),
            (Act::Preserve, _) => preserve(),
            (Act::Refused, _) => refused(),
            (_, None) => Ok(()),
            (Act::Stop, Some(shim)) => stop(shim, Some(Step::Stop)),
            (Act::StopAsync, Some(mut shim)) => {
                let report = smol::future::block_on(shim.stop_async())?;
                ensure!(report.is_empty(), "left: {report:?}");
                Ok(())
            }
            (Act::Kill, Some(shim)) => kill(shim),
            (Act::KillAndReap, Some(shim)) => kill_and_reap(&shim),
            (Act::Cancel, Some(shim)) => {
                let watch = shim.on_exit(|_| ())?;
                let cancelled = watch.cancel();
                ensure!(cancelled == Cancelled::Prevented, "{cancelled:?}");
                stop(shim, None)
            }
            (Act::Drop | Act::TreeDropped, Some(shim)) => {
                drop(shim);
                Ok(())
            }
            (Act::Release, Some(mut shim)) => {
                shim.release()?;
                shim.kill()?;
                shim.wait()?;
                Ok(())
            }
            (Act::HandOver, Some(shim)) => hand_over(shim),
            (Act::Tree(_), Some(tree)) => stop(tree, Some(Step::TreeStop)),
            (Act::TreeReleased, Some(mut tree)) => {
                tree.release()?;
                stop(tree, None)
            }
        }
    }
}

fn stop(mut shim: ShimHandler, step: Option<Step>) -> Result<()> {
    let before = clock::now();
    let report = shim.stop()?;
    let after = clock::now();
    ensure!(report.left().pids().is_empty(), "left: {report:?}");
    step.map_or(Ok(()), |step| took(step, before, after))
}

fn kill(mut shim: ShimHandler) -> Result<()> {
    let (tell, told) = mpsc::channel();
    shim.on_exit(move |_| {
        // The other end waits.
        let _ = tell.send(clock::now());
    })?;
    let before = clock::now();
    shim.kill()?;
    let after = told
        .recv_timeout(time_limit())
        .context("told of the exit")?;
    shim.wait()?;
    took(Step::ExitTold, before, after)
}

fn kill_and_reap(shim: &ShimHandler) -> Result<()> {
    let watcher = Watcher::new()?;
    let (tell, told) = mpsc::channel();
    let process = shim.process().clone();
    watcher.watch_and_reap(process, move |exit| {
        // The other end waits.
        let _ = tell.send(exit);
    })?;
    shim.kill()?;
    told.recv_timeout(time_limit())
        .context("told of the exit")?;
    let unreaped = watcher.shutdown()?;
    ensure!(unreaped.is_empty(), "not reaped: {unreaped:?}");
    Ok(())
}

fn hand_over(mut shim: ShimHandler) -> Result<()> {
    let keepalive = shim.take_keepalive().context("it is attached")?;
    let handed = keepalive.hand_over()?;
    let identity = shim.identity()?;
    let other = ShimHandler::adopt(&identity)?.attach(Keepalive::from_fd(handed)?);
    stop(other, None)
}

fn adopt(spawns: &mut Spawns) -> Result<()> {
    let path = spawns.folder.join("own");
    drop(spawns.detached(&path)?);
    adopt_from(&path)
}

fn adopt_orphan(spawns: &mut Spawns) -> Result<()> {
    let path = spawns.folder.join("orphan");
    let order = Order::LeaveShim {
        identity: path.clone(),
    };
    let own = std::env::args().next().context("its own name")?;
    let status = order.to(&own).stdin(Stdio::null()).status()?;
    ensure!(status.success(), "another runtime: {status}");
    adopt_from(&path)
}

fn adopt_from(path: &std::path::Path) -> Result<()> {
    let shim = ShimHandler::adopt(&ShimIdentity::load(path)?)?;
    std::fs::remove_file(path)?;
    stop(shim, None)
}

fn preserve() -> Result<()> {
    let file = memfd_create("soak", MemfdFlags::CLOEXEC)?;
    let mut command = Command::new("/bin/true");
    command.stdin(Stdio::null()).preserved_fds(vec![file])?;
    let status = command.status()?;
    ensure!(status.success(), "a program with a file: {status}");
    Ok(())
}

/// Fails at the exec, with a supervisor and without.
fn refused() -> Result<()> {
    for supervised in [false, true] {
        let mut spawner = ShimSpawner::new("/nowhere/at/all");
        spawner.stdin(ShimStdio::null()).stderr(ShimStdio::null());
        if supervised {
            spawner.supervised(Supervisor::this_program());
        }
        match spawner.spawn() {
            Err(error) if error.stage() == Stage::Exec => {}
            other => bail!("a program that is not there: {other:?}"),
        }
    }
    Ok(())
}
