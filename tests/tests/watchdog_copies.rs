//! Copies made by fork are inert.

use std::thread;

use watchdog_pipe::{StopPolicy, Watchdog, channel};
use workspace_tests::alone;
use workspace_tests::fork::{Cue, Fork};

/// A copy of a monitor is cancelled: it returns, and the original is stopped all the same.
#[test]
fn cancel_of_a_monitors_copy_returns_and_leaves_the_protection_on() {
    alone!({
        let (keepalive, setup) = channel().expect("a link");
        let read = setup.fds().next().expect("one descriptor").0;
        let mut read = Some(read.try_clone_to_owned().expect("dup"));
        drop(setup);
        let mut keepalive = Some(keepalive);
        let (mut ours, mut theirs) = Cue::pair();
        let mut child = Fork::run(|| {
            // Inert, and with it goes this process's own write end.
            drop(keepalive.take());
            let watchdog = Watchdog::from_fd(read.take().expect("taken once")).expect("adopt");
            let mut monitor = Some(watchdog.enforce(StopPolicy::immediate()).expect("a thread"));
            Fork::run(|| {
                let copy = monitor.take().expect("taken once");
                assert_eq!(copy.cancel(), None);
            })
            .succeeds();
            theirs.give();
            loop {
                thread::park();
            }
        });
        ours.take();
        drop(keepalive);
        let status = child.wait();
        assert_eq!(
            std::os::unix::process::ExitStatusExt::signal(&status),
            Some(libc::SIGKILL),
            "{status}"
        );
    });
}
