//! Runs a program on a terminal of its own, between this program's standard input and output:
//!
//! ```console
//! $ cargo run -p shim-spawner --example pty -- bash
//! ```
//!
//! A shell under it has job control. It ends as the program ends.

use std::error::Error;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::process::ExitCode;
use std::thread;

use rustix::fs::{Mode, OFlags, open};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize};
use shim_spawner::{ShimHandler, ShimSpawner};

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let mut args = std::env::args_os().skip(1);
    let program = args.next().unwrap_or_else(|| "bash".into());
    let (mut ours, theirs) = terminal()?;
    if let Ok(size) = tcgetwinsize(io::stdin()) {
        tcsetwinsize(&theirs, size)?;
    }
    // The spawner goes with the statement, and its copies of the terminal with it: what we read
    // ends when the program and all that it has started have closed theirs.
    let shim = ShimSpawner::new(program)
        .args(args)
        .stdin(theirs.try_clone()?)
        .stdout(theirs.try_clone()?)
        .stderr(theirs.try_clone()?)
        .controlling_terminal(theirs)
        .spawn()?;
    let mut shim = ShimHandler::new(shim);
    let raw = RawMode::of_stdin();
    let mut keyboard = ours.try_clone()?;
    thread::spawn(move || copy(&mut io::stdin(), &mut keyboard));
    copy(&mut ours, &mut io::stdout());
    drop(raw);
    let exit = shim.wait()?;
    let code = exit.status.and_then(|status| status.code());
    let code = code.and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}

/// Both ends of a new terminal: what a person would have, and what programs have.
fn terminal() -> io::Result<(File, OwnedFd)> {
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    grantpt(&ours)?;
    unlockpt(&ours)?;
    let name = ptsname(&ours, Vec::new())?;
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let theirs = open(name, flags, Mode::empty())?;
    Ok((ours.into(), theirs))
}

/// Until the end, or an error: a terminal that nobody has open any more answers `EIO`.
fn copy(from: &mut impl Read, to: &mut impl Write) {
    let mut bytes = [0; 4096];
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        let written = bytes.get(..count).unwrap_or_default();
        if to.write_all(written).and_then(|()| to.flush()).is_err() {
            return;
        }
    }
}

/// Every key goes to the terminal below, as long as this is there.
struct RawMode(Termios);

impl RawMode {
    /// `None` where standard input is no terminal.
    fn of_stdin() -> Option<RawMode> {
        let before = tcgetattr(io::stdin()).ok()?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(io::stdin(), OptionalActions::Now, &raw).ok()?;
        Some(RawMode(before))
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.0);
    }
}
