//! One of many children of a runtime, tied to it as it is told. It writes a byte to standard output
//! once it is, and sleeps until it is killed.

use std::io::Write;
use std::process::ExitCode;

use rustix::process::{Signal, getppid, set_parent_process_death_signal};
use watchdog_pipe::Watchdog;
use workspace_tests::orders::{Order, Tie};

fn main() -> ExitCode {
    // SAFETY: no inherited descriptor was adopted before, and no other thread runs.
    let watchdog = unsafe { Watchdog::from_env() }.expect("adopt");
    Order::obey(|order| {
        let Order::Member(tie) = order else {
            panic!("not for this program: {order:?}");
        };
        let mut monitor = None;
        match tie {
            Tie::Watchdog => {
                let watchdog = watchdog.expect("a watchdog");
                monitor = Some(watchdog.enforce_inherited().expect("enforce"));
            }
            Tie::Pdeathsig { threads } => {
                let parent = getppid();
                set_parent_process_death_signal(Some(Signal::KILL)).expect("PDEATHSIG");
                // A parent that was gone before sends nothing.
                assert_eq!(getppid(), parent);
                for _ in 0..threads {
                    std::thread::spawn(sleep);
                }
            }
            Tie::Nothing => {}
        }
        let mut out = std::io::stdout();
        out.write_all(b".")
            .and_then(|()| out.flush())
            .expect("a reader");
        sleep();
        drop(monitor);
        ExitCode::SUCCESS
    })
}

fn sleep() {
    loop {
        std::thread::park();
    }
}
