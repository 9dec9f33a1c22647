//! The resource usage of a child, which its reap returns.

use std::time::Duration;

use crate::sys::RawUsage;
use crate::{Exit, Process, ReapError};

/// The resources that a child has used, together with all its descendants that were waited for.
///
/// # References
///
/// [getrusage(2)](https://man7.org/linux/man-pages/man2/getrusage.2.html)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Usage {
    /// Time on a CPU, in the program.
    pub user_time: Duration,
    /// Time on a CPU, in the kernel.
    pub system_time: Duration,
    /// The largest amount of memory that one of them had in RAM at a time, in bytes.
    pub max_rss: u64,
    /// Page faults that needed no I/O.
    pub minor_faults: u64,
    /// Page faults that needed I/O.
    pub major_faults: u64,
    /// How many times the file system had to read.
    pub blocks_in: u64,
    /// How many times the file system had to write.
    pub blocks_out: u64,
    /// How many times one of them waited for something.
    pub voluntary_switches: u64,
    /// How many times one of them had to give the CPU to another process.
    pub involuntary_switches: u64,
}

impl Usage {
    pub(crate) fn new(raw: RawUsage) -> Usage {
        let count = |number: libc::c_long| u64::try_from(number).unwrap_or(0);
        let time = |[seconds, micros]: [libc::c_long; 2]| {
            Duration::from_secs(count(seconds)).saturating_add(Duration::from_micros(count(micros)))
        };
        Usage {
            user_time: time(raw.user_time),
            system_time: time(raw.system_time),
            max_rss: count(raw.max_rss).saturating_mul(1024),
            minor_faults: count(raw.minor_faults),
            major_faults: count(raw.major_faults),
            blocks_in: count(raw.blocks_in),
            blocks_out: count(raw.blocks_out),
            voluntary_switches: count(raw.voluntary_switches),
            involuntary_switches: count(raw.involuntary_switches),
        }
    }
}

impl Process {
    /// As [`reap`](Process::reap), with the resource usage of the child. `None` if it was reaped
    /// before: the kernel has told the usage to whoever reaped it.
    ///
    /// # Errors
    ///
    /// As [`reap`](Process::reap).
    ///
    /// # References
    ///
    /// [waitid(2)](https://man7.org/linux/man-pages/man2/waitid.2.html), the raw system call.
    pub fn reap_with_usage(self) -> Result<(Exit, Option<Usage>), ReapError> {
        self.reap_by(Process::collect_with_usage)
            .map(|(exit, raw)| (exit, raw.map(Usage::new)))
    }
}
