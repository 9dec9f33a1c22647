//! What a runtime does until it is killed.

use std::fs;
use std::path::{Path, PathBuf};

use shim_spawner::{Contain, ShimHandler, ShimIdentity, ShimSpawner, Stdio, Supervisor};

use super::case::{Case, Kind};
use super::loss::Loss;
use crate::fd_table::{file, fixture};
use crate::orphan::Flag;

/// No runtime spawns more that live on: it is killed before, or waits for it.
const AT_MOST: u32 = 20;

/// The identity file of a shim.
pub(super) fn identity(folder: &Path, number: u32) -> PathBuf {
    folder.join(format!("id-{number}"))
}

/// There from before a release on: the shim may live on.
pub(super) fn releasing(identity: &Path) -> PathBuf {
    identity.with_extension("releasing")
}

/// There once it was released: the shim must live on.
pub(super) fn released(identity: &Path) -> PathBuf {
    identity.with_extension("released")
}

/// There from before a stop on: the shim may end.
pub(super) fn stopping(identity: &Path) -> PathBuf {
    identity.with_extension("stopping")
}

/// What it needs to know, and to tell.
#[derive(Clone, Copy, Debug)]
pub(super) struct Runtime<'a> {
    pub(super) case: &'a Case,
    pub(super) folder: &'a Path,
    /// How many steps it has taken.
    pub(super) steps: Flag,
    pub(super) loss: Option<Loss>,
}

impl Runtime<'_> {
    /// Works until it is killed.
    pub(super) fn run(self) -> ! {
        if !self.case.kind.is_tree() {
            self.case.method.force();
        }
        match self.case.kind {
            Kind::Stop | Kind::Supervise(_) => self.churn(),
            Kind::Release | Kind::ReleaseTree => self.release(),
            Kind::Adopt => self.adopt(),
        }
        loop {
            std::thread::park();
        }
    }

    fn step(self) {
        self.steps.set(self.steps.get() + 1);
    }

    fn churn(self) {
        loop {
            let mut stopped = self.spawn(&mut self.spawner());
            let dropped = self.spawn(&mut self.spawner());
            let report = stopped.stop().expect("stop");
            assert!(report.left().pids().is_empty(), "{report:?}");
            self.step();
            drop(dropped);
            self.step();
        }
    }

    fn release(self) {
        for number in 0..AT_MOST {
            let path = identity(self.folder, number);
            let mut shim = self.spawn(self.spawner().identity_file(&path));
            fs::write(releasing(&path), "").expect("say so");
            self.step();
            shim.release().expect("the shim listens");
            self.step();
            fs::write(released(&path), "").expect("say so");
            self.spoil(&path);
        }
    }

    fn adopt(self) {
        for number in 0..AT_MOST {
            let path = identity(self.folder, number);
            drop(self.spawn(self.spawner().detached(true).identity_file(&path)));
            let identity = ShimIdentity::load(&path).expect("a whole file");
            let mut shim = ShimHandler::adopt(&identity).expect("it lives");
            self.step();
            if number % 2 == 1 {
                fs::write(stopping(&path), "").expect("say so");
                let report = shim.stop().expect("stop");
                assert!(report.is_empty(), "{report:?}");
                self.step();
            }
            self.spoil(&path);
        }
    }

    fn spawn(self, spawner: &mut ShimSpawner) -> ShimHandler {
        let shim = spawner.spawn().expect("spawn");
        self.step();
        shim.into()
    }

    fn spawner(self) -> ShimSpawner {
        let Runtime { case, loss, .. } = self;
        let mut spawner = match case.kind {
            Kind::Supervise(containment) => tree(case, containment.contain()),
            Kind::ReleaseTree => tree(case, Contain::Auto),
            _ => shim(loss),
        };
        spawner
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            // A supervisor whose runtime is gone before it has begun says so.
            .stderr(Stdio::null())
            .engine(case.method.engine())
            .sentinel(case.sentinel)
            .stop_policy(Case::policy());
        spawner
    }

    /// What is wrong with an identity file, if it is to be.
    fn spoil(self, identity: &Path) {
        if self.loss == Some(Loss::Identity) {
            let text = fs::read(identity).expect("an identity");
            fs::write(identity, &text[..text.len() / 2]).expect("cut it short");
        }
    }
}

fn shim(loss: Option<Loss>) -> ShimSpawner {
    if loss == Some(Loss::Deaf) {
        let mut spawner = ShimSpawner::new("/bin/sleep");
        spawner.arg("1000");
        return spawner;
    }
    let mut spawner = ShimSpawner::new(fixture("shim_box"));
    if loss == Some(Loss::Descriptor) {
        spawner.map_fd(file(), 100);
    }
    spawner
}

/// A shell that becomes a sleeper, and another sleeper that it knows nothing of any more.
fn tree(case: &Case, contain: Contain) -> ShimSpawner {
    let trap = if case.deaf { "trap '' TERM; " } else { "" };
    // What the program leaves behind is nobody's to stop without a containment.
    let orphan = if contain == Contain::Nothing {
        ""
    } else {
        "(sleep 1000 &); "
    };
    let mut spawner = ShimSpawner::new("/bin/sh");
    spawner.args(["-c", &format!("{trap}{orphan}exec sleep 1000")]);
    // Either is the same program: one is executed by its path, and one is this program.
    let supervisor = if case.sentinel {
        Supervisor::this_program()
    } else {
        Supervisor::at(fixture("shim_under_test"))
    };
    spawner.supervised(supervisor.contain(contain));
    spawner
}
