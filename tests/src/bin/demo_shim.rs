//! The demo's shim: keeps a program running for as long as its own runtime lives.
//!
//! What to run is in its config. It tells the director when it learned that its runtime died, and
//! why; then it stops the program and exits. A detached shim has no watchdog and stops when it is
//! told to by SIGTERM.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use pidfd_watcher::Process;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Signal, kill_process_group};
use watchdog_pipe::Watchdog;

use workspace_tests::clock;
use workspace_tests::demo::wire::{ShimPlan, What, Wire};

/// How long the program may take over SIGTERM.
const GRACE: Duration = Duration::from_secs(2);

fn main() -> ExitCode {
    // SAFETY: the first thing in main; nothing has claimed an inherited descriptor before.
    let watchdog = unsafe { Watchdog::from_env() };
    match watchdog.context("adopt the watchdog").and_then(run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("demo_shim: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(watchdog: Option<Watchdog>) -> Result<()> {
    // SAFETY: called once, and nothing else has claimed an inherited descriptor.
    let config = unsafe { shim_spawner::shim_config() }.context("read the config")?;
    let plan: ShimPlan = serde_json::from_slice(&config.context("no config was given")?)?;
    let wire = Wire::connect(&plan.messages).context("connect to the director")?;
    let told = sigterm().context("signalfd")?;

    let program = Program::start(&plan);
    if let Err(error) = &program {
        wire.send(
            &plan.name,
            clock::now(),
            What::Failed {
                error: format!("{error:#}"),
            },
        )?;
    }
    let program = program?;
    let lived = live(&plan, &wire, watchdog, &told, &program);
    // Whatever went wrong until here, a director that is gone included: the program does not stay.
    program.stop()?;
    lived
}

fn live(
    plan: &ShimPlan,
    wire: &Wire,
    watchdog: Option<Watchdog>,
    told: &OwnedFd,
    program: &Program,
) -> Result<()> {
    wire.send(
        &plan.name,
        clock::now(),
        What::Started {
            program: program.pid(),
        },
    )?;
    let (at_ns, what) = reason_to_stop(watchdog, told, program)?;
    wire.send(&plan.name, at_ns, what)?;
    Ok(())
}

/// Waits for whichever comes first: the watchdog's verdict, SIGTERM, the program's own end.
fn reason_to_stop(
    mut watchdog: Option<Watchdog>,
    told: &OwnedFd,
    program: &Program,
) -> Result<(u64, What)> {
    loop {
        let mut fds = vec![
            PollFd::new(told, PollFlags::IN),
            PollFd::new(&program.process, PollFlags::IN),
        ];
        if let Some(watchdog) = &watchdog {
            fds.push(PollFd::from_borrowed_fd(watchdog.as_fd(), PollFlags::IN));
        }
        match poll(&mut fds, None) {
            Err(rustix::io::Errno::INTR) => continue,
            polled => polled?,
        };
        let at_ns = clock::now();
        let [told, ended] = [&fds[0], &fds[1]].map(|fd| !fd.revents().is_empty());
        if let Some(verdict) = watchdog
            .as_mut()
            .map(Watchdog::try_wait)
            .transpose()?
            .flatten()
        {
            return Ok((
                at_ns,
                What::Learned {
                    verdict: format!("{verdict:?}"),
                },
            ));
        }
        if told {
            return Ok((
                at_ns,
                What::Told {
                    signal: "SIGTERM".to_owned(),
                },
            ));
        }
        if ended {
            let status = program.process.try_wait()?.and_then(|exit| exit.status);
            let status = status.map_or("unknown status".to_owned(), |status| status.to_string());
            return Ok((at_ns, What::Ended { status }));
        }
    }
}

/// The program behind the shim, in a process group of its own.
struct Program {
    child: Child,
    process: Process,
}

impl Program {
    fn start(plan: &ShimPlan) -> Result<Program> {
        let [program, args @ ..] = &plan.command[..] else {
            bail!("no program was given")
        };
        let log = File::create(&plan.log).context("create the program's log")?;
        let mut command = Command::new(program);
        command
            .args(args)
            .env("PORT", plan.port.to_string())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0);
        // SAFETY: the closure makes two system calls on its own stack: no allocation, no lock.
        unsafe { command.pre_exec(|| mask_sigterm(libc::SIG_UNBLOCK).map(drop)) };
        let mut child = command
            .spawn()
            .with_context(|| format!("start {program}"))?;
        let process = Process::from_child(&mut child)?;
        Ok(Program { child, process })
    }

    fn pid(&self) -> i32 {
        self.process.pid().as_raw_nonzero().get()
    }

    /// Stops the program and whatever it started in its group.
    fn stop(mut self) -> Result<()> {
        // The leader is not reaped before the end, so that the group's number stays its own.
        let group = self.process.pid();
        let _ = kill_process_group(group, Signal::TERM);
        self.process.wait_timeout(GRACE)?;
        let _ = kill_process_group(group, Signal::KILL);
        self.child.wait().context("reap the program")?;
        Ok(())
    }
}

/// SIGTERM as a readable descriptor.
fn sigterm() -> io::Result<OwnedFd> {
    let set = mask_sigterm(libc::SIG_BLOCK)?;
    // SAFETY: the set is initialised; -1 asks for a new descriptor.
    let fd = unsafe { libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: signalfd has just made it, so that it is open and nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Blocks or unblocks SIGTERM in this thread, the only one, and gives the set that holds it.
///
/// Runs between fork and exec too, where the program gets back what the shim has blocked: `Command`
/// hands the mask on as it is.
fn mask_sigterm(how: libc::c_int) -> io::Result<libc::sigset_t> {
    let mut set = std::mem::MaybeUninit::uninit();
    // SAFETY: sigemptyset initialises the whole set, and the pointer is to a local.
    let set = unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        libc::sigaddset(set.as_mut_ptr(), libc::SIGTERM);
        set.assume_init()
    };
    // SAFETY: the set is initialised; a null pointer says that the old mask is not wanted.
    if unsafe { libc::sigprocmask(how, &raw const set, std::ptr::null_mut()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(set)
}
