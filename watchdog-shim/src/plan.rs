//! Which containment is used, what it promises here, and why not more.

use std::fmt;

use crate::cgroup::Cgroup;
use crate::failure::Failure;
use crate::options::{Contain, Level, Options};
use crate::proc::Proc;
use crate::sys::{self, SoleThread};
use crate::values::written;

/// How the tree is held together.
#[derive(Clone, Debug)]
pub(crate) enum Containment {
    /// This process is pid 1 of a container: when it ends, the kernel ends all the others.
    AlreadyInit,
    /// A PID namespace of its own.
    PidNamespace,
    /// The shim inherits orphans, and finds descendants in /proc.
    Subreaper,
    /// A cgroup of its own. The shim is a subreaper as well.
    Cgroup(Cgroup),
    /// COMMAND alone.
    None,
}

impl Containment {
    pub(crate) fn level(&self) -> Level {
        match self {
            Containment::AlreadyInit | Containment::PidNamespace => Level::Certain,
            Containment::Subreaper | Containment::Cgroup(_) => Level::Good,
            Containment::None => Level::Told,
        }
    }

    fn word(&self) -> &'static str {
        match self {
            Containment::AlreadyInit => "pid 1",
            Containment::PidNamespace => written(Contain::PidNamespace, Contain::ALL),
            Containment::Subreaper => written(Contain::Subreaper, Contain::ALL),
            Containment::Cgroup(_) => written(Contain::Cgroup, Contain::ALL),
            Containment::None => written(Contain::None, Contain::ALL),
        }
    }
}

/// The chosen containment.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) containment: Containment,
    /// `None` if /proc cannot be used.
    pub(crate) proc: Option<Proc>,
}

impl Plan {
    /// What the options ask for. An error if it cannot be done here.
    pub(crate) fn make(alone: &SoleThread, options: &Options) -> Result<Plan, Failure> {
        let plan = Plan::choose(alone, options)?;
        let level = plan.containment.level();
        let required = options.require.unwrap_or(match options.contain {
            Contain::None => Level::Told,
            _ => Level::Good,
        });
        if rank(level) < rank(required) {
            let way_out = match required {
                Level::Certain => {
                    "; --contain=pidns may give that, and --require=good asks for less"
                }
                _ => "",
            };
            if let Containment::Cgroup(cgroup) = &plan.containment {
                cgroup.remove();
            }
            return Err(Failure::refused(format!(
                "--require={}: {} gives {} here{way_out}",
                written(required, Level::ALL),
                plan.containment.word(),
                written(level, Level::ALL),
            )));
        }
        Ok(plan)
    }

    fn choose(alone: &SoleThread, options: &Options) -> Result<Plan, Failure> {
        let mut proc = Proc::open();
        let containment = match options.contain {
            Contain::Auto if sys::is_init() => Containment::AlreadyInit,
            Contain::Auto | Contain::Subreaper => {
                proc = Ok(proc.map_err(|error| {
                    Failure::refused(format!(
                        "--contain=subreaper: descendants are found in /proc, which cannot be \
                         used here ({error}); mount /proc, or use --contain=pidns or --contain=none"
                    ))
                })?);
                Containment::Subreaper
            }
            // Whether a namespace can be made shows when it is made. Nothing was started by then.
            Contain::PidNamespace => Containment::PidNamespace,
            Contain::Cgroup => {
                let cgroup = Cgroup::make(alone).map_err(|error| {
                    Failure::refused(format!(
                        "--contain=cgroup: no cgroup can be made below the own one ({error}); \
                         delegate a writable cgroup of version 2, or use --contain=subreaper"
                    ))
                })?;
                Containment::Cgroup(cgroup)
            }
            Contain::None => Containment::None,
        };
        Ok(Plan {
            containment,
            proc: proc.ok(),
        })
    }
}

impl fmt::Display for Containment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let level = written(self.level(), Level::ALL);
        write!(f, "{}, which is {level}", self.word())
    }
}

fn rank(level: Level) -> usize {
    Level::ALL
        .iter()
        .position(|(known, _)| *known == level)
        .unwrap_or(0)
}
