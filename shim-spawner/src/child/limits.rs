//! Sets limits, priority, processors, umask.

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::{retry_on_intr, write};
use rustix::process::{Resource, Rlimit, setpriority_process, setrlimit};
use rustix::thread::sched_setaffinity;

use super::calls::{Errno, check, raw};
use crate::Stage;
use crate::limits::Limits;
use crate::report::Report;
use crate::sys::{self, Descriptor};

impl Limits {
    /// Runs in the child, with the privileges of the parent. The limits come first because one of
    /// them (`RLIMIT_NICE`) bounds the nice value.
    pub(super) fn take(&self, report: &Report) -> Result<(), Errno> {
        for (index, (resource, limit)) in (0..).zip(&self.resources) {
            let limit = match resource {
                Resource::Nofile => not_yet_lowered(*limit)?,
                _ => *limit,
            };
            set(report, index, *resource, limit)?;
        }
        if let Some(adjustment) = &self.oom_score_adj {
            report.enter(Stage::OomScoreAdj);
            write_oom_score_adj(adjustment.text.as_bytes()).map_err(raw)?;
        }
        if let Some(nice) = self.nice {
            report.enter(Stage::Nice);
            setpriority_process(None, nice).map_err(raw)?;
        }
        if let Some(cpus) = &self.cpu_affinity {
            report.enter(Stage::CpuAffinity);
            sched_setaffinity(None, cpus).map_err(raw)?;
        }
        if let Some(mask) = self.umask {
            report.enter(Stage::Umask);
            // SAFETY: takes no pointer. rustix does not expect an error here, but a seccomp filter
            // may return one.
            check(unsafe { libc::syscall(libc::SYS_umask, mask) })?;
        }
        Ok(())
    }

    /// Runs in the child after all descriptors have their numbers. Those above the limit stay open,
    /// but no descriptor could be put above it.
    pub(super) fn lower_open_files(&self, report: &Report) -> Result<(), Errno> {
        for (index, (resource, limit)) in (0..).zip(&self.resources) {
            if *resource == Resource::Nofile {
                set(report, index, *resource, *limit)?;
            }
        }
        Ok(())
    }
}

/// Runs in the child.
fn set(report: &Report, index: i32, resource: Resource, limit: Rlimit) -> Result<(), Errno> {
    report.enter(Stage::Limits);
    setrlimit(resource, limit).map_err(|errno| {
        report.set_number(index);
        raw(errno)
    })
}

/// Runs in the child. The limit of open files to set for now: `limit`, but not below today's. The
/// raise comes early because it takes privileges that are gone later.
fn not_yet_lowered(limit: Rlimit) -> Result<Rlimit, Errno> {
    let now = sys::open_files().map_err(raw)?;
    let higher = |one: Option<u64>, other: Option<u64>| match (one, other) {
        (Some(one), Some(other)) => Some(one.max(other)),
        _ => None,
    };
    Ok(Rlimit {
        current: higher(limit.current, now.current),
        maximum: higher(limit.maximum, now.maximum),
    })
}

/// Runs in the child. Even a child that shares its parent's memory changes only its own value: the
/// kernel recognizes a vfork by its waiting parent (`__set_oom_adj` in fs/proc/base.c).
fn write_oom_score_adj(text: &[u8]) -> Result<(), rustix::io::Errno> {
    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    let path = c"/proc/self/oom_score_adj";
    let file = Descriptor::new(openat(CWD, path, flags, Mode::empty())?);
    retry_on_intr(|| write(&file, text)).map(drop)
}
