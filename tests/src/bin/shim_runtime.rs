//! A runtime: spawns boxes, and is dropped, ended or killed by the test.
//!
//! `shim_runtime BOX` follows lines on standard input: `attached` and `detached` spawn a box and answer
//! with its pid once it is up, `drop` drops every handler and answers, the end of the input ends it.
//! `shim_runtime BOX churn` spawns, stops and drops boxes until it is killed.

use std::io::{BufRead, BufReader, Write};
use std::time::Duration;

use shim_spawner::{ShimHandler, ShimSpawner, Stdio, StopPolicy};

fn main() {
    let mut args = std::env::args().skip(1);
    let program = args.next().expect("the box's program");
    if args.next().is_some() {
        churn(&program);
    }
    let mut handlers = Vec::new();
    for line in std::io::stdin().lines() {
        let answer = match line.expect("a line").as_str() {
            "drop" => {
                handlers.clear();
                "dropped".to_string()
            }
            kind => {
                let mut spawner = spawner(&program, kind == "detached");
                let mut handler =
                    ShimHandler::new(spawner.stdout(Stdio::piped()).spawn().expect("spawn"));
                let mut said = String::new();
                let stdout = handler.take_stdout().expect("piped");
                BufReader::new(stdout)
                    .read_line(&mut said)
                    .expect("the box speaks");
                assert_eq!(said.trim_end(), kind);
                let pid = handler.pid().as_raw_nonzero().to_string();
                handlers.push(handler);
                pid
            }
        };
        println!("{answer}");
        std::io::stdout().flush().expect("the test listens");
    }
}

fn spawner(program: &str, detached: bool) -> ShimSpawner {
    let mut spawner = ShimSpawner::new(program);
    spawner
        .stdin(Stdio::null())
        .detached(detached)
        .stop_policy(StopPolicy::new().grace(Duration::from_secs(20)));
    spawner
}

fn churn(program: &str) -> ! {
    let mut spawner = spawner(program, false);
    spawner.stdout(Stdio::null());
    loop {
        let mut stopped = ShimHandler::new(spawner.spawn().expect("spawn"));
        let dropped = ShimHandler::new(spawner.spawn().expect("spawn"));
        stopped.stop().expect("stop");
        drop(dropped);
    }
}
