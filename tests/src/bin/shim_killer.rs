//! Kills a churning runtime at random instants, and waits each time until nothing of it is left.
//!
//! A subreaper: every orphan comes here, so that "nothing is left" is
//! what the kernel says (`ECHILD`), not what was looked for. A round that does not end is ended by
//! SIGALRM.

use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use workspace_tests::orders::Order;

fn main() -> ExitCode {
    Order::obey(|order| match order {
        Order::KillChurning {
            runtime,
            program,
            rounds,
        } => {
            kill(&Order::Churn { program }.argument(), &runtime, rounds);
            ExitCode::SUCCESS
        }
        other => panic!("not for this program: {other:?}"),
    })
}

fn kill(order: &str, runtime: &Path, rounds: u32) {
    // SAFETY: no pointer is passed; it concerns this process alone.
    assert_eq!(unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1) }, 0);
    let mut random = workspace_tests::random();
    for _ in 0..rounds {
        // SAFETY: no pointer is passed; the default action of SIGALRM ends a round that hangs.
        unsafe { libc::alarm(60) };
        let mut runtime = Command::new(runtime)
            .arg(order)
            .stdin(Stdio::null())
            .spawn()
            .expect("spawn the runtime");
        // Not a proof of anything: the instant is what is random.
        std::thread::sleep(Duration::from_micros(random.u64(..8_000)));
        runtime.kill().expect("own child, not reaped");
        assert!(!runtime.wait().expect("own child").success());
        while reap_one() {}
    }
}

/// Reaps an orphan, waiting for it; false when there is none left, running or dead.
fn reap_one() -> bool {
    // SAFETY: the status is not asked for. Every process below this one is ours to reap.
    unsafe { libc::waitpid(-1, std::ptr::null_mut(), 0) > 0 }
}
