//! Kills a churning runtime at random instants, and waits each time until nothing of it is left.
//!
//! `shim_killer RUNTIME BOX ROUNDS`. A subreaper: every orphan comes here, so that "nothing is left" is
//! what the kernel says (`ECHILD`), not what was looked for. A round that does not end is ended by SIGALRM.

use std::process::{Command, Stdio};
use std::time::Duration;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let rounds: u64 = args[2].parse().expect("a number of rounds");
    // SAFETY: no pointer is passed; it concerns this process alone.
    assert_eq!(unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1) }, 0);
    let mut random = workspace_tests::random();
    for _ in 0..rounds {
        // SAFETY: no pointer is passed; the default action of SIGALRM ends a round that hangs.
        unsafe { libc::alarm(60) };
        let mut runtime = Command::new(&args[0])
            .args([&args[1], "churn"])
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
