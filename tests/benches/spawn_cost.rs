//! What a spawn costs, and how that depends on the memory of the process that spawns: `/bin/true`, turn by
//! turn in one run, whatever the machine does meanwhile it does to all of them.
//!
//! - `posix_spawn`: std's `Command` with nothing added, which is what std uses then. The bar: a median of at
//!   most 1.05 times this at every size, for a shim with everything.
//! - `shim, attached`: three descriptors mapped, a group of its own, the watchdog's pipe, a pidfd.
//! - `shim, detached`: three descriptors mapped, a session of its own, a pidfd.
//! - `shim, all options`: the attached one with a session, limits, priority, processors, umask, root directory, groups
//!   and user, signals, socket activation and a cgroup. The bar: until the child was waited for, a median of at most
//!   1.10 times `posix_spawn`. Until the call is back it cannot be: docs/bench/limits.md.
//! - `shim, fork`: the attached one by `Engine::Fork`.
//! - `std with a closure`: `Command` with a `pre_exec` closure that makes a session, and no descriptor.
//! - `command-fds`: three descriptors mapped by that crate, as its documentation has it.
//! - `process-wrap`: a group of its own by that crate, as its documentation has it, and no descriptor.
//!
//! Everything that a spawn prepares is counted in. `call`: until the call comes back; `and wait`: until the
//! child was waited for too. Arguments: `--quick`, or a part of the name of the sizes to be run.
//!
//! The environment is a service's, a dozen variables, however many this was started with (cargo alone adds some
//! forty). It matters: std hands its own to `posix_spawn` as it lies there, under a lock that nobody else can take, and
//! everybody else has to copy it, at a quarter of a microsecond a variable. The last size shows what a hundred cost.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::ptr;
use std::time::Instant;

use command_fds::{CommandFdExt, FdMapping};
use process_wrap::std::{ChildWrapper, CommandWrap, ProcessGroup};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous, munmap};
use shim_spawner::{Cgroup, Engine, ShimSpawner, SpawnedShim};
use workspace_tests::progress::Progress;
use workspace_tests::samples::{self, Samples, order};
use workspace_tests::spawn_case::ask_for_everything;

const PROGRAM: &str = "/bin/true";
/// The numbers on which the child gets three files.
const NUMBERS: [i32; 3] = [10, 11, 12];
const MIB: usize = 1 << 20;

/// What this process holds while it spawns.
struct Parent {
    name: &'static str,
    bytes: usize,
    huge: bool,
    variables: usize,
}

const fn parent(name: &'static str, bytes: usize) -> Parent {
    Parent {
        name,
        bytes,
        huge: false,
        variables: VARIABLES.len(),
    }
}

const PARENTS: [Parent; 5] = [
    parent("10 MiB", 10 * MIB),
    parent("1 GiB", 1024 * MIB),
    parent("4 GiB", 4096 * MIB),
    Parent {
        huge: true,
        ..parent("4 GiB in huge pages", 4096 * MIB)
    },
    Parent {
        variables: 100,
        ..parent("10 MiB and 100 variables", 10 * MIB)
    },
];

impl Parent {
    /// What is varied, and how much of it there is here.
    fn axis(&self) -> (&'static str, f64) {
        let gibibytes = self.bytes as f64 / (1024 * MIB) as f64;
        if self.variables != VARIABLES.len() {
            ("variables", self.variables as f64)
        } else if self.huge {
            ("GiB in huge pages", gibibytes)
        } else {
            ("GiB", gibibytes)
        }
    }
}

/// The environment that a service manager gives.
const VARIABLES: [(&str, &str); 12] = [
    ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin"),
    ("HOME", "/var/lib/runtime"),
    ("USER", "runtime"),
    ("LOGNAME", "runtime"),
    ("SHELL", "/bin/sh"),
    ("LANG", "C.UTF-8"),
    ("TZ", "UTC"),
    ("RUNTIME_DIRECTORY", "/run/runtime"),
    ("STATE_DIRECTORY", "/var/lib/runtime"),
    ("JOURNAL_STREAM", "8:12345"),
    ("INVOCATION_ID", "0123456789abcdef0123456789abcdef"),
    ("SYSTEMD_EXEC_PID", "1234"),
];

