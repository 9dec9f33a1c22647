//! A runtime that starts one command and waits for ever. It is its own supervisor, too.

use std::fs;
use std::process::{Command, ExitCode};

use shim_spawner::{ShimHandler, ShimSpawner, StopPolicy, Supervisor};
use workspace_tests::orders::{Link, Order};

fn main() -> ExitCode {
    // SAFETY: first in main.
    unsafe { watchdog_shim::run_if_asked() };
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
                Link::Parent => wait_for_ever(Command::new(program).args(named(args)).spawn()),
            }
        }
        Order::SupervisingRuntime {
            folder,
            command,
            grace,
            release,
        } => {
            let (program, args) = command.split_first().expect("a program");
            let shim = ShimSpawner::new(program)
                .args(args)
                .stop_policy(StopPolicy::new().grace(grace))
                .identity_file(folder.join("identity"))
                .supervised(Supervisor::this_program())
                .spawn()
                .expect("spawn");
            let mut shim = ShimHandler::new(shim);
            if release {
                shim.release().expect("the supervisor listens");
                fs::write(folder.join("released"), "").expect("say so");
            }
            wait_for_ever(shim)
        }
        other => panic!("not for this program: {other:?}"),
    })
}

/// The arguments, with this process's own pid behind the one that ends with a colon.
fn named(args: &[String]) -> impl Iterator<Item = String> + '_ {
    args.iter().map(|arg| match arg.strip_suffix("parent:") {
        Some(option) => format!("{option}parent:{}", std::process::id()),
        None => arg.clone(),
    })
}

fn wait_for_ever(_held: impl Sized) -> ExitCode {
    loop {
        std::thread::park();
    }
}
