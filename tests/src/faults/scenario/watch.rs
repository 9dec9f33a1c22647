//! Being told of an exit, and not being told any more.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use pidfd_watcher::{Builder, Exit, Watcher};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::Held;
use crate::faults::scene::{Scenario, Scene, ended, facts};
use crate::faults::told::{Outcome, Refusal};

pub const ALL: &[Scenario] = &[
    Scenario::new("watch-callback", callback),
    Scenario::new("watch-reap", reap),
    Scenario::new("watch-future", future),
    Scenario::new("watch-timer", timer),
    Scenario::new("watch-driver", driver),
    Scenario::new("watch-cancel", cancel),
    Scenario::new("watch-shutdown", shutdown),
];

/// How long a watcher may take to tell.
const DEADLINE: Duration = Duration::from_secs(20);

fn callback(scene: &Scene<'_>) -> Outcome {
    let held = Held::new();
    let (tell, told) = channel();
    let done = scene.under_faults(|| {
        let watcher = Watcher::new()?;
        let handle = watcher.watch(held.process(), move |exit| {
            let _ = tell.send(exit);
        })?;
        scene.calmly(|| held.exit(7));
        let exit = hear(&told);
        drop((handle, watcher));
        Ok::<_, pidfd_watcher::Error>(exit)
    });
    exit_of(done)
}

fn reap(scene: &Scene<'_>) -> Outcome {
    let held = Held::new();
    let (tell, told) = channel();
    let done = scene.under_faults(|| {
        let watcher = Watcher::new()?;
        let handle = watcher.watch_and_reap(held.process().clone(), move |exit| {
            let _ = tell.send(exit);
        })?;
        scene.calmly(|| held.exit(7));
        let exit = hear(&told);
        drop((handle, watcher));
        Ok::<_, Refusal>(exit)
    });
    exit_of(done)
}

/// The callback runs, or goes without a run: then there is nobody who could tell.
fn hear(told: &Receiver<Exit>) -> Option<Exit> {
    match told.recv_timeout(DEADLINE) {
        Ok(exit) => Some(exit),
        Err(error) => {
            assert_eq!(
                error,
                std::sync::mpsc::RecvTimeoutError::Disconnected,
                "nobody tells of the exit"
            );
            None
        }
    }
}

fn exit_of<E>(done: Result<Option<Exit>, E>) -> Outcome
where
    Refusal: From<E>,
{
    let told = match done.map_err(Refusal::from)? {
        Some(exit) => ended(exit.status),
        None => "dropped".to_owned(),
    };
    Ok(facts([("told", told)]))
}

fn future(scene: &Scene<'_>) -> Outcome {
    let held = Held::new();
    let done = scene.under_faults(|| {
        let watcher = Watcher::new()?;
        let exited = watcher.exited(held.process());
        scene.calmly(|| held.exit(7));
        let exit = block_on(exited)?;
        drop(watcher);
        Ok::<_, pidfd_watcher::Error>(Some(exit))
    });
    exit_of(done)
}

fn timer(scene: &Scene<'_>) -> Outcome {
    let held = Held::new();
    let done = scene.under_faults(|| {
        let watcher = Watcher::new()?;
        let exit = block_on(watcher.exited_within(held.process(), Duration::from_millis(1)))?;
        assert_eq!(exit, None, "it has not exited");
        scene.calmly(|| held.exit(7));
        let exit = block_on(watcher.exited_within(held.process(), DEADLINE))?;
        drop(watcher);
        Ok::<_, pidfd_watcher::Error>(exit)
    });
    exit_of(done)
}

fn driver(scene: &Scene<'_>) -> Outcome {
    let held = Held::new();
    let (tell, told) = channel();
    let done = scene.under_faults(|| {
        let (watcher, mut driver) = Builder::new().build_driven()?;
        let handle = watcher.watch(held.process(), move |exit| {
            let _ = tell.send(exit);
        })?;
        scene.calmly(|| held.exit(7));
        let began = Instant::now();
        let exit = loop {
            let tick = Timespec {
                tv_sec: 0,
                tv_nsec: 1_000_000,
            };
            // What the loop's own call says is its own affair.
            let _ = poll(&mut [PollFd::new(&driver, PollFlags::IN)], Some(&tick));
            driver.dispatch()?;
            if let Ok(exit) = told.try_recv() {
                break exit;
            }
            assert!(began.elapsed() < DEADLINE, "nobody tells of the exit");
        };
        drop((handle, watcher, driver));
        Ok::<_, pidfd_watcher::Error>(Some(exit))
    });
    exit_of(done)
}

fn cancel(scene: &Scene<'_>) -> Outcome {
    let held = Held::new();
    let watcher = Watcher::new().expect("a watcher");
    let (tell, told) = channel::<Exit>();
    let callback = move |exit| {
        let _ = tell.send(exit);
    };
    let watched = scene.under_faults(|| {
        let handle = watcher.watch(held.process(), callback)?;
        Ok::<_, pidfd_watcher::Error>(handle.cancel())
    });
    let cancelled = watched.map_err(Refusal::from)?;
    held.exit(7);
    // Another one of the same process: the watcher is as good as before.
    let (tell, again) = channel();
    let handle = watcher.watch(held.process(), move |exit| {
        let _ = tell.send(exit);
    });
    let handle = handle.expect("a watch without a fault");
    assert!(hear(&again).is_some(), "the watcher has ended");
    drop(handle);
    Ok(facts([
        ("cancelled", format!("{cancelled:?}")),
        ("told", told.try_recv().is_ok().to_string()),
    ]))
}

fn shutdown(scene: &Scene<'_>) -> Outcome {
    let held = Held::new();
    let watcher = Watcher::new().expect("a watcher");
    let (tell, told) = channel::<Exit>();
    let handle = watcher.watch(held.process(), move |exit| {
        let _ = tell.send(exit);
    });
    let handle = handle.expect("a watch without a fault");
    let done = scene.under_faults(|| watcher.shutdown());
    drop(handle);
    let error = done.err().map(|failed| Refusal::from(failed.error));
    assert_eq!(
        told.recv_timeout(DEADLINE)
            .map_err(|error| error.to_string()),
        Err("channel is empty and sending half is closed".to_owned()),
        "a shutdown drops all callbacks"
    );
    error.map_or_else(|| Ok(facts([])), Err)
}

/// Wakes the thread that waits.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// An executor of one future.
pub fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let began = Instant::now();
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        assert!(began.elapsed() < DEADLINE, "the future is not woken");
        thread::park_timeout(DEADLINE);
    }
}