/// Leaves [`VARIABLES`] and as many more as make `count`.
fn set_environment(count: usize) {
    let more = (VARIABLES.len()..count).map(|n| (format!("VARIABLE_{n}"), "a value of no account"));
    // SAFETY: the one other thread that there can be by now is the sentinel of an earlier size, which is parked in the
    // kernel for good; nobody else reads the environment meanwhile.
    unsafe {
        for (name, _) in std::env::vars_os() {
            std::env::remove_var(name);
        }
        for (name, value) in VARIABLES {
            std::env::set_var(name, value);
        }
        for (name, value) in more {
            std::env::set_var(name, value);
        }
    }
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let quick = args.iter().any(|arg| arg == "--quick");
    let wanted: Vec<&String> = args.iter().filter(|arg| !arg.starts_with("--")).collect();
    let rounds = if quick { 100 } else { 600 };
    let mut all = Vec::new();
    let folder = samples::folder();
    for parent in &PARENTS {
        let is_wanted = |part: &&String| parent.name.contains(part.as_str());
        if wanted.is_empty() || wanted.iter().any(is_wanted) {
            set_environment(parent.variables);
            let held = Memory::touched(parent.bytes, parent.huge);
            all.extend(measure(parent, rounds));
            drop(held);
        }
    }
    Samples::save_in(&folder, &all, "spawn_cost").expect("keep the samples");
}

/// A child that was spawned, by whomever.
enum Spawned {
    Std(Child),
    Wrapped(Box<dyn ChildWrapper>),
    Shim(SpawnedShim),
}

impl Spawned {
    fn wait(&mut self) {
        let status = match self {
            Spawned::Std(child) => child.wait().expect("wait"),
            Spawned::Wrapped(child) => child.wait().expect("wait"),
            Spawned::Shim(shim) => shim
                .child
                .process()
                .wait()
                .expect("wait")
                .status
                .expect("own child"),
        };
        assert!(status.success(), "{status}");
    }
}

struct Contestant {
    name: &'static str,
    spawn: Box<dyn FnMut() -> Spawned>,
    /// Its cost grows with the memory: it gets fewer turns.
    forks: bool,
}

impl Contestant {
    fn new(name: &'static str, forks: bool, spawn: impl FnMut() -> Spawned + 'static) -> Self {
        Contestant {
            name,
            spawn: Box::new(spawn),
            forks,
        }
    }
}

const BASE: &str = "posix_spawn";
const OURS: &str = "shim, attached";
const EVERYTHING: &str = "shim, all options";
const CLOSURE: &str = "std with a closure";

fn contestants() -> Vec<Contestant> {
    let by_std = |mut command: Command| move || Spawned::Std(command.spawn().expect("spawn"));
    let by_us = |mut spawner: ShimSpawner| move || Spawned::Shim(spawner.spawn().expect("spawn"));
    let shim = |detached, engine| {
        let mut spawner = ShimSpawner::new(PROGRAM);
        for number in NUMBERS {
            spawner.map_fd(file(), number);
        }
        spawner.detached(detached).engine(engine);
        by_us(spawner)
    };
    let mut closure = Command::new(PROGRAM);
    // SAFETY: one system call.
    unsafe { closure.pre_exec(|| Ok(rustix::process::setsid().map(drop)?)) };
    let mut mapped = Command::new(PROGRAM);
    let mapping = |child_fd| FdMapping {
        parent_fd: file(),
        child_fd,
    };
    mapped
        .fd_mappings(NUMBERS.map(mapping).into())
        .expect("a plan");
    let mut wrapped = CommandWrap::with_new(PROGRAM, |_| {});
    wrapped.wrap(ProcessGroup::leader());
    vec![
        Contestant::new(BASE, false, by_std(Command::new(PROGRAM))),
        Contestant::new(OURS, false, shim(false, Engine::Vfork)),
        Contestant::new("shim, detached", false, shim(true, Engine::Vfork)),
        Contestant::new(EVERYTHING, false, everything()),
        Contestant::new("shim, fork", true, shim(false, Engine::Fork)),
        Contestant::new(CLOSURE, true, by_std(closure)),
        Contestant::new("command-fds", true, by_std(mapped)),
        Contestant::new("process-wrap", false, move || {
            Spawned::Wrapped(wrapped.spawn().expect("spawn"))
        }),
    ]
}

