//! COMMAND: prepared, forked and held back, then executed.

use std::env;
use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use pidfd_watcher::Process;
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};

use crate::child::Image;
use crate::failure::Failure;
use crate::options::{Options, Session};
use crate::sys::{self, BornSignals, Forked, SoleThread};

/// A forked child that waits to become COMMAND. Dropped before [`Held::start`], it ends by itself.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) process: Process,
    /// A byte says go; its end says that there is nothing to be started.
    gate: OwnedFd,
    /// An errno, or the end of the file at the exec.
    report: OwnedFd,
}

/// Forks the child. It was forked before its parent changed anything that COMMAND would inherit.
pub(crate) fn fork(
    alone: &SoleThread,
    options: &Options,
    session: Session,
    born: &BornSignals,
) -> Result<Held, Failure> {
    let image = Image::of(&options.command, variables())
        .map_err(|error| Failure::exec(program(options), &error))?;
    let failed = |error: io::Error| Failure::io("COMMAND cannot be started", &error);
    let (gate_theirs, gate) = pipe().map_err(failed)?;
    let (report, report_theirs) = pipe().map_err(failed)?;
    match sys::fork(alone).map_err(failed)? {
        Forked::Child => {
            drop((gate, report));
            let mut go = [0];
            // The end of the file: the shim is gone, or has found its runtime dead.
            if !matches!(rustix::io::read(&gate_theirs, &mut go), Ok(1)) {
                sys::exit_now(0);
            }
            let errno = image.become_it(session, born);
            let _ = rustix::io::write(&report_theirs, &errno.to_ne_bytes());
            sys::exit_now(crate::failure::NOT_FOUND)
        }
        Forked::Parent(pid) => {
            // A child of ours that nobody else reaps: its number is its own.
            let process = Process::open(pid).map_err(|error| failed(error.into()))?;
            Ok(Held {
                process,
                gate,
                report,
            })
        }
    }
}

impl Held {
    /// Lets it execute COMMAND, and waits for that.
    pub(crate) fn start(self, options: &Options) -> Result<Process, Failure> {
        let failed = |error: io::Error| Failure::io("COMMAND cannot be started", &error);
        rustix::io::write(&self.gate, &[1]).map_err(|error| failed(error.into()))?;
        let mut errno = [0; 4];
        let count = loop {
            match rustix::io::read(self.report.as_fd(), &mut errno) {
                Err(Errno::INTR) => {}
                read => break read.map_err(|error| failed(error.into()))?,
            }
        };
        if count == errno.len() {
            let error = io::Error::from_raw_os_error(i32::from_ne_bytes(errno));
            return Err(Failure::exec(program(options), &error));
        }
        Ok(self.process)
    }
}

fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
    Ok((
        sys::above_standard_streams(read)?,
        sys::above_standard_streams(write)?,
    ))
}

fn program(options: &Options) -> &OsStr {
    options
        .command
        .first()
        .map_or(OsStr::new(""), OsString::as_os_str)
}

/// COMMAND's environment: this process's own, less the watchdog's variable.
fn variables() -> impl Iterator<Item = OsString> {
    env::vars_os()
        .filter(|(name, _)| name != watchdog_pipe::ENV_VAR)
        .map(|(mut name, value)| {
            name.push("=");
            name.push(value);
            name
        })
}

impl Image {
    fn of(command: &[OsString], variables: impl Iterator<Item = OsString>) -> io::Result<Image> {
        let c_strings = |texts: &mut dyn Iterator<Item = OsString>| {
            texts
                .map(|text| CString::new(text.into_vec()))
                .collect::<Result<Vec<CString>, _>>()
        };
        let program = command.first().ok_or(io::ErrorKind::InvalidInput)?;
        Ok(Image::new(
            c_strings(&mut candidates(program).into_iter())?,
            c_strings(&mut command.iter().cloned())?,
            c_strings(&mut { variables })?,
        ))
    }
}

/// The paths to try, in this order: execvp(3).
fn candidates(program: &OsStr) -> Vec<OsString> {
    if program.is_empty() || program.as_bytes().contains(&b'/') {
        return vec![program.to_owned()];
    }
    let path = env::var_os("PATH").unwrap_or_else(|| "/bin:/usr/bin".into());
    env::split_paths(&path)
        .map(|folder| folder.join(program).into_os_string())
        .collect()
}
