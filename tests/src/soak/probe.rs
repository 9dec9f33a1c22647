//! What /proc says of the processes of a run.

use std::fs;
use std::path::PathBuf;

use super::latencies::Latencies;
use super::quantity::{Quantity, Who};
use crate::proc_fs;

/// Where to look.
#[derive(Debug)]
pub(super) struct Probe {
    pub(super) runtime: i32,
    pub(super) shim: i32,
    /// The program of all processes of a watchdog-shim. Only the one that lives from the start to
    /// the end has any when nothing is going on.
    pub(super) watchdog_shim: PathBuf,
}

impl Probe {
    /// All quantities, in their order. The latencies are those since the last sample, and the heap
    /// is what the runtime says of it.
    pub(super) fn sample(&self, latencies: &mut Latencies, heap: u64) -> Vec<f64> {
        let quick = latencies.quantiles(0.1);
        let median = latencies.quantiles(0.5);
        latencies.clear();
        let all: Vec<i32> = proc_fs::all().into_iter().map(|stat| stat.pid).collect();
        let runs_shim = |pid: &i32| {
            fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe == self.watchdog_shim)
        };
        let watchdog_shim: Vec<i32> = all.iter().copied().filter(runs_shim).collect();
        let of = |who| match who {
            Who::Runtime => std::slice::from_ref(&self.runtime),
            Who::Shim => std::slice::from_ref(&self.shim),
            Who::WatchdogShim => &watchdog_shim[..],
        };
        let sum = |who, count: fn(i32) -> u64| -> f64 {
            of(who).iter().map(|pid| count(*pid)).sum::<u64>() as f64
        };
        Quantity::all()
            .into_iter()
            .map(|quantity| match quantity {
                Quantity::Descriptors(who) => sum(who, |pid| entries(pid, "fd")),
                Quantity::Threads(who) => sum(who, |pid| entries(pid, "task")),
                Quantity::Resident(who) => sum(who, |pid| proc_fs::rollup(pid, &["Rss:"])),
                Quantity::Anonymous(who) => sum(who, |pid| proc_fs::rollup(pid, &["Anonymous:"])),
                Quantity::Heap => heap as f64 / 1024.0,
                Quantity::Processes => all.len() as f64,
                Quantity::Quick(step) => quick[step as usize],
                Quantity::Median(step) => median[step as usize],
            })
            .collect()
    }
}

/// How many entries a folder of a process has; 0 once it is gone.
fn entries(pid: i32, folder: &str) -> u64 {
    fs::read_dir(format!("/proc/{pid}/{folder}")).map_or(0, |entries| entries.count() as u64)
}
