//! Spawning in a case: by the method that the case is forced to, with what must not be left behind.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use pidfd_watcher::{Pid, Process};
use shim_spawner::{Resource, ShimSpawner, Signal, SpawnError, SpawnedShim, Stdio};

use crate::clone_method::method;
use crate::fork::Fork;
use crate::{fd_table, proc_fs, reaped, time_limit};

/// Descriptors by number, and children by pid with their state.
#[derive(Debug, PartialEq, Eq)]
pub struct Snapshot {
    fds: BTreeMap<i32, String>,
    children: Vec<(i32, char)>,
}

/// A spawner with the engine of that method.
pub fn spawner_of(program: impl AsRef<std::ffi::OsStr>) -> ShimSpawner {
    let mut spawner = ShimSpawner::new(program);
    spawner.engine(method().engine());
    spawner
}

pub fn own_pid() -> i32 {
    i32::try_from(std::process::id()).expect("a pid")
}

/// Not the C library's `getpid`, which older ones answer from memory.
pub fn pid_of_the_kernel() -> i32 {
    // SAFETY: takes no pointer.
    i32::try_from(unsafe { libc::syscall(libc::SYS_getpid) }).unwrap_or(0)
}

impl Snapshot {
    pub fn take() -> Snapshot {
        // The first link leaves a descriptor and a thread for the life of its process: the
        // sentinel's. What a spawn leaves behind is counted with those.
        drop(watchdog_pipe::channel());
        let children = proc_fs::children_of(own_pid());
        Snapshot {
            fds: proc_fs::own_fds(),
            children: children.iter().map(|stat| (stat.pid, stat.state)).collect(),
        }
    }

    /// Descriptors that were not there, or were another file's.
    pub fn opened_since(&self, before: &Snapshot) -> Vec<i32> {
        let new = self
            .fds
            .iter()
            .filter(|(fd, file)| before.fds.get(fd) != Some(file));
        new.map(|(fd, _)| *fd).collect()
    }
}

/// The error of a spawn that must fail, and that must leave nothing behind.
pub fn fails(what: &str, spawner: &mut ShimSpawner) -> SpawnError {
    let before = Snapshot::take();
    let error = spawner.spawn().expect_err(what);
    assert_eq!(Snapshot::take(), before, "left behind: {what}: {error}");
    error
}

/// What it wrote to its standard output, having ended well.
pub fn output(spawner: &mut ShimSpawner) -> String {
    let mut shim = spawner.stdout(Stdio::piped()).spawn().expect("spawn");
    drop(shim.child.stdin.take());
    said_and_ended(shim)
}

/// The same of one that runs.
pub fn said_and_ended(mut shim: SpawnedShim) -> String {
    let stdout = shim.child.stdout.take().expect("piped");
    let text = io::read_to_string(stdout).expect("read");
    ends_well(&shim);
    text
}

pub fn ends_well(shim: &SpawnedShim) {
    let exit = reaped(shim.child.process());
    assert!(exit.status.expect("own child").success(), "{exit:?}");
}

/// Everything that a spawner can be asked for without a terminal and a cgroup, and as much of it as
/// this user may.
pub fn ask_for_everything(spawner: &mut ShimSpawner) -> &mut ShimSpawner {
    const NOBODY: u32 = 65_534;
    let cpus = rustix::thread::sched_getaffinity(None).expect("own CPUs");
    spawner
        .arg0("everything")
        .session(true)
        .keep_signal_mask(true)
        .ignored_signals([Signal::HUP])
        .core_limit(0)
        .rlimit(Resource::Nofile, 256, 256)
        .oom_score_adj(1000)
        .nice(19)
        .cpu_affinity(cpus)
        .umask(0o22)
        .no_new_privs(true)
        .current_dir("/")
        .listen_fds([("http", fd_table::file()), ("admin", fd_table::file())]);
    if is_root() {
        spawner.chroot("/").groups([7]).gid(NOBODY).uid(NOBODY);
    }
    spawner
}

/// This process is an unprivileged user's from now on, as after a login. It is one already, or has
/// one thread.
pub fn become_nobody() {
    const NOBODY: u32 = 65_534;
    if !is_root() {
        return;
    }
    // SAFETY: plain numbers, and no groups.
    unsafe {
        assert_eq!(libc::setgroups(0, std::ptr::null()), 0, "setgroups");
        assert_eq!(libc::setresgid(NOBODY, NOBODY, NOBODY), 0, "setresgid");
        assert_eq!(libc::setresuid(NOBODY, NOBODY, NOBODY), 0, "setresuid");
        // An exec would do that.
        assert_eq!(libc::prctl(libc::PR_SET_DUMPABLE, 1, 0, 0, 0), 0, "prctl");
    }
}

/// Whether this process is root's. Says so where it is not.
#[must_use]
pub fn needs_root() -> bool {
    let root = is_root();
    if !root {
        eprintln!("skipped: needs root");
    }
    root
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A line of /proc/PID/status, without its name and what is around the value.
///
/// # Panics
/// If there is none.
#[must_use]
pub fn line_of(status: &str, name: &str) -> String {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let line = line.unwrap_or_else(|| panic!("no {name} in {status}"));
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A shim ends when its runtime, a copy of this process, is killed. `start` gives its number, and
/// what the runtime holds of it.
pub fn ends_with_its_runtime<T>(start: impl FnOnce() -> (Pid, T)) {
    let (mut told, tell) = io::pipe().expect("a pipe");
    let runtime = Fork::run(|| {
        let (pid, _held) = start();
        let number = pid.as_raw_nonzero().get();
        (&tell).write_all(&number.to_ne_bytes()).expect("heard");
        std::thread::sleep(time_limit());
    });
    let mut number = [0; 4];
    told.read_exact(&mut number).expect("told");
    let pid = Pid::from_raw(i32::from_ne_bytes(number)).expect("a pid");
    let shim = Process::open(pid).expect("it lives");
    drop(runtime);
    shim.wait_timeout(time_limit())
        .expect("poll")
        .expect("it ends");
}

/// Three that take memory and give it back until `done`: one of them may hold the allocator's lock
/// at any time.
pub fn threads_that_allocate(done: &Arc<AtomicBool>) -> Vec<JoinHandle<()>> {
    let allocate = |done: Arc<AtomicBool>| {
        while !done.load(Ordering::Relaxed) {
            let pieces: Vec<Vec<u8>> = (1..200).map(|size| vec![1; size * 7]).collect();
            std::hint::black_box(pieces);
        }
    };
    let of_each = std::iter::repeat_n(done, 3).map(Arc::clone);
    of_each
        .map(|done| thread::spawn(move || allocate(done)))
        .collect()
}
