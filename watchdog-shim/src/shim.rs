//! The processes of the shim, and who does what.
//!
//! OUTER is the process that the runtime knows. It starts STANDBY. STANDBY starts INNER, and takes
//! over if INNER is killed. INNER starts COMMAND and is in charge of the tree. All three are
//! subreapers: if one is killed, its orphans become children of the next one above.
//!
//! With a PID namespace there is no STANDBY: when INNER ends, the kernel ends all others in the
//! namespace. If OUTER is pid 1 already, it does everything alone.

mod end;
mod inherited;
mod inner;
mod outer;
mod protection;
mod setup;
mod standby;
mod take_over;
mod wake;

use crate::control::ControlSocket;
use crate::failure::Failure;
use crate::namespace;
use crate::options::Options;
use crate::plan::Containment;
use crate::proc::Proc;
use crate::sys::{self, Forked, NamespaceInit, SoleThread};

pub(crate) use end::End;
use setup::Setup;
use wake::Wake;

/// Runs COMMAND under the shim. In OUTER it returns when the tree is gone. In the other processes
/// it does not return.
pub(crate) fn run(alone: SoleThread, options: &Options) -> Result<End, Failure> {
    let setup = Setup::make(alone, options)?;
    match setup.containment {
        Containment::AlreadyInit => run_alone(setup),
        Containment::PidNamespace => run_in_namespace(setup),
        Containment::Cgroup(ref cgroup) => {
            let cgroup = cgroup.clone();
            let end = run_three(setup);
            // INNER removes the cgroup. If INNER has started nothing, nobody has removed it yet.
            cgroup.remove();
            end
        }
        Containment::Subreaper | Containment::None => run_three(setup),
    }
}

/// OUTER, STANDBY and INNER.
fn run_three(setup: Setup<'_>) -> Result<End, Failure> {
    protection::hide();
    let (of_outer, of_keeper) = ControlSocket::pair().map_err(setup::failed)?;
    setup::become_subreaper().map_err(setup::failed)?;
    let wake = Wake::make().map_err(setup::failed)?;
    let signals = sys::signal_fd().map_err(setup::failed)?;
    match sys::fork(&setup.alone).map_err(setup::failed)? {
        Forked::Parent(standby) => {
            drop(of_keeper);
            let _wake = wake.into_outer();
            outer::run(setup, &of_outer, signals, standby)
        }
        Forked::Child => {
            drop((of_outer, signals));
            standby::run(setup, of_keeper, &wake)
        }
    }
}

/// OUTER, and INNER in a PID namespace.
fn run_in_namespace(setup: Setup<'_>) -> Result<End, Failure> {
    let failed = |error| Failure::io("--contain=pidns", &error);
    let (of_outer, of_keeper) = ControlSocket::pair().map_err(failed)?;
    namespace::enter(&setup.alone).map_err(|error| Failure::no_namespace(&error))?;
    // Not earlier: the /proc files that set up a user namespace would belong to root.
    protection::hide();
    let wake = Wake::make().map_err(failed)?;
    let signals = sys::signal_fd().map_err(failed)?;
    match sys::fork(&setup.alone).map_err(failed)? {
        Forked::Parent(inner) => {
            drop(of_keeper);
            let _wake = wake.into_outer();
            outer::run(setup, &of_outer, signals, inner)
        }
        Forked::Child => {
            drop((of_outer, signals));
            let init = NamespaceInit::of_this_process(&setup.alone);
            // If a filter or the kernel refuses this, COMMAND sees its caller's /proc.
            let _ = namespace::mount_proc();
            match init {
                Ok(init) => {
                    // The /proc that was open shows another PID namespace.
                    let proc = Proc::open().ok();
                    let setup = Setup { proc, ..setup };
                    inner::run(setup, Some(of_keeper), None, Some(init), &wake)
                }
                Err(error) => setup.refuse(&failed(error), &wake),
            }
        }
    }
}

/// OUTER is pid 1, and does everything.
fn run_alone(setup: Setup<'_>) -> Result<End, Failure> {
    protection::hide();
    let (ledger, exit) = (setup.ledger, setup.options.exit);
    // The tree is the whole namespace, which ends with this process anyway. One call of kill(2)
    // reaches every process in it, even one that is being forked, and needs no /proc.
    let init = NamespaceInit::of_this_process(&setup.alone).ok();
    let keeper = inner::start(setup, &mut None, None, init)?;
    keeper.run();
    End::of(ledger, exit)
}
