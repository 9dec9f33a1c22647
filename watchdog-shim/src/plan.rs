//! Which containment there is to be, what it promises here, and why not more.

use std::fmt;

use crate::cgroup::Cgroup;
use crate::failure::Failure;
use crate::namespace::{self, NamespaceKind};
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
    PidNamespace(NamespaceKind),
    /// Orphans come to the shim, which finds descendants in /proc.
    Subreaper,
    /// A cgroup of its own. The shim is a subreaper as well.
    Cgroup(Cgroup),
    /// COMMAND alone.
    None,
}

impl Containment {
    pub(crate) fn level(&self) -> Level {
        match self {
            Containment::AlreadyInit | Containment::PidNamespace(_) => Level::Certain,
            Containment::Subreaper | Containment::Cgroup(_) => Level::Good,
            Containment::None => Level::Told,
        }
    }

    fn word(&self) -> &'static str {
        match self {
            Containment::AlreadyInit => "pid 1",
            Containment::PidNamespace(_) => written(Contain::PidNamespace, Contain::ALL),
            Containment::Subreaper => written(Contain::Subreaper, Contain::ALL),
            Containment::Cgroup(_) => written(Contain::Cgroup, Contain::ALL),
            Containment::None => written(Contain::None, Contain::ALL),
        }
    }
}

/// The choice, and what was found out for it.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) containment: Containment,
    /// `None` if /proc cannot be used.
    pub(crate) proc: Option<Proc>,
    notes: Vec<String>,
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
            Contain::PidNamespace => {
                let how = namespace::probe(alone).map_err(|error| {
                    Failure::refused(format!(
                        "--contain=pidns: no PID namespace can be made here ({error}); \
                         use --contain=subreaper, or run it with CAP_SYS_ADMIN"
                    ))
                })?;
                Containment::PidNamespace(how)
            }
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
            notes: Vec::new(),
        })
    }

    /// The same with everything that was looked at, for `--print-plan`.
    pub(crate) fn explain(alone: &SoleThread, options: &Options) -> Result<Plan, Failure> {
        let mut plan = Plan::make(alone, options)?;
        plan.notes.push(match namespace::probe(alone) {
            Ok(NamespaceKind { user, proc }) => {
                let by = if user {
                    "by way of a user namespace"
                } else {
                    "with this process's privilege"
                };
                let sees = if proc {
                    "its own /proc"
                } else {
                    "its caller's /proc"
                };
                format!("pidns: certain, {by}; COMMAND sees other pids and {sees}")
            }
            Err(error) => format!("pidns: not here ({error})"),
        });
        plan.notes.push(match Cgroup::make(alone) {
            Ok(cgroup) => {
                cgroup.remove();
                "cgroup: good; COMMAND sees another cgroup".to_owned()
            }
            Err(error) => format!("cgroup: not here ({error})"),
        });
        plan.notes.push(match Proc::open() {
            Ok(_) => "subreaper: good; COMMAND notices nothing".to_owned(),
            Err(error) => format!("subreaper: not here ({error})"),
        });
        plan.notes
            .push("none: told; COMMAND alone is stopped".to_owned());
        Ok(plan)
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (word, level) = (
            self.containment.word(),
            written(self.containment.level(), Level::ALL),
        );
        write!(f, "containment: {word}, which is {level}")?;
        self.notes
            .iter()
            .try_for_each(|note| write!(f, "\n  {note}"))
    }
}

fn rank(level: Level) -> usize {
    Level::ALL
        .iter()
        .position(|(known, _)| *known == level)
        .unwrap_or(0)
}
