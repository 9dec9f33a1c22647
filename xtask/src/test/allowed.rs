//! Which skips are allowed on this machine: those that it cannot help.

use std::fs;

use anyhow::{Context, Result};

/// Set to `strict`, it makes every skip that this machine could have helped an error. CI sets it.
const POLICY: &str = "WORKSPACE_TESTS_SKIPS";

/// Programs, with spaces in between, that could not be installed here.
const MISSING: &str = "WORKSPACE_TESTS_MISSING";

/// The number of CAP_SYS_RESOURCE: capabilities(7).
const SYS_RESOURCE: u32 = 24;

/// What a test may find missing here.
#[derive(Debug)]
pub(super) struct Machine {
    kernel: (u32, u32),
    /// One bit for each effective capability.
    capabilities: u64,
    is_root: bool,
    cpus: usize,
    missing: Vec<String>,
}

/// This machine, if skips are to be looked at.
pub(super) fn strict() -> Result<Option<Machine>> {
    match std::env::var(POLICY).as_deref() {
        Ok("strict") => Machine::here().map(Some),
        _ => Ok(None),
    }
}

impl Machine {
    fn here() -> Result<Machine> {
        let release = fs::read_to_string("/proc/sys/kernel/osrelease");
        let release = release.context("read the kernel's version")?;
        let status = fs::read_to_string("/proc/self/status").context("read /proc/self/status")?;
        let line = |name: &str| status.lines().find_map(|line| line.strip_prefix(name));
        let capabilities = line("CapEff:").unwrap_or_default().trim();
        let user = line("Uid:").unwrap_or_default().split_whitespace().next();
        let missing = std::env::var(MISSING).unwrap_or_default();
        Ok(Machine {
            kernel: version(&release).context("the kernel's version has no two numbers")?,
            capabilities: u64::from_str_radix(capabilities, 16).context("read CapEff")?,
            is_root: user == Some("0"),
            cpus: std::thread::available_parallelism()?.get(),
            missing: missing.split_whitespace().map(str::to_owned).collect(),
        })
    }

    /// Whether a test may skip for this reason, which begins with "skipped".
    pub(super) fn allows(&self, reason: &str) -> bool {
        let raises_limits = self.capabilities & (1 << SYS_RESOURCE) != 0;
        if let Some(program) = reason.strip_suffix(" is not installed") {
            let program = program.rsplit(' ').next();
            return program.is_some_and(|program| self.missing.iter().any(|it| it == program));
        }
        if reason.contains("SYS_RESOURCE") || reason.contains("no number as high as") {
            return !raises_limits;
        }
        if reason.contains("needs root") || reason.contains("only root") {
            return !self.is_root;
        }
        if reason.contains("one CPU") {
            return self.cpus == 1;
        }
        // "came with Linux 6.13", "before Linux 5.19", "is of Linux 7.1".
        let needed = reason.split_once("Linux ").map(|(_, rest)| version(rest));
        needed.flatten().is_some_and(|needed| self.kernel < needed)
    }
}

/// The first two numbers of "6.13), and more" or "6.18.44".
fn version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text
        .split(|c: char| !c.is_ascii_digit())
        .map(|number| number.parse().ok());
    Some((numbers.next()??, numbers.next()??))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine() -> Machine {
        Machine {
            kernel: (6, 18),
            capabilities: 0,
            is_root: true,
            cpus: 2,
            missing: vec!["fish".to_owned()],
        }
    }

    #[test]
    fn machine_may_skip_what_it_cannot_help() {
        let machine = machine();
        for reason in [
            "skipped: needs CapabilitySet(SYS_RESOURCE)",
            "skipped: no number as high as 65535 is to be had here: Operation not permitted",
            "skipped: CLONE_PIDFD_AUTOKILL is of Linux 7.1, and tried on x86-64 alone",
            "skipped: fish is not installed",
        ] {
            assert!(machine.allows(reason), "{reason}");
        }
    }

    #[test]
    fn machine_may_not_skip_what_it_could_have_run() {
        let mut machine = machine();
        machine.capabilities = 1 << SYS_RESOURCE;
        for reason in [
            "skipped: needs CapabilitySet(SYS_RESOURCE)",
            "skipped: no number as high as 65535 is to be had here: Operation not permitted",
            "skipped: PIDFD_GET_INFO came with Linux 6.13",
            "skipped: pid_max is not the namespace's own before Linux 6.14",
            "skipped: needs root to give files away",
            "skipped: this machine has one CPU",
            "skipped: vim is not installed",
            "skipped: because it is Sunday",
        ] {
            assert!(!machine.allows(reason), "{reason}");
        }
    }

    #[test]
    fn this_machine_can_be_looked_at() {
        let machine = Machine::here().unwrap();
        assert!(machine.kernel > (2, 6) && machine.cpus > 0);
    }
}
