//! Where the tests of a mutant run: it may kill, fork and write as it likes.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};
use std::{fs, io};

use anyhow::{Context, Result, bail};

use super::tests::Test;
use crate::long::{self, Contained, Interrupt};

/// How many processes a test may have at once.
const PROCESSES: u32 = 2_000;

/// The memory of each of its processes, in bytes.
const MEMORY: u64 = 16 << 30;

/// In the PID namespace: joins the cgroup, if there is one; the job's own programs and map lie
/// where the copy was built. The shell stays, as pid 1: it reaps, and the kernel ends all others
/// when it ends.
const SCRIPT: &str = r#"
if [ -n "$1" ]; then echo 0 > "$1/cgroup.procs" || exit 125; fi
mount --bind "$2" "$3" && mount --bind "$4" "$5" || exit 125
cd "$6" || exit 125
limit=$7
shift 7
timeout --foreground -s KILL "$limit" "$@"
exit $?"#;

/// A sandbox whose shell cannot come to its end is killed that much later.
const GRACE: Duration = Duration::from_secs(20);

/// How the script ends where there is no sandbox to be had.
const NO_SANDBOX: i32 = 125;

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
        // The same for every run, of which there is one at a time: what a killed one has left is
        // found again.
        let mut hash = DefaultHasher::new();
        programs.0.hash(&mut hash);
        let name = format!("mutants-{:08x}-{job}", hash.finish() >> 32);
        let folder = std::env::temp_dir().join(&name);
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir(&folder).with_context(|| format!("create {}", folder.display()))?;
        Ok(Sandbox {
            programs,
            map,
            folder,
            cgroup: cgroup(&name),
        })
    }

    /// Runs the test, and says how long it took.
    pub(crate) fn run(
        &self,
        test: &Test,
        limit: Duration,
        interrupt: &Interrupt,
    ) -> Result<(Ended, Duration)> {
        let start = Instant::now();
        let mut command = Contained::command("prlimit");
        command
            .arg(format!("--as={MEMORY}"))
            .args(["sh", "-c", SCRIPT, "sh"])
            .arg(self.cgroup.as_deref().unwrap_or(Path::new("")))
            .args([&self.programs.0, &self.programs.1, &self.map.0, &self.map.1])
            .arg(&test.folder)
            .arg(format!("{:.3}", limit.as_secs_f64()))
            .arg(&test.program)
            .args([&test.name, "--exact", "--test-threads=1"])
            .env("TMPDIR", &self.folder)
            .env("CARGO_MANIFEST_DIR", &test.folder)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let ended = Contained::start(&mut command)?.wait(limit + GRACE, interrupt);
        let took = start.elapsed();
        self.tidy()?;
        let ended = match ended? {
            long::Ended::Exited(status) if status.success() => Ended::Passed,
            long::Ended::Exited(status) if status.code() == Some(NO_SANDBOX) => {
                bail!("no namespace or cgroup to run the tests in")
            }
            long::Ended::Exited(_) if took < limit => Ended::Failed,
            _ => Ended::TimedOut,
        };
        Ok((ended, took))
    }

    /// Removes what the test has left in its folder.
    fn tidy(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.folder)? {
            let path = entry?.path();
            let _ = fs::remove_dir_all(&path).or_else(|_| fs::remove_file(&path));
        }
        Ok(())
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
        let made = fs::create_dir(&folder);
        made.or_else(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => Ok(()),
            _ => Err(error),
        })
        .ok()?;
        let limited = fs::write(folder.join("pids.max"), PROCESSES.to_string());
        if limited.is_err() {
            let _ = fs::remove_dir(&folder);
        }
        limited.is_ok().then_some(folder)
    })
}
