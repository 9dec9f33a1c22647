//! COMMAND: what is prepared before it starts, and what is reported if it does not start.

use std::env;
use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use pidfd_watcher::Process;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::child::{Image, NotStarted, Step, Strings};
use crate::failure::Failure;
use crate::ledger::Ledger;
use crate::options::{Options, Session};
use crate::plan::Containment;
use crate::proc::Proc;
use crate::sys::{self, InheritedSignals, SoleThread};

impl Image {
    /// Everything that the child needs.
    pub(crate) fn of(
        options: &Options,
        session: Session,
        signals: InheritedSignals,
        containment: &Containment,
    ) -> Result<Image, Failure> {
        let program = program(options);
        let failed = |error: io::Error| Failure::exec(program, &error);
        let cgroup = match containment {
            Containment::Cgroup(cgroup) => {
                let procs = cgroup.procs().and_then(sys::above_standard_streams);
                Some(procs.map_err(|error| Failure::io("--contain=cgroup", &error))?)
            }
            _ => None,
        };
        Ok(Image {
            candidates: c_strings(candidates(program)).map_err(failed)?,
            arguments: Strings::new(c_strings(options.command.iter().cloned()).map_err(failed)?),
            variables: Strings::new(c_strings(variables()).map_err(failed)?),
            session,
            signals,
            cgroup,
        })
    }

    /// Starts COMMAND. Returns once COMMAND's program is executed.
    pub(crate) fn start(
        &self,
        alone: &SoleThread,
        ledger: Ledger,
        options: &Options,
        proc: Option<&Proc>,
    ) -> Result<Process, Failure> {
        let process = self.spawn(alone, ledger).map_err(|error| match error {
            NotStarted::Child(Step::Exec, error) => Failure::exec(program(options), &error),
            NotStarted::Child(Step::Cgroup, error) => Failure::io("--contain=cgroup", &error),
            NotStarted::Child(Step::Session, error) => Failure::io("setsid(2)", &error),
            NotStarted::Clone(error) => Failure::io("COMMAND cannot be started", &error),
        })?;
        if let Some(signal) = killed_on_the_way(&process, proc) {
            ledger.set_command(0);
            let _ = sys::reap(process.pid());
            return Err(Failure::killed(program(options), signal));
        }
        Ok(process)
    }
}

/// The signal that killed the child before it executed its program, if one did. clone(2) does not
/// tell: it returns in the same way as after an exec. Without /proc the answer is always `None`.
fn killed_on_the_way(child: &Process, proc: Option<&Proc>) -> Option<i32> {
    let proc = proc?;
    for _ in 0..LOOKS {
        if !proc.is_without_exec(child.pid()) {
            return None;
        }
        // The child is still executing the program, or is ending. Neither takes long.
        if let Ok(Some(status)) = sys::end_of_child(child.as_fd()) {
            return status.terminating_signal();
        }
        let _ = poll(&mut [PollFd::new(child, PollFlags::IN)], Some(&LOOK));
    }
    None
}

/// How often to look, and how long to wait after each look. The limit matters if a tracer stops the
/// child before its exec.
const LOOKS: u32 = 1000;
const LOOK: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 1_000_000,
};

fn program(options: &Options) -> &OsStr {
    options
        .command
        .first()
        .map_or(OsStr::new(""), OsString::as_os_str)
}

fn c_strings(texts: impl IntoIterator<Item = OsString>) -> io::Result<Vec<CString>> {
    let texts = texts.into_iter().map(|text| CString::new(text.into_vec()));
    Ok(texts.collect::<Result<Vec<CString>, _>>()?)
}

/// COMMAND's environment: this process's own, without the watchdog's variable.
fn variables() -> impl Iterator<Item = OsString> {
    env::vars_os()
        .filter(|(name, _)| name != watchdog_pipe::ENV_VAR)
        .map(|(mut name, value)| {
            name.push("=");
            name.push(value);
            name
        })
}

/// The paths to try, in the order of execvp(3).
fn candidates(program: &OsStr) -> Vec<OsString> {
    if program.is_empty() || program.as_bytes().contains(&b'/') {
        return vec![program.to_owned()];
    }
    let path = env::var_os("PATH").unwrap_or_else(|| "/bin:/usr/bin".into());
    env::split_paths(&path)
        .map(|folder| folder.join(program).into_os_string())
        .collect()
}
