//! Shims that this process traces: waitid(2) tells a tracer of stops, and nobody else may take them
//! from it.

use shim_spawner::{ShimSpawner, Stdio};
use workspace_tests::{alone, proc_fs, seccomp, until};

/// The signal of a ptrace stop of that child that waits to be collected; it stays there.
fn stop_of(child: i32) -> Option<i32> {
    // SAFETY: a structure of integers, for which zeros are a value.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    let options = libc::WSTOPPED | libc::WNOHANG | libc::WNOWAIT;
    let id = child.unsigned_abs();
    // SAFETY: `info` has room for what is written.
    let done = unsafe { libc::waitid(libc::P_PID, id, &raw mut info, options) };
    assert_eq!(done, 0, "waitid: {}", std::io::Error::last_os_error());
    // SAFETY: waitid succeeded and filled the part of a child in, or left zeros.
    let (pid, status) = unsafe { (info.si_pid(), info.si_status()) };
    (pid != 0).then_some(status)
}

/// Of the threads but the first, what their lines in /proc say: 'S' asleep.
fn other_threads() -> Vec<char> {
    let own = std::process::id().to_string();
    let tasks = std::fs::read_dir("/proc/self/task").expect("/proc");
    tasks
        .filter_map(|task| {
            let task = task.expect("a task");
            if task.file_name().to_str() == Some(own.as_str()) {
                return None;
            }
            let line = std::fs::read_to_string(task.path().join("stat")).ok()?;
            line.rsplit_once(") ")?.1.chars().next()
        })
        .collect()
}

#[test]
fn dropped_shim_leaves_its_ptrace_stops_to_the_tracer_and_is_reaped_at_its_end() {
    alone!({
        let mut spawner = ShimSpawner::new("/bin/sleep");
        spawner.arg("100").detached(true).stdin(Stdio::null());
        spawner.stdout(Stdio::null()).stderr(Stdio::null());
        // SAFETY: one system call.
        unsafe {
            spawner.pre_exec(|| {
                libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0);
                Ok(())
            })
        };
        let shim = spawner.spawn().expect("spawn");
        let pid = shim.child.pid().as_raw_nonzero().get();
        until("the stop of its exec", || {
            (stop_of(pid) == Some(libc::SIGTRAP)).then_some(())
        });
        // No watcher: a thread waits for it.
        seccomp::refuse(&[(libc::SYS_epoll_create1, libc::EMFILE)]);
        let process = shim.child.process().clone();
        drop(shim);
        // It waits, or it has had its answer and is gone.
        until("a thread asleep or none", || {
            other_threads()
                .iter()
                .all(|&state| state == 'S')
                .then_some(())
        });
        assert_eq!(stop_of(pid), Some(libc::SIGTRAP), "the tracer's stop");
        process
            .send_signal(pidfd_watcher::Signal::KILL)
            .expect("kill");
        until("it is reaped", || {
            proc_fs::children_of(std::process::id().cast_signed())
                .is_empty()
                .then_some(())
        });
    });
}
