//! A filter that kills a thread of ours on its way, and nothing else.

use std::process::{Command, Stdio};

use watchdog_pipe::{StopPolicy, Watchdog};
use workspace_tests::{Guard, alone, seccomp};

#[test]
fn protection_whose_thread_is_killed_at_its_start_is_an_error_and_does_not_hang() {
    alone!({
        let (read, write) =
            rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).expect("pipe");
        // Another process has the write end, and this one has none.
        let mut holder = Command::new("sleep");
        holder
            .arg("100")
            .stdin(Stdio::null())
            .stdout(write)
            .stderr(Stdio::null());
        let _parent = Guard::spawn(&mut holder);
        drop(holder);
        let watchdog = Watchdog::from_fd(read).expect("adopt");
        // The C library's first call in a new thread.
        seccomp::kill_thread_at(&[libc::SYS_set_robust_list, libc::SYS_rseq]);
        let error = watchdog.enforce(StopPolicy::new()).expect_err("no thread");
        assert!(error.to_string().contains("killed"), "{error}");
    });
}
