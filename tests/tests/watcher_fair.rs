//! Nobody's callbacks keep another process's callbacks from running.

use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, mpsc};

use pidfd_watcher::{Process, Signal, Watcher};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use workspace_tests::alone::goes_on;
use workspace_tests::namespace::looked_at;
use workspace_tests::{Held, Told, alone, time_limit};

#[test]
fn processes_that_are_watched_again_and_again_starve_nobody() {
    let watcher = Watcher::new().expect("watcher");
    let (dead, child) = (Held::new(), Held::new());
    dead.kill();
    dead.process().wait().expect("own child");
    let stop = Arc::new(AtomicBool::new(false));
    let (told, _) = Told::by(&watcher, child.process());
    for _ in 0..10 {
        churn(&watcher, dead.process(), &stop);
    }
    child.exit(1);
    let code = told.code();
    stop.store(true, Ordering::Relaxed);
    assert_eq!(code, looked_at(1));
}

const CHILDREN: u64 = 10_000;

/// So many of them have the deadline to be forked in, and later to be told of. All of them together
/// take long on a busy machine.
const STEP: u64 = 100;

/// Kills and reaps what is left of the children, however this ends.
struct All(Vec<Process>);

impl Drop for All {
    fn drop(&mut self) {
        for process in &self.0 {
            let _ = process.send_signal(Signal::KILL);
        }
        for process in self.0.drain(..) {
            let _ = process.wait();
            let _ = process.reap();
        }
    }
}

/// As many children as are wanted, or as this user may have descriptors for.
fn room() -> u64 {
    let need = CHILDREN + 100;
    let old = getrlimit(Resource::Nofile);
    if old.current.is_none_or(|limit| limit >= need) {
        return CHILDREN;
    }
    let maximum = old.maximum.map(|limit| limit.max(need));
    let raised = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: Some(need),
            maximum,
        },
    );
    if raised.is_ok() {
        return CHILDREN;
    }
    let count = old.maximum.unwrap_or(need).saturating_sub(100);
    let limit = Rlimit {
        current: old.maximum,
        ..old
    };
    setrlimit(Resource::Nofile, limit).expect("a soft limit may be raised");
    eprintln!("skipped in part: {count} children, the limit on descriptors is lower than {need}");
    count.min(CHILDREN)
}

#[test]
fn ten_thousand_children_that_end_at_once_are_told_once_each_while_ten_others_churn() {
    alone!({
        let count = room();
        let watcher = Watcher::new().expect("watcher");
        let (gate, held) =
            rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).expect("pipe2");
        let gate = gate.as_raw_fd();
        let mut children = All(Vec::new());
        for n in 0..count {
            let code = i32::try_from(n % 251).expect("small");
            // SAFETY: the child makes raw system calls alone. It lets go of everything but the
            // gate, so that the gate opens when this process alone closes it.
            let process = unsafe {
                Process::fork(|| {
                    libc::dup2(gate, 0);
                    libc::syscall(libc::SYS_close_range, 1, libc::c_uint::MAX, 0);
                    let mut byte = 0_u8;
                    libc::read(0, (&raw mut byte).cast(), 1);
                    code
                })
            };
            children
                .0
                .push(process.unwrap_or_else(|error| panic!("child {n}: {error}")));
            if n % STEP == 0 {
                goes_on();
            }
        }
        let stop = Arc::new(AtomicBool::new(false));
        let churners: Vec<Held> = (0..10).map(|_| Held::new()).collect();
        for churner in &churners {
            churner.kill();
            churner.process().wait().expect("own child");
            churn(&watcher, churner.process(), &stop);
        }
        let times: Arc<Vec<AtomicU32>> = Arc::new((0..count).map(|_| AtomicU32::new(0)).collect());
        let (tell, told) = mpsc::channel();
        for (n, process) in children.0.iter().enumerate() {
            let (times, tell) = (Arc::clone(&times), tell.clone());
            let callback = move |exit: pidfd_watcher::Exit| {
                times[n].fetch_add(1, Ordering::Relaxed);
                let _ = tell.send((n, exit, std::thread::current().id()));
            };
            watcher.watch(process, callback).expect("watch");
        }
        drop(tell);
        drop(held);
        let mut threads = std::collections::HashSet::new();
        for heard in 0..count {
            if heard % STEP == 0 {
                goes_on();
            }
            let (n, exit, thread) = told.recv_timeout(time_limit()).expect("all are told");
            threads.insert(thread);
            assert_eq!(exit.pid, children.0[n].pid());
            let code = exit.status.and_then(|status| status.code());
            assert_eq!(
                code,
                looked_at(i32::try_from(n % 251).expect("a code")),
                "child {n}"
            );
        }
        stop.store(true, Ordering::Relaxed);
        assert!(
            told.recv_timeout(time_limit()).is_err(),
            "every callback is gone"
        );
        assert!(
            times.iter().all(|times| times.load(Ordering::Relaxed) == 1),
            "told once each"
        );
        assert_eq!(threads.len(), 1, "by one thread");
    });
}

/// A callback that watches its own dead process again, until it is told to stop.
fn churn(watcher: &Watcher, process: &Process, stop: &Arc<AtomicBool>) {
    let (again, own, stopped) = (watcher.clone(), process.clone(), Arc::clone(stop));
    let callback = move |_| {
        if !stopped.load(Ordering::Relaxed) {
            churn(&again, &own, &stopped);
        }
    };
    watcher.watch(process, callback).expect("watch");
}
