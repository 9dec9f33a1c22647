//! The process that runs a scenario: a fork of the injector's.

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::time::{Duration, Instant};

use super::marker::Marker;
use super::scene::{Scenario, Scene};
use super::told::{Holdings, TOLD, Told};

/// How long threads and children that are on their way out may take.
const SETTLE: Duration = Duration::from_secs(3);

/// Runs the scenario, twice if it can be, says what came of it, and ends.
pub fn be(
    scenario: &Scenario,
    folder: &Path,
    output: &File,
    reference: Option<&Holdings>,
    listen: impl FnOnce(),
) -> ! {
    let run = || {
        // SAFETY: this copy has one thread, and its standard streams are its own.
        unsafe {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            libc::dup2(output.as_raw_fd(), 1);
            libc::dup2(output.as_raw_fd(), 2);
            // What the injector has open is not this process's.
            libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, 0);
        }
        std::env::set_current_dir(folder).expect("chdir");
        (scenario.before)();
        listen();
        let first = (scenario.run)(&Scene::new(scenario, folder, true));
        Marker::Disarm.say();
        let again = (!scenario.once).then(|| (scenario.run)(&Scene::new(scenario, folder, false)));
        let left = settled(folder, reference);
        let told = Told { first, again, left };
        let text = serde_json::to_string(&told).expect("JSON");
        fs::write(folder.join(TOLD), text).expect("write");
    };
    let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run));
    // SAFETY: ends this copy; destructors of what it shares with the injector must not run.
    unsafe { libc::_exit(if done.is_ok() { 0 } else { 101 }) }
}

/// What this process holds: when that is no more than it should be, or has not changed for a while.
fn settled(folder: &Path, reference: Option<&Holdings>) -> Holdings {
    let began = Instant::now();
    let mut seen = Holdings::take(folder);
    let mut since = Instant::now();
    loop {
        let patience = match reference {
            Some(reference) if seen.excess(reference).is_none() => return seen,
            Some(_) => SETTLE,
            None => Duration::from_millis(50),
        };
        if since.elapsed() > patience || began.elapsed() > 2 * SETTLE {
            return seen;
        }
        std::thread::sleep(Duration::from_micros(200));
        let now = Holdings::take(folder);
        if now != seen {
            (seen, since) = (now, Instant::now());
        }
    }
}
