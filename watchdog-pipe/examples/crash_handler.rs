//! A program whose helper knows of a crash before the core dump is written.
//!
//! ```sh
//! cargo run -p watchdog-pipe --example crash_handler
//! ```
//!
//! The program starts itself as its helper, and then writes to an address where nothing is. The
//! handler of SIGSEGV announces the death, and lets the kernel dump core.

#![allow(unsafe_code, reason = "signal handlers")]

use std::error::Error;
use std::io;
use std::process::Command;

use watchdog_pipe::{Watchdog, announce_death};

fn main() -> Result<(), Box<dyn Error>> {
    // SAFETY: no inherited descriptor was adopted before, and no other thread runs.
    if let Some(mut watchdog) = unsafe { Watchdog::from_env() }? {
        println!("helper: {:?}", watchdog.wait()?);
        return Ok(());
    }
    announce_crashes()?;
    let (_keepalive, mut setup) = watchdog_pipe::channel()?;
    // The read end alone, as standard input: that needs no other crate.
    setup.renumber(0);
    let (name, value) = setup.env();
    let (read_end, _) = setup.fds().next().ok_or("one descriptor")?;
    Command::new(std::env::current_exe()?)
        .env(name, value)
        .stdin(read_end.try_clone_to_owned()?)
        .spawn()?;
    drop(setup);
    println!("program: about to crash");
    let nowhere = std::ptr::without_provenance_mut::<u8>(8);
    // SAFETY: there is none. This is the crash.
    unsafe { nowhere.write_volatile(1) };
    Ok(())
}

/// Installs the handler for the signals that dump core.
fn announce_crashes() -> io::Result<()> {
    for signal in [
        libc::SIGSEGV,
        libc::SIGBUS,
        libc::SIGILL,
        libc::SIGFPE,
        libc::SIGABRT,
    ] {
        // SAFETY: zeros are a valid action, which is filled in; the handler is async-signal-safe.
        let installed = unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = on_crash as *const () as libc::sighandler_t;
            // On a stack of its own, as the thread's may have overflowed: std gives one to the main
            // thread and to each that it starts. The default action is back when the handler runs.
            action.sa_flags = libc::SA_ONSTACK | libc::SA_RESETHAND;
            libc::sigaction(signal, &raw const action, std::ptr::null_mut())
        };
        if installed != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Runs in the thread that crashed, in the middle of whatever it was doing: everything in here is
/// async-signal-safe.
extern "C" fn on_crash(signal: libc::c_int) {
    announce_death();
    // It waits until this handler returns, and dumps core then.
    // SAFETY: raise(3) is async-signal-safe.
    unsafe { libc::raise(signal) };
}
