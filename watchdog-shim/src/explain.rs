//! `--print-plan`: what would apply here, and why not more.

use crate::cgroup::Cgroup;
use crate::failure::Failure;
use crate::namespace::{self, Means};
use crate::options::{Contain, Options};
use crate::plan::Plan;
use crate::proc::Proc;
use crate::sys::SoleThread;

/// What these options would give, and what else is possible here. It is printed even if the options
/// are refused, so that it shows alternatives.
pub(crate) struct Explanation {
    pub(crate) text: String,
    pub(crate) refused: Option<Failure>,
}

impl Explanation {
    /// Tries everything, and leaves nothing behind.
    pub(crate) fn of(alone: &SoleThread, options: &Options) -> Explanation {
        let namespace = namespace::try_in_child(alone);
        // Making a plan with a PID namespace does not try the namespace.
        let plan = match (&namespace, options.contain) {
            (Err(error), Contain::PidNamespace) => Err(Failure::no_namespace(error)),
            _ => Plan::make(alone, options),
        };
        let first = match &plan {
            Ok(plan) => format!("containment: {}", plan.containment),
            Err(_) => "containment: these options are refused here".to_owned(),
        };
        let namespace = match namespace {
            Ok(trial) => {
                let by = match trial.means {
                    Means::UserNamespace => "by way of a user namespace",
                    Means::Privilege => "with this process's privilege",
                };
                let sees = if trial.proc {
                    "its own"
                } else {
                    "its caller's"
                };
                format!("pidns: certain, {by}; COMMAND sees other pids and {sees} /proc")
            }
            Err(error) => format!("pidns: not here ({error})"),
        };
        // If the plan has made a cgroup, this one replaces it.
        let cgroup = match Cgroup::make(alone) {
            Ok(cgroup) => {
                cgroup.remove();
                "cgroup: good; COMMAND sees another cgroup".to_owned()
            }
            Err(error) => format!("cgroup: not here ({error})"),
        };
        let subreaper = match Proc::open() {
            Ok(_) => "subreaper: good; COMMAND notices nothing".to_owned(),
            Err(error) => format!("subreaper: not here ({error})"),
        };
        let none = "none: told; COMMAND alone is stopped".to_owned();
        Explanation {
            text: [first, namespace, cgroup, subreaper, none].join("\n  ") + "\n",
            refused: plan.err(),
        }
    }
}
