//! The user time of this process, by sampling.
//!
//! Where the kernel counts by ticks (`CONFIG_TICK_CPU_ACCOUNTING`, and every kernel without
//! `CONFIG_NO_HZ_FULL`), getrusage(2) tells user from system time by what a tick of 1 to 10 ms
//! happened to hit, which is nothing for some milliseconds in all. The clock of perf_event_open(2)
//! that needs no counter of the processor hits a hundred times as often. With `n` samples the
//! standard error is one part in the root of `n`.

use std::io;
use std::thread::available_parallelism;

use anyhow::{Context, Result, ensure};
use perf_event::events::Software;
use perf_event::{Builder, Sampler};

/// Nanoseconds from sample to sample, on each processor; no multiple of anything that repeats.
const PERIOD: u64 = 23_117;
/// The room for samples, on each processor: some ten thousand of 8 bytes.
const ROOM: usize = 1 << 17;

/// Every thread of this process that starts later than this, and this one; no child.
pub struct UserTime(Vec<Sampler>);

impl UserTime {
    /// Sleeps until [`UserTime::start`].
    ///
    /// # Errors
    /// `EINVAL` before Linux 5.13, `EACCES` or `EPERM` where `perf_event_paranoid` or a filter
    /// forbids it.
    pub fn new() -> io::Result<UserTime> {
        let processors = available_parallelism()?.get();
        // Inherited events have a ring each processor.
        let sampler = |processor| {
            Builder::new(Software::CPU_CLOCK)
                .one_cpu(processor)
                .inherit(true)
                .inherit_thread(true)
                .exclude_kernel(true)
                .sample_period(PERIOD)
                .build()?
                .sampled(ROOM)
        };
        (0..processors)
            .map(sampler)
            .collect::<io::Result<_>>()
            .map(UserTime)
    }

    pub fn start(&mut self) -> Result<()> {
        for sampler in &mut self.0 {
            sampler.enable().context("start sampling")?;
        }
        Ok(())
    }

    /// In seconds, since the start.
    pub fn stop(mut self) -> Result<f64> {
        let mut samples = 0_u64;
        for sampler in &mut self.0 {
            sampler.disable().context("stop sampling")?;
            while let Some(record) = sampler.next_record() {
                // PERF_RECORD_SAMPLE of include/uapi/linux/perf_event.h; any other says that some
                // were lost.
                ensure!(
                    record.ty() == 9,
                    "samples were lost: record {}",
                    record.ty()
                );
                samples += 1;
            }
        }
        Ok(samples as f64 * PERIOD as f64 / 1e9)
    }
}
