//! Where the tests of a mutant run: it may kill, fork and write as it likes.

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{fs, process};

use anyhow::{Context, Result};

use super::tests::Test;

/// How many processes a test may have at once.
const PROCESSES: u32 = 2_000;

/// The memory of each of its processes, in bytes.
const MEMORY: u64 = 16 << 30;

/// Joins the cgroup, if there is one, before the namespaces are made.
const OUTER: &str = r#"if [ -n "$1" ]; then echo $$ > "$1/cgroup.procs"; fi; shift; exec "$@""#;

/// In the namespaces: the job's own programs and map lie where the copy was built. The shell stays,
/// as pid 1: it reaps, and the kernel ends all others when it ends.
const INNER: &str = r#"
mount --bind "$1" "$2" && mount --bind "$3" "$4" || exit 125
cd "$5" || exit 125
limit=$6
shift 6
timeout --foreground -s KILL "$limit" "$@"
exit $?"#;

/// Namespaces of a job's own, with limits.
#[derive(Debug)]
pub(crate) struct Sandbox {
    /// The job's programs, and where they were built.
    programs: (PathBuf, PathBuf),
    /// The job's map of what is reached, and where the programs look for it.
    map: (PathBuf, PathBuf),
    /// Its temporary files. The path is short: sockets have their names there.
    folder: PathBuf,
    cgroup: Option<PathBuf>,
    is_root: bool,
}

/// How a test ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    Passed,
    Failed,
    TimedOut,
}

impl Sandbox {
    pub(crate) fn new(
        job: usize,
        programs: (PathBuf, PathBuf),
        map: (PathBuf, PathBuf),
    ) -> Result<Sandbox> {
        let name = format!("mutants-{}-{job}", process::id());
        let folder = std::env::temp_dir().join(&name);
        fs::create_dir(&folder).with_context(|| format!("create {}", folder.display()))?;
        Ok(Sandbox {
            programs,
            map,
            folder,
            cgroup: cgroup(&name),
            is_root: rustix::process::geteuid().is_root(),
        })
    }

    /// Runs the test, and says how long it took.
    pub(crate) fn run(&self, test: &Test, limit: Duration) -> Result<(Ended, Duration)> {
        let start = Instant::now();
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "sh", "-c", OUTER, "sh"]);
        command.arg(self.cgroup.as_deref().unwrap_or(Path::new("")));
        command.arg("unshare");
        if !self.is_root {
            command.args(["--user", "--map-root-user"]);
        }
        command
            .args(["--pid", "--fork", "--mount-proc", "--kill-child"])
            .args(["prlimit", &format!("--as={MEMORY}")]);
        if !self.is_root {
            command.arg(format!("--nproc={PROCESSES}"));
        }
        command
            .args(["sh", "-c", INNER, "sh"])
            .args([&self.programs.0, &self.programs.1, &self.map.0, &self.map.1])
            .arg(&test.folder)
            .arg(format!("{:.3}", limit.as_secs_f64()))
            .arg(&test.program)
            .args([&test.name, "--exact", "--test-threads=1"])
            .env("TMPDIR", &self.folder)
            .env("CARGO_MANIFEST_DIR", &test.folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let status = command.status().context("run setpriv")?;
        let took = start.elapsed();
        for entry in fs::read_dir(&self.folder)? {
            let path = entry?.path();
            let _ = fs::remove_dir_all(&path).or_else(|_| fs::remove_file(&path));
        }
        let ended = if status.success() {
            Ended::Passed
        } else if status.signal().is_none() && took >= limit {
            Ended::TimedOut
        } else {
            Ended::Failed
        };
        Ok((ended, took))
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
        if let Some(cgroup) = &self.cgroup {
            let _ = fs::remove_dir(cgroup);
        }
    }
}

/// A cgroup that bounds the number of processes, where one can be made. Root needs it: no other
/// limit on processes holds for root.
fn cgroup(name: &str) -> Option<PathBuf> {
    let parents = ["/sys/fs/cgroup/pids", "/sys/fs/cgroup"];
    parents.iter().map(Path::new).find_map(|parent| {
        let folder = parent.join(name);
        fs::create_dir(&folder).ok()?;
        let limited = fs::write(folder.join("pids.max"), PROCESSES.to_string());
        if limited.is_err() {
            let _ = fs::remove_dir(&folder);
        }
        limited.is_ok().then_some(folder)
    })
}
