//! What this machine has, and lacks, as far as it decides what a test can do.

use std::path::{Path, PathBuf};
use std::{env, fs, thread};

/// Names the programs that CI has tried to install, and could not.
const NOT_INSTALLED: &str = "NOT_INSTALLED";

/// What a machine may lack.
#[derive(Clone, Copy, Debug)]
pub(super) enum Lack {
    /// Another user runs the tests.
    Root,
    Capability(Capability),
    /// The kernel is older.
    Kernel(u32, u32),
    /// Another architecture.
    X86,
    SecondCpu,
    /// Fewer descriptors, even where a process takes all that it may have.
    OpenFiles(u64),
    /// Fewer processes.
    Processes(u64),
    /// The kernel writes no core into a file.
    Cores,
    /// No cgroup file system of version 2 is mounted, or none that can be written to.
    Cgroups,
    /// A program, by its name or its path. What can be installed is not lacking.
    Program(&'static str),
    /// The same, of the program that the skip names.
    ProgramNamed,
    /// Something that only the test itself can find out.
    Told,
}

/// A capability by its number: include/uapi/linux/capability.h.
#[derive(Clone, Copy, Debug)]
pub(super) struct Capability(pub(super) u32);

/// A machine as far as a test can lack something of it.
#[allow(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
#[derive(Debug)]
pub(super) struct Machine {
    pub(super) is_root: bool,
    /// The effective ones, a bit each.
    pub(super) capabilities: u64,
    pub(super) kernel: (u32, u32),
    pub(super) is_x86: bool,
    pub(super) cpus: usize,
    /// The maximum.
    pub(super) open_files: u64,
    pub(super) processes: u64,
    pub(super) writes_cores: bool,
    pub(super) has_cgroups: bool,
    /// CI installs here what is missing.
    pub(super) installs: bool,
    pub(super) not_installed: Vec<String>,
}

impl Machine {
    /// This one. What cannot be found out is not lacking.
    pub(super) fn probe() -> Machine {
        let whole = Machine::whole();
        let status = text("/proc/self/status");
        let field = |name| {
            let mut lines = status.lines();
            lines.find_map(|line| line.strip_prefix(name)?.split_whitespace().next())
        };
        let is_root = field("Uid:").is_none_or(|uid| uid == "0");
        let capabilities = field("CapEff:").and_then(|set| u64::from_str_radix(set, 16).ok());
        let limits = text("/proc/self/limits");
        let maximum = |name| maximum(&limits, name).unwrap_or(u64::MAX);
        let processes = ["/proc/sys/kernel/pid_max", "/proc/sys/kernel/threads-max"];
        let processes = processes
            .iter()
            .filter_map(|path| text(path).trim().parse().ok());
        let pattern = text("/proc/sys/kernel/core_pattern");
        Machine {
            is_root,
            capabilities: capabilities.unwrap_or(whole.capabilities),
            kernel: version(&text("/proc/sys/kernel/osrelease")).unwrap_or(whole.kernel),
            is_x86: cfg!(target_arch = "x86_64"),
            cpus: thread::available_parallelism().map_or(whole.cpus, usize::from),
            open_files: maximum("Max open files"),
            processes: processes
                .chain([maximum("Max processes")])
                .min()
                .unwrap_or(u64::MAX),
            writes_cores: !pattern.starts_with('|') && maximum("Max core file size") > 0,
            has_cgroups: text("/proc/self/mounts").lines().any(is_cgroups),
            installs: is_root && found("apt-get"),
            not_installed: env::var(NOT_INSTALLED)
                .unwrap_or_default()
                .split_whitespace()
                .map(str::to_owned)
                .collect(),
        }
    }

    /// One that lacks nothing.
    pub(super) fn whole() -> Machine {
        Machine {
            is_root: true,
            capabilities: u64::MAX,
            kernel: (u32::MAX, 0),
            is_x86: true,
            cpus: usize::MAX,
            open_files: u64::MAX,
            processes: u64::MAX,
            writes_cores: true,
            has_cgroups: true,
            installs: true,
            not_installed: Vec::new(),
        }
    }

    /// `named`: what the skip says is lacking.
    pub(super) fn lacks(&self, lack: Lack, named: &str) -> bool {
        match lack {
            Lack::Root => !self.is_root,
            Lack::Capability(Capability(number)) => self.capabilities & (1 << number) == 0,
            Lack::Kernel(major, minor) => self.kernel < (major, minor),
            Lack::X86 => !self.is_x86,
            Lack::SecondCpu => self.cpus < 2,
            Lack::OpenFiles(count) => self.open_files < count,
            Lack::Processes(count) => self.processes < count,
            Lack::Cores => !self.writes_cores,
            Lack::Program(program) => self.lacks_program(program),
            Lack::ProgramNamed => {
                // The last word: who runs it may stand before it.
                self.lacks_program(named.rsplit(' ').next().unwrap_or(named))
            }
            Lack::Cgroups => !self.has_cgroups,
            Lack::Told => true,
        }
    }

    fn lacks_program(&self, program: &str) -> bool {
        let could_not = || self.not_installed.iter().any(|it| it == program);
        !found(program) && (!self.installs || could_not())
    }
}

/// Nothing where it cannot be read.
fn text(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// A maximum in `/proc/self/limits`: its name, the limit, the maximum, the unit.
fn maximum(limits: &str, name: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// Whether a line of `/proc/self/mounts` is a cgroup file system of version 2 that can be written
/// to: device, mount point, file system, options.
fn is_cgroups(line: &str) -> bool {
    let mut fields = line.split(' ').skip(2);
    let (kind, options) = (fields.next(), fields.next().unwrap_or_default());
    kind == Some("cgroup2") && options.split(',').any(|option| option == "rw")
}

fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    let mut number = || numbers.next()?.parse().ok();
    Some((number()?, number()?))
}

/// Whether a program is there: by its path, on `PATH`, or among those that only root runs.
fn found(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&path).chain(["/usr/sbin", "/sbin"].map(PathBuf::from));
    // A path that is absolute stays as it is.
    folders
        .map(|folder| folder.join(Path::new(program)))
        .any(|file| file.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maxima_and_versions_are_read_as_the_kernel_writes_them() {
        let limits = "Limit                     Soft Limit           Hard Limit           Units\n\
                      Max core file size        0                    unlimited            bytes\n\
                      Max open files            1024                 524288               files\n";
        assert_eq!(maximum(limits, "Max open files"), Some(524_288));
        // No number: there is no maximum.
        assert_eq!(maximum(limits, "Max core file size"), None);
        let mount = "cgroup2 /sys/fs/cgroup cgroup2 rw,nosuid,nodev 0 0";
        assert!(is_cgroups(mount) && !is_cgroups(&mount.replace("rw", "ro")));
        assert!(!is_cgroups("cgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0"));
        assert_eq!(version("6.18.0-rc1-x"), Some((6, 18)));
        assert_eq!(version("7.1"), Some((7, 1)));
        assert_eq!(version(""), None);
    }

    #[test]
    fn this_machine_has_a_kernel_and_a_shell() {
        let machine = Machine::probe();
        assert!(!machine.lacks(Lack::Kernel(3, 0), ""));
        assert!(machine.lacks(Lack::Kernel(1_000, 0), ""));
        assert!(!machine.lacks(Lack::Program("/bin/sh"), ""));
        assert!(found("sh") && !found("no-such-program"));
    }
}
