//! A runtime: spawns boxes, and is dropped, ended or killed by the test.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use shim_spawner::{ShimHandler, ShimSpawner, Stdio, StopPolicy};
use workspace_tests::orders::Order;

fn main() -> ExitCode {
    Order::obey(|order| match order {
        Order::StartBoxes { program } => {
            follow_orders(&program);
            ExitCode::SUCCESS
        }
        Order::Churn { program } => churn(&program),
        other => panic!("not for this program: {other:?}"),
    })
}

fn follow_orders(program: &Path) {
    let mut handlers = Vec::new();
    for line in std::io::stdin().lines() {
        let answer = match Order::parse(&line.expect("a line")) {
            Order::DropBoxes => {
                handlers.clear();
                "dropped".to_string()
            }
            Order::StartBox { detached } => {
                let mut spawner = spawner(program, detached);
                let mut handler =
                    ShimHandler::new(spawner.stdout(Stdio::piped()).spawn().expect("spawn"));
                let mut said = String::new();
                let stdout = handler.take_stdout().expect("piped");
                BufReader::new(stdout)
                    .read_line(&mut said)
                    .expect("the box speaks");
                let kind = if detached { "detached" } else { "attached" };
                assert_eq!(said.trim_end(), kind);
                let pid = handler.pid().as_raw_nonzero().to_string();
                handlers.push(handler);
                pid
            }
            other => panic!("not for this program: {other:?}"),
        };
        println!("{answer}");
        std::io::stdout().flush().expect("the test listens");
    }
}

fn spawner(program: &Path, detached: bool) -> ShimSpawner {
    let mut spawner = ShimSpawner::new(program);
    spawner
        .stdin(Stdio::null())
        .detached(detached)
        .stop_policy(StopPolicy::new().grace(Duration::from_secs(20)));
    spawner
}

fn churn(program: &Path) -> ! {
    let mut spawner = spawner(program, false);
    spawner.stdout(Stdio::null());
    loop {
        let mut stopped = ShimHandler::new(spawner.spawn().expect("spawn"));
        let dropped = ShimHandler::new(spawner.spawn().expect("spawn"));
        let _ = stopped.stop().expect("stop");
        drop(dropped);
    }
}