fn everything() -> impl FnMut() -> Spawned {
    let mut spawner = ShimSpawner::new(PROGRAM);
    for number in NUMBERS {
        spawner.map_fd(file(), number);
    }
    ask_for_everything(&mut spawner);
    let cgroup = Cgroup::make(format!("spawn-cost-{}", std::process::id()));
    match &cgroup {
        Ok(cgroup) => {
            let fd = cgroup.as_fd().try_clone_to_owned().expect("dup");
            spawner.cgroup(fd);
        }
        Err(error) => println!("no cgroup: {error}"),
    }
    move || {
        // Removed with this.
        let _kept = &cgroup;
        Spawned::Shim(spawner.spawn().expect("spawn"))
    }
}

fn file() -> OwnedFd {
    memfd_create("spawn-cost", MemfdFlags::CLOEXEC).expect("memfd_create")
}

/// `rounds` turns of everybody, a tenth of them for whoever forks; until the call is back, and the child's end.
fn measure(parent: &Parent, rounds: usize) -> [Samples; 2] {
    let mut contestants = contestants();
    let name = parent.name;
    let (axis, at) = parent.axis();
    let titled = |until: &str| {
        Samples::new(format!("spawn, parent with {name}, until {until}"), "us")
            .at(axis, at)
            .compare(OURS, BASE)
    };
    let [mut call, mut whole] = [
        titled("the call is back"),
        titled("the child was waited for"),
    ];
    // The first turns fill caches, keep a stack, and are not counted.
    let warm_up = 5;
    let mut progress = Progress::new(format!("spawn, parent with {name}"), rounds + warm_up);
    for round in 0..rounds + warm_up {
        for turn in order(round, contestants.len()) {
            let contestant = &mut contestants[turn];
            if contestant.forks && round % 10 != 0 {
                continue;
            }
            let start = Instant::now();
            let mut spawned = (contestant.spawn)();
            let called = start.elapsed();
            spawned.wait();
            let waited = start.elapsed();
            drop(spawned);
            if round >= warm_up {
                call.push(contestant.name, called.as_secs_f64() * 1e6);
                whole.push(contestant.name, waited.as_secs_f64() * 1e6);
            }
        }
        progress.step();
    }
    drop(progress);
    call.print();
    whole.print();
    if let (Some(everything), Some(base)) = (call.median(EVERYTHING), call.median(BASE)) {
        println!(
            "{EVERYTHING} takes {:.3} times as long as {BASE}",
            everything / base
        );
    }
    if let (Some(closure), Some(ours)) = (call.median(CLOSURE), call.median(OURS)) {
        println!(
            "{CLOSURE} takes {:.0} times as long as {OURS}",
            closure / ours
        );
    }
    [call, whole]
}

/// Memory that this process holds, every page of it touched.
struct Memory {
    start: *mut std::ffi::c_void,
    bytes: usize,
}

impl Memory {
    fn touched(bytes: usize, huge: bool) -> Memory {
        let access = ProtFlags::READ | ProtFlags::WRITE;
        let advice = if huge {
            Advice::LinuxHugepage
        } else {
            Advice::LinuxNoHugepage
        };
        // SAFETY: a new private mapping where the kernel likes it, advised, and written within its bounds.
        unsafe {
            let start = mmap_anonymous(ptr::null_mut(), bytes, access, MapFlags::PRIVATE)
                .map_err(io::Error::from)
                .expect("memory");
            if let Err(errno) = madvise(start, bytes, advice) {
                println!("no choice of page size here: {errno}");
            }
            for offset in (0..bytes).step_by(4096) {
                start.cast::<u8>().add(offset).write_volatile(1);
            }
            Memory { start, bytes }
        }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: the mapping made above; nothing else refers to it.
        unsafe { munmap(self.start, self.bytes) }.expect("munmap");
    }
}
