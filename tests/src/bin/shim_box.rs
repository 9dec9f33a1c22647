//! A box: adopts its watchdog if it has one, says so, and lives until it is told otherwise.
//!
//! Nothing else could end it: it reads no stream, and SIGHUP and SIGPIPE find it in a group of its
//! own.

use std::io::Write;

use watchdog_pipe::Watchdog;

fn main() {
    // SAFETY: first in main; no inherited descriptor was adopted before.
    let watchdog = unsafe { Watchdog::from_env() }.expect("a sound variable, or none");
    let kind = if watchdog.is_some() {
        "attached"
    } else {
        "detached"
    };
    let _monitor = watchdog.map(|watchdog| watchdog.enforce_inherited().expect("a thread"));
    // The runtime may be gone already: then nobody listens, and that is no reason to panic.
    let _ = writeln!(std::io::stdout(), "{kind}");
    loop {
        std::thread::park();
    }
}
