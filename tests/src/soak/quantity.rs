//! What is sampled, and how much growth is none.

use super::wire::Step;

/// Of which process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Who {
    Runtime,
    /// A shim that lives from the start to the end.
    Shim,
    /// All processes of a `watchdog-shim` that lives from the start to the end.
    WatchdogShim,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Quantity {
    Descriptors(Who),
    Threads(Who),
    /// All memory that is resident, in KiB.
    Resident(Who),
    /// The part of it that is no file's, in KiB.
    Anonymous(Who),
    /// What the runtime has allocated, in KiB. Exact: not one byte may be lost each time.
    Heap,
    /// All processes of the run.
    Processes,
    /// What a tenth of the latencies of a sample lie below, in µs. A machine that is busy with
    /// something else makes the others longer.
    Quick(Step),
    /// The median of the latencies of a sample, in µs. It is not judged, for the same reason.
    Median(Step),
}

impl Quantity {
    /// In the order of the columns.
    pub(super) fn all() -> Vec<Quantity> {
        let of = |who| {
            [
                Quantity::Descriptors(who),
                Quantity::Threads(who),
                Quantity::Resident(who),
                Quantity::Anonymous(who),
            ]
        };
        [Who::Runtime, Who::Shim, Who::WatchdogShim]
            .into_iter()
            .flat_map(of)
            .chain([Quantity::Heap, Quantity::Processes])
            .chain(Step::ALL.map(Quantity::Quick))
            .chain(Step::ALL.map(Quantity::Median))
            .collect()
    }

    pub(super) fn name(self) -> String {
        let who = |who| match who {
            Who::Runtime => "runtime",
            Who::Shim => "shim",
            Who::WatchdogShim => "watchdog-shim",
        };
        match self {
            Quantity::Descriptors(of) => format!("{}: descriptors", who(of)),
            Quantity::Threads(of) => format!("{}: threads", who(of)),
            Quantity::Resident(of) => format!("{}: RSS (KiB)", who(of)),
            Quantity::Anonymous(of) => format!("{}: anonymous (KiB)", who(of)),
            Quantity::Heap => "runtime: heap in use (KiB)".to_owned(),
            Quantity::Processes => "processes".to_owned(),
            Quantity::Quick(step) => format!("{}: p10 (us)", step.name()),
            Quantity::Median(step) => format!("{}: p50 (us)", step.name()),
        }
    }

    /// The growth over the whole run that counts as none, for a quantity whose median is `median`.
    /// `None` for one that is not judged.
    pub(super) fn tolerance(self, median: f64) -> Option<f64> {
        match self {
            Quantity::Descriptors(_) | Quantity::Threads(_) | Quantity::Processes => Some(1.0),
            Quantity::Resident(_) | Quantity::Anonymous(_) => {
                Some(rustix::param::page_size() as f64 / 1024.0)
            }
            Quantity::Heap => Some(1.0),
            Quantity::Quick(_) => Some(median / 10.0),
            Quantity::Median(_) => None,
        }
    }
}
