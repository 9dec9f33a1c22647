//! A watcher at rest is never woken, and a zombie that a debugger holds costs nothing.

use std::process::Command;
use std::sync::mpsc::channel;
use std::time::Duration;

use pidfd_watcher::{Process, Watcher};
use workspace_tests::namespace::looked_at;
use workspace_tests::orders::Order;
use workspace_tests::{Dialogue, Held, Told, time_limit, until};

/// The number of the thread that runs this watcher's callbacks.
fn thread_of(watcher: &Watcher) -> i32 {
    let child = Held::new();
    child.exit(0);
    let (say, said) = channel();
    let callback = move |_| {
        say.send(rustix::thread::gettid().as_raw_nonzero().get())
            .expect("listens");
    };
    watcher.watch(child.process(), callback).expect("watch");
    let thread = said.recv_timeout(time_limit()).expect("runs");
    until("the thread waits", || {
        let call = std::fs::read_to_string(format!("/proc/self/task/{thread}/syscall")).ok()?;
        call.split(' ')
            .nth(1)
            .is_some_and(|_| !call.starts_with("running"))
            .then_some(())
    });
    thread
}

/// How often a thread went to sleep by itself, and how long it ran in all, in nanoseconds.
fn activity(thread: i32) -> (u64, u64) {
    let status =
        std::fs::read_to_string(format!("/proc/self/task/{thread}/status")).expect("/proc");
    let sleeps = status
        .lines()
        .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    let times =
        std::fs::read_to_string(format!("/proc/self/task/{thread}/schedstat")).expect("/proc");
    let ran = times.split(' ').next().expect("three numbers");
    let sleeps = sleeps.expect("a line").trim().parse().expect("a number");
    (sleeps, ran.parse().expect("a number"))
}

/// Lets at least this much time go by, at the end of which nothing must have happened.
fn let_pass(time: Duration) {
    let nobody = Held::new();
    assert_eq!(nobody.process().wait_timeout(time).expect("poll"), None);
}

#[test]
fn watcher_at_rest_is_never_woken() {
    let watcher = Watcher::new().expect("watcher");
    let thread = thread_of(&watcher);
    let children: Vec<Held> = (0..50).map(|_| Held::new()).collect();
    let told: Vec<Told> = children
        .iter()
        .map(|child| Told::by(&watcher, child.process()).0)
        .collect();
    let before = activity(thread);
    // What is registered, cancelled and asked meanwhile wakes nobody either.
    for child in &children {
        assert_eq!(
            watcher
                .watch(child.process(), drop)
                .expect("watch")
                .cancel(),
            pidfd_watcher::Cancelled::Prevented
        );
        drop(watcher.exited(child.process()));
    }
    let_pass(Duration::from_millis(500));
    assert_eq!(activity(thread), before);
    children[0].exit(1);
    let mut told = told.into_iter();
    assert_eq!(told.next().expect("50").code(), looked_at(1));
    // Before the children, whose ends would be told to nobody.
    drop(watcher);
    told.for_each(|told| told.was_dropped());
}

#[test]
fn traced_zombie_is_told_at_once_and_costs_no_time_while_it_is_held() {
    let watcher = Watcher::new().expect("watcher");
    let thread = thread_of(&watcher);
    let (child, charged) = (Held::new(), Held::new());
    let mut tracers = Vec::new();
    for child in [&child, &charged] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_proc_target"));
        let mut tracer = Dialogue::spawn(command.arg(Order::Trace { pid: child.pid() }.argument()));
        let said = tracer.hear();
        if said != "tracing" {
            eprintln!("skipped: no permission to trace a sibling here ({said})");
            return;
        }
        tracers.push(tracer);
    }
    let (told, _) = Told::by(&watcher, child.process());
    let (taken, callback) = Told::pair();
    watcher
        .watch_and_reap(charged.process().clone(), callback)
        .expect("own child");
    child.exit(2);
    charged.exit(3);
    assert_eq!((told.code(), taken.code()), (Some(2), Some(3)));
    // One that can not be reaped stays registered: readable for ever.
    until("the thread waits", || {
        let before = activity(thread);
        let_pass(Duration::from_millis(50));
        (activity(thread) == before).then_some(())
    });
    let before = activity(thread);
    let_pass(Duration::from_secs(2));
    assert_eq!(activity(thread), before, "times slept, and nanoseconds run");
    eprintln!(
        "pidfd-watcher: 0 ms in 2 s; tokio: {:?} in 2 s",
        tokio_figure()
    );
}

/// What tokio spends on such a zombie in two seconds, for comparison; nothing is asserted of it.
fn tokio_figure() -> Option<Duration> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .ok()?;
    runtime.block_on(async {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_proc_target"));
        command
            .arg(Order::ExitAtEof { code: 0 }.argument())
            .stdin(std::process::Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn().ok()?;
        let mut command = Command::new(env!("CARGO_BIN_EXE_proc_target"));
        let mut tracer = Dialogue::spawn(
            command.arg(
                Order::Trace {
                    pid: child.id()?.cast_signed(),
                }
                .argument(),
            ),
        );
        tracer.hear();
        let pid = pidfd_watcher::Pid::from_raw(child.id()?.cast_signed())?;
        let process = Process::open(pid).ok()?;
        drop(child.stdin.take());
        process.wait().ok()?;
        let before = activity(rustix::thread::gettid().as_raw_nonzero().get()).1;
        let _ = tokio::time::timeout(Duration::from_secs(2), child.wait()).await;
        let after = activity(rustix::thread::gettid().as_raw_nonzero().get()).1;
        Some(Duration::from_nanos(after - before))
    })
}
