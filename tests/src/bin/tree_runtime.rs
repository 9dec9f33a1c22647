//! A runtime that starts one command and waits for ever.

use std::process::{Command, ExitCode};

use shim_spawner::{ShimSpawner, StopPolicy};
use workspace_tests::orders::{Link, Order};

fn main() -> ExitCode {
    Order::obey(|order| match order {
        Order::Runtime {
            command,
            link,
            grace,
        } => {
            let (program, args) = command.split_first().expect("a program");
            match link {
                Link::Watchdog => {
                    let shim = ShimSpawner::new(program)
                        .args(args)
                        .stop_policy(StopPolicy::new().grace(grace))
                        .spawn()
                        .expect("spawn");
                    wait_for_ever(shim)
                }
                Link::Parent => wait_for_ever(Command::new(program).args(args).spawn()),
            }
        }
        other => panic!("not for this program: {other:?}"),
    })
}

fn wait_for_ever(_held: impl Sized) -> ExitCode {
    loop {
        std::thread::park();
    }
}
