//! Runs the body of a test in a fresh process, so that a case is one function with one name.
//!
//! A case needs its own process when it changes process-wide state (limits, signal masks, seccomp
//! filters, closed standard streams) or counts its own descriptors, threads or children. The test
//! executes its own binary again and asks the harness there for this one test. The harness runs a
//! test on a second thread; so that thread forks, and the body runs in the copy. It has a single
//! thread and no descriptor but the standard streams. It is killed when the test ends before it.
//!
//! ```no_run
//! #[test]
//! fn lowered_limit_is_seen_by_nobody_else() {
//!     workspace_tests::alone!({
//!         // process-wide changes
//!     });
//! }
//! ```

use std::io::{BufRead, BufReader, Read};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::fork::Fork;
use crate::{Guard, namespace, signals, until};

/// Names the test that the process was started for.
const ENV_VAR: &str = "WORKSPACE_TESTS_ALONE";

/// The rest of the test runs in a fresh process. See the [module](mod@crate::alone).
#[macro_export]
macro_rules! alone {
    ($body:block) => {{
        fn here() {}
        $crate::alone::run(
            $crate::alone::Place::Process,
            &$crate::alone::name_of(here),
            || $body,
        )
    }};
}

/// The rest of the test runs as pid 1 of a PID namespace of its own, with /proc to match. For every
/// case that could signal a process it does not know. It prints why and skips where no such
/// namespace can be had.
#[macro_export]
macro_rules! alone_in_pid_namespace {
    ($body:block) => {{
        fn here() {}
        $crate::alone::run(
            $crate::alone::Place::PidNamespace,
            &$crate::alone::name_of(here),
            || $body,
        )
    }};
}

/// Whether this process was started to run the body of a test.
#[must_use]
pub fn is_inside() -> bool {
    std::env::var_os(ENV_VAR).is_some()
}

/// Where a body runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Process,
    PidNamespace,
}

/// The harness's name of the test in which `here` is defined.
pub fn name_of<T>(_here: T) -> String {
    let path = std::any::type_name::<T>();
    // `crate::module::test::here`, with `{{closure}}` before `here` where the call stands in one.
    let path = path.strip_suffix("::here").unwrap_or(path);
    let path = path.split("::{{closure}}").next().unwrap_or(path);
    path.split_once("::")
        .map_or(path, |(_crate, rest)| rest)
        .to_owned()
}

/// Runs `body` if this process was started for the test, else starts that process and waits for it.
///
/// # Panics
/// If the body panicked, or did not end within [`time_limit`](crate::time_limit) after its start or
/// its last [step](goes_on); with what it printed.
pub fn run(place: Place, test: &str, body: impl FnOnce()) {
    if std::env::var_os(ENV_VAR).is_some_and(|name| name.to_str() == Some(test)) {
        // Not back to the harness: a test that expects a failure would take this process's for it.
        std::process::exit(run_in_copy(place, body));
    }
    let program = std::env::current_exe().expect("the test binary");
    let mut command = Command::new(program);
    command
        .args([test, "--exact", "--nocapture"])
        .env(ENV_VAR, test)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = Guard::spawn(&mut command);
    let steps = Arc::new(AtomicU32::new(0));
    let said = [
        reader(child.stdout.take().expect("a pipe"), &steps),
        reader(child.stderr.take().expect("a pipe"), &steps),
    ];
    let status = wait(&mut child, &steps);
    let [out, error] = said.map(|reader| reader.join().unwrap_or_default());
    assert!(status.success(), "{test}: {status}\n{out}{error}");
    for line in error.lines().filter(|line| line.starts_with("skipped")) {
        eprintln!("{line}");
    }
    // A process in which the harness found no such test would pass as well.
    assert!(error.contains(RAN), "{test} did not run\n{out}{error}");
}

/// Said by the body of a test on its way.
const STEP: &str = "the body of the test goes on";

/// In the body of a test: the deadline begins anew. For a case that needs very many of something:
/// each of them is bounded then, and not all of them together, which on a busy machine take long.
pub fn goes_on() {
    eprintln!("{STEP}");
}

/// Waits for the end, which comes in time after the start and after each step.
fn wait(child: &mut Guard, steps: &AtomicU32) -> ExitStatus {
    loop {
        let before = steps.load(Ordering::Relaxed);
        let ended = until("the test ends or goes on", || {
            let status = child.try_wait().expect("wait for own child");
            let step = steps.load(Ordering::Relaxed) != before;
            (status.is_some() || step).then_some(status)
        });
        if let Some(status) = ended {
            return status;
        }
    }
}

/// Said by the process that was started for a test, once its body has ended.
const RAN: &str = "the body of the test ran";

/// The exit code of a copy of this process, in which `body` ran.
fn run_in_copy(place: Place, body: impl FnOnce()) -> i32 {
    // SAFETY: a plain number; this thread's next child is pid 1 of the new namespace, nothing else
    // changes.
    if place == Place::PidNamespace && unsafe { libc::unshare(libc::CLONE_NEWPID) } != 0 {
        let error = std::io::Error::last_os_error();
        eprintln!("skipped: no PID namespace to be had here: {error}\n{RAN}");
        return 0;
    }
    let status = Fork::run(|| {
        // SAFETY: this copy has one thread, and nothing that it will run owns a number above 2.
        unsafe {
            std::env::remove_var(ENV_VAR);
            // What the test runner leaked into it would be counted, or be in the way.
            let closed = libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, 0);
            assert_eq!(
                closed,
                0,
                "close_range: {}",
                std::io::Error::last_os_error()
            );
        }
        signals::default_actions();
        if place == Place::PidNamespace {
            if !namespace::unshare_mounts() {
                return;
            }
            namespace::mount_proc();
        }
        body();
    })
    // Whoever has started this process has the deadline.
    .wait_in_time();
    eprintln!("{RAN}");
    status.code().unwrap_or_else(|| {
        eprintln!("the body's process ended by {status}");
        101
    })
}

/// On a thread: a case that hangs is found by the deadline, not by the end of its output. Steps are
/// counted, and left out of what was said.
fn reader(
    pipe: impl Read + Send + 'static,
    steps: &Arc<AtomicU32>,
) -> std::thread::JoinHandle<String> {
    let steps = Arc::clone(steps);
    std::thread::spawn(move || {
        let (mut pipe, mut said, mut line) = (BufReader::new(pipe), String::new(), Vec::new());
        while pipe
            .read_until(b'\n', &mut line)
            .is_ok_and(|length| length > 0)
        {
            if line.trim_ascii_end() == STEP.as_bytes() {
                steps.fetch_add(1, Ordering::Relaxed);
            } else {
                said.push_str(&String::from_utf8_lossy(&line));
            }
            line.clear();
        }
        said
    })
}
