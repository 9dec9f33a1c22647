//! INNER: the process that starts COMMAND and is in charge of the tree.

use std::os::fd::OwnedFd;

use pidfd_watcher::Process;
use rustix::process::setsid;

use crate::child::Image;
use crate::control::{ControlSocket, Message};
use crate::failure::Failure;
use crate::instant::Instant;
use crate::keeper::{Keeper, Killing};
use crate::ledger::Phase;
use crate::options::Options;
use crate::policy::Policy;
use crate::shim::setup::{self, Setup};
use crate::shim::wake::Wake;
use crate::shim::{inherited, protection};
use crate::signals::SessionRole;
use crate::status::{Event, Status};
use crate::sys::{self, NamespaceInit};
use crate::tree::Tree;
use crate::watch::{RuntimeState, RuntimeWatch};

/// STANDBY, as INNER sees it.
pub(crate) struct Standby {
    pub(crate) process: Process,
    /// INNER closes it when COMMAND runs: STANDBY waits for that.
    pub(crate) starting: OwnedFd,
}

/// Starts COMMAND, and works until the tree is gone.
pub(crate) fn run(
    setup: Setup<'_>,
    mut control: Option<ControlSocket>,
    standby: Option<Standby>,
    init: Option<NamespaceInit>,
    wake: &Wake,
) -> ! {
    let ledger = setup.ledger;
    match start(setup, &mut control, standby, init) {
        Ok(keeper) => keeper.run(),
        Err(failure) => setup::refuse(ledger, &failure),
    }
    wake.done();
    sys::exit_now(0)
}

/// Starts COMMAND. The containment exists already. The watch is armed first, and then checked once:
/// the runtime may be gone already.
///
/// The keeper takes `control`. After an error the caller still has it. The caller closes it only
/// when the refusal is in the ledger: at the end of file OUTER takes over, unless the ledger says
/// `Done`.
pub(crate) fn start<'a>(
    setup: Setup<'a>,
    control: &mut Option<ControlSocket>,
    standby: Option<Standby>,
    init: Option<NamespaceInit>,
) -> Result<Keeper<'a>, Failure> {
    if control.is_some() && init.is_none() {
        setup::become_subreaper().map_err(setup::failed)?;
    }
    let (options, ledger) = (setup.options, setup.ledger);
    let mut watch = RuntimeWatch::arm(&setup.alone, options, setup.parent)?;
    ledger.set_policy(policy(options, &watch));
    let signals = sys::signal_fd().map_err(setup::failed)?;
    let image = Image::of(
        options,
        setup.session,
        setup.inherited_signals,
        &setup.containment,
    )?;
    let input_ended = first_look(&mut watch)?;
    let command = image.start(&setup.alone, ledger, options, setup.proc.as_ref())?;
    ledger.set_phase(Phase::Running);
    // What this process changes about itself from here on does not concern COMMAND.
    if control.is_some() {
        let _ = setsid();
    }
    let status = Status::to(setup.status);
    status.report(Event::Started { pid: command.pid() });
    protection::take_resources();
    inherited::close_all(&setup.alone);
    let control = control.take();
    let standby = tell_others(control.as_ref(), standby);
    Ok(Keeper {
        options,
        role: SessionRole::of_this_process(setup.session),
        ledger,
        status,
        tree: Tree::new(setup.containment, init, setup.proc, Some(command)),
        signals,
        control,
        standby,
        watch,
        command_is_stopped: false,
        input_ended,
        stop_was_requested: false,
        killing: Killing::default(),
    })
}

/// COMMAND runs now. Tells the other processes of the shim to close what they have inherited.
fn tell_others(control: Option<&ControlSocket>, standby: Option<Standby>) -> Option<Process> {
    if let Some(control) = control {
        control.send(Message::Started);
    }
    let Standby { process, starting } = standby?;
    drop(starting);
    Some(process)
}

/// The policy of the command line, or else the runtime's, or else the default.
fn policy(options: &Options, watch: &RuntimeWatch) -> Policy {
    let runtime = watch.stop_policy();
    let default = Policy::default();
    Policy {
        signal: (options.stop_signal)
            .or(runtime.map(|policy| policy.stop_signal()))
            .unwrap_or(default.signal),
        grace: (options.stop_timeout)
            .or(runtime.map(|policy| policy.grace_period()))
            .unwrap_or(default.grace),
    }
}

/// If standard input has ended: the time at which this was found. An error if the runtime is gone
/// already.
fn first_look(watch: &mut RuntimeWatch) -> Result<Option<Instant>, Failure> {
    match watch.look() {
        RuntimeState::Alive => Ok(None),
        // COMMAND gets what the runtime wrote before it went.
        RuntimeState::InputEnded { unread: true } => Ok(Some(Instant::now())),
        RuntimeState::Died | RuntimeState::Dropped | RuntimeState::InputEnded { unread: false } => {
            Err(Failure::refused(
                "the runtime is gone already: nothing was started",
            ))
        }
    }
}
