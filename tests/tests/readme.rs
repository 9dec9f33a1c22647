//! The examples of README.md compile: each of its Rust blocks stands in this file, word for word.

#![allow(dead_code, unused_variables, clippy::undocumented_unsafe_blocks)]

use std::error::Error;
use std::fs;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use fd_preserve::PreserveFds;
use pidfd_watcher::{Process, Signal, Watcher};
use shim_spawner::{ShimHandler, ShimIdentity, ShimSpawner, StopPolicy};
use watchdog_pipe::Watchdog;

mod supervised {
    use shim_spawner::{ShimHandler, ShimSpawner, Stdio, Supervisor};

    fn main() -> Result<(), Box<dyn std::error::Error>> {
        let server = ShimSpawner::new("rust-analyzer") // any program
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .supervised(Supervisor::found()) // `watchdog-shim`, beside this program or in PATH
            .spawn()?; // the server runs, or the error says why not
        let mut server = ShimHandler::new(server);
        // talk to it by server.take_stdin() and server.take_stdout(), then:
        let report = server.stop()?; // SIGTERM to the tree, a grace period, SIGKILL to what is left
        println!("the server ended: {:?}", report.exit().status);
        Ok(())
    }
}

fn watchdog() -> Result<(), Box<dyn Error>> {
    let (keepalive, setup) = watchdog_pipe::Builder::new()
        .stop_policy(StopPolicy::new())
        .channel()?;
    // spawn the child with setup.fds() and setup.env(), then:
    drop(setup);
    keepalive.release()?; // lets the child live on; dropping the keepalive ends the child

    // in the child, first thing in main; a program that nobody supervises gets `None`, even if
    // its parent is supervised
    if let Some(watchdog) = unsafe { Watchdog::from_env() }? {
        watchdog.enforce_inherited()?; // SIGTERM to itself, grace period, SIGKILL, _exit
    }
    Ok(())
}

fn descriptors(listener: OwnedFd, log: OwnedFd) -> Result<(), Box<dyn Error>> {
    let mut plan = PreserveFds::new();
    plan.map_fd(listener, 3)?.preserve_fd(log)?;
    let mut command = Command::new("/usr/libexec/worker");
    let applied = plan.apply(&mut command)?;
    let child = command.spawn(); // a missing program is reported as such, whatever the numbers
    if let Err(error) = &child {
        eprintln!("{error} {:?}", applied.explain(error));
    }
    Ok(())
}

async fn processes() -> Result<(), Box<dyn Error>> {
    let mut child = Command::new("worker").spawn()?;
    let process = Process::from_child(&mut child)?;
    let handle = Watcher::global()?.watch(&process, |exit| println!("{:?}", exit.status))?;
    process.send_signal(Signal::TERM)?; // this process, or an error
    if process.wait_timeout(Duration::from_secs(5))?.is_none() {
        process.send_signal(Signal::KILL)?;
    }
    let exit = process.exited().await?; // any executor; exit.status is never an invented one
    let _ = handle.cancel(); // from here on the callback has run or never will
    process.reap()?; // nothing else reaps, unless asked to
    Ok(())
}

fn shims(socket: OwnedFd, path: &Path) -> Result<(), Box<dyn Error>> {
    let shim = ShimSpawner::new("/usr/libexec/my-shim")
        .map_fd(socket, 5)
        .config(b"token = secret") // a sealed memory file, not the command line
        .stop_policy(StopPolicy::new().grace(Duration::from_secs(10)))
        .identity_file(path) // on the disk before the program runs
        .spawn()?;
    let mut shim = ShimHandler::new(shim);
    let report = shim.stop()?; // a shim with a watchdog also ends if this is dropped or we die
    let again = ShimHandler::adopt(&ShimIdentity::load(path)?)?; // after a restart
    Ok(())
}

/// The lines, without what stands before and behind them.
fn lines(text: &str) -> Vec<&str> {
    text.lines().map(str::trim).collect()
}

fn blocks(page: &str) -> Vec<Vec<&str>> {
    let fenced = page.split("```").skip(1).step_by(2);
    let rust = fenced.filter_map(|block| block.strip_prefix("rust\n"));
    rust.map(|block| lines(block.trim_end())).collect()
}

#[test]
fn every_rust_example_of_the_readme_is_compiled_here() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let page = fs::read_to_string(root.join("README.md")).expect("read the page");
    let source = lines(include_str!("readme.rs"));
    let blocks = blocks(&page);
    assert!(blocks.len() >= 5, "{blocks:?}");
    for block in &blocks {
        let stands = source.windows(block.len()).any(|part| part == block);
        assert!(stands, "not in this file: {block:#?}");
    }
    // A program that links nothing of this workspace comes first.
    let first = blocks.first().expect("a block").join("\n");
    assert!(first.contains(".supervised("), "{first}");
}
