//! `no_supervisor` asks for its own program as the supervisor of a spawn, and does not call
//! `run_if_asked`. It says on standard error why that failed. Executed as the supervisor, it waits
//! for ever then.

use std::error::Error;
use std::time::Duration;

use shim_spawner::{ShimSpawner, Supervisor};

fn main() {
    let supervisor = Supervisor::this_program().start_timeout(Duration::from_millis(50));
    let error = ShimSpawner::new("true").supervised(supervisor).spawn();
    let error = error.expect_err("nobody is the supervisor");
    let cause = error.source().map(ToString::to_string);
    eprintln!("{error}: {}", cause.unwrap_or_default());
    let name = std::env::args().next().unwrap_or_default();
    if name == watchdog_shim::NAME {
        loop {
            std::thread::park();
        }
    }
}
