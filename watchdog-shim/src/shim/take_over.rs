//! How STANDBY or OUTER takes over when all processes of the shim below it were killed.

use std::os::fd::OwnedFd;
use std::time::Duration;

use pidfd_watcher::Process;

use crate::control::ControlSocket;
use crate::keeper::{Keeper, Killing};
use crate::plan::Containment;
use crate::policy::Policy;
use crate::shim::protection;
use crate::shim::setup::Setup;
use crate::signals::SessionRole;
use crate::status::Status;
use crate::tree::Tree;
use crate::watch::RuntimeWatch;

/// Stops the tree instead of the killed processes, and returns when it is gone. `control` is `None`
/// in OUTER.
pub(crate) fn run(setup: Setup<'_>, signals: OwnedFd, control: Option<ControlSocket>) {
    protection::take_resources();
    let command = command(&setup);
    if matches!(setup.containment, Containment::PidNamespace) {
        // INNER has ended, so the kernel has killed everything in the namespace.
        let grace = Duration::ZERO;
        let policy = setup.ledger.policy();
        setup.ledger.set_policy(Policy { grace, ..policy });
    }
    let keeper = Keeper {
        options: setup.options,
        role: SessionRole::of_this_process(setup.session),
        ledger: setup.ledger,
        status: Status::to(setup.status),
        tree: Tree::new(setup.containment, None, setup.proc, command),
        signals,
        control,
        standby: None,
        watch: RuntimeWatch::Released,
        command_is_stopped: false,
        input_ended: None,
        stop_was_requested: false,
        killing: Killing::default(),
    };
    keeper.take_over();
}

/// COMMAND, which is a child of this process now, or will be as soon as INNER is gone.
///
/// `None` in two cases:
/// - COMMAND's status is in the ledger. COMMAND may have been reaped, and a stranger may have its
///   number.
/// - There was a PID namespace. COMMAND had another number there, and the kernel has killed it.
///
/// Otherwise nobody has reaped COMMAND: the status is written down before the reap.
fn command(setup: &Setup<'_>) -> Option<Process> {
    let pid = match (setup.ledger.status(), &setup.containment) {
        (Some(_), _) | (_, Containment::PidNamespace) => None,
        (None, _) => setup.ledger.command(),
    };
    pid.and_then(|pid| Process::open(pid).ok())
}
