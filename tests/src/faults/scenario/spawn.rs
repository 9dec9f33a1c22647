//! Spawning: each way to create a child, attached, detached, supervised, and with all that a child
//! can be given.

use std::fs::File;
use std::io::Read;
use std::process::ChildStdout;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use shim_spawner::{
    Contain, CpuSet, Engine, Resource, ShimHandler, ShimIdentity, ShimSpawner, Signal, Stdio,
    StopPolicy, Supervisor,
};

use crate::clone_method;
use crate::faults::role::Role;
use crate::faults::scene::{Scenario, Scene, ended, facts, program};
use crate::faults::told::{Facts, Outcome, Refusal};
use crate::orders::Order;
use crate::{proc_fs, seccomp};

pub const ALL: &[Scenario] = &[
    Scenario::new("spawn-attached-clone3", attached),
    Scenario::new("spawn-attached-clone", attached).behind(no_clone3),
    Scenario::new("spawn-attached-copy", attached).behind(no_shared_memory),
    Scenario::new("spawn-attached-fork", attached).by(Engine::Fork),
    Scenario::new("spawn-detached-clone3", detached),
    Scenario::new("spawn-detached-clone", detached).behind(no_clone3),
    Scenario::new("spawn-detached-copy", detached).behind(no_shared_memory),
    Scenario::new("spawn-detached-fork", detached).by(Engine::Fork),
    Scenario::new("spawn-supervised-clone3", supervised),
    Scenario::new("spawn-supervised-fork", supervised).by(Engine::Fork),
    Scenario::new("spawn-furnished-clone3", furnished),
    Scenario::new("spawn-furnished-clone", furnished).behind(no_clone3),
    Scenario::new("spawn-furnished-fork", furnished).by(Engine::Fork),
];

/// As before Linux 5.3.
fn no_clone3() {
    seccomp::refuse(&[(libc::SYS_clone3, libc::ENOSYS)]);
}

/// As under a profile that knows what a child with the memory of its parent can do.
fn no_shared_memory() {
    no_clone3();
    let shared = libc::CLONE_VM | libc::CLONE_VFORK;
    clone_method::refuse_clone(shared, shared, libc::EPERM);
}

/// Soon: the children have nothing to bring in order.
const GRACE: Duration = Duration::from_millis(500);

fn spawner(scene: &Scene<'_>) -> ShimSpawner {
    let mut spawner = ShimSpawner::new(program());
    spawner
        .arg(Order::Fault(Role::Tell).argument())
        .engine(scene.engine)
        .stop_policy(StopPolicy::new().grace(GRACE))
        .identity_file(scene.file("identity"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    spawner
}

fn attached(scene: &Scene<'_>) -> Outcome {
    let mut spawner = spawner(scene);
    spawner
        .config(*b"a secret")
        .current_dir("/")
        .map_fd(File::open("/dev/null").expect("/dev/null"), 7);
    spawn(scene, spawner)
}

fn detached(scene: &Scene<'_>) -> Outcome {
    let mut spawner = spawner(scene);
    spawner.detached(true);
    spawn(scene, spawner)
}

fn supervised(scene: &Scene<'_>) -> Outcome {
    let mut spawner = spawner(scene);
    spawner.supervised(Supervisor::this_program().contain(Contain::Subreaper));
    spawn(scene, spawner)
}

/// With a step for each method that takes one in the child, but for what needs a terminal.
fn furnished(scene: &Scene<'_>) -> Outcome {
    let mut spawner = spawner(scene);
    let mut cpus = CpuSet::new();
    cpus.set(0);
    spawner
        .session(true)
        .chroot("/")
        .groups([65_534])
        .gid(65_534)
        .uid(65_534)
        .no_new_privs(true)
        .nice(3)
        .oom_score_adj(300)
        .umask(0o027)
        .cpu_affinity(cpus)
        .rlimit(Resource::Nofile, 100, 200)
        .core_limit(0)
        .ignored_signals([Signal::HUP, Signal::USR1]);
    spawn(scene, spawner)
}

/// Spawns it, hears what the child has found, and stops it.
fn spawn(scene: &Scene<'_>, mut spawner: ShimSpawner) -> Outcome {
    let spawned = scene.under_faults(|| spawner.spawn());
    drop(spawner);
    let identity = scene.file("identity");
    let shim = match spawned {
        Ok(shim) => shim,
        Err(error) => {
            let own = i32::try_from(std::process::id()).expect("a pid");
            assert_eq!(proc_fs::children_of(own), [], "left behind by: {error}");
            assert!(!identity.exists(), "an identity of nobody: {error}");
            return Err(error.into());
        }
    };
    let mut handler = ShimHandler::new(shim);
    let said = handler.take_stdout().map_or(String::new(), line);
    let saved = ShimIdentity::load(&identity).map_err(Refusal::from);
    let same = saved.is_ok_and(|saved| Some(saved) == handler.identity().ok());
    let told = [
        ("guarantees", format!("{:?}", handler.guarantees())),
        ("level", format!("{:?}", handler.level())),
        ("identity", same.to_string()),
    ];
    let report = handler.stop().expect("a stop without a fault");
    assert!(report.is_empty(), "{report:?}");
    std::fs::remove_file(&identity).expect("the identity file");
    let mut told = facts(told);
    told.insert("status".to_owned(), ended(report.exit().status));
    let child: Facts = serde_json::from_str(&said).unwrap_or_default();
    told.extend(
        child
            .into_iter()
            .map(|(name, value)| (format!("child {name}"), value)),
    );
    Ok(told)
}

/// What a child says, before the deadline; empty if it ends without a word.
pub fn line(mut stdout: ChildStdout) -> String {
    let deadline = Instant::now() + Duration::from_secs(20);
    let mut said = Vec::new();
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let limit = Timespec::try_from(left).expect("a short time");
        let mut fds = [PollFd::new(&stdout, PollFlags::IN)];
        let ready = rustix::io::retry_on_intr(|| poll(&mut fds, Some(&limit))).expect("poll");
        assert!(ready > 0, "the child says nothing");
        let mut bytes = [0; 4096];
        let count = stdout.read(&mut bytes).expect("read");
        said.extend_from_slice(&bytes[..count]);
        if count == 0 || said.ends_with(b"\n") {
            return String::from_utf8_lossy(&said).trim_end().to_owned();
        }
    }
}
