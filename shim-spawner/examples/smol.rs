//! A shim under smol: its output is one of async-io's streams; its exit, a time and a stop are
//! futures. No thread waits for it (`unblock`), and no signal handler is needed.
//!
//! ```console
//! $ cargo run -p shim-spawner --example smol
//! ```

use std::error::Error;
use std::time::Duration;

use shim_spawner::{ShimHandler, ShimSpawner, Stdio, StopPolicy};
use smol::future;
use smol::io::{AsyncBufReadExt, BufReader};
use smol::stream::StreamExt;
use smol::{Async, Timer};

/// Obeys SIGTERM by exit code 3; its child does not.
const SCRIPT: &str = "trap 'exit 3' TERM; (trap '' TERM; exec sleep 1000) & echo ready; wait";

pub(crate) fn main() -> Result<(), Box<dyn Error>> {
    smol::block_on(supervise())
}

async fn supervise() -> Result<(), Box<dyn Error>> {
    let shim = ShimSpawner::new("sh")
        .args(["-c", SCRIPT])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stop_policy(StopPolicy::new().grace(Duration::from_millis(200)))
        .spawn()?;
    let mut shim = ShimHandler::new(shim);

    // Our end of the pipe becomes async-io's.
    let output = Async::new(shim.take_stdout().ok_or("not piped")?)?;
    let mut lines = BufReader::new(output).lines();
    println!("the shim says: {:?}", lines.next().await.transpose()?);

    // Whichever comes first. What is dropped has done nothing.
    let ended = async { Some(shim.wait_async().await) };
    let late = async {
        Timer::after(Duration::from_millis(100)).await;
        None
    };
    let exit = if let Some(exit) = future::or(ended, late).await {
        exit?
    } else {
        let report = shim.stop_async().await?;
        println!("killed after the grace: {:?}", report.killed().pids());
        assert!(report.is_empty());
        report.exit()
    };
    println!("the shim ended: {:?}", exit.status);
    Ok(())
}
