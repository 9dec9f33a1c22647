//! A shim under tokio: its output is one of tokio's streams; its exit, a time and a stop are
//! futures. No thread waits for it (`spawn_blocking`), and no signal handler is needed.
//!
//! ```console
//! $ cargo run -p shim-spawner --example tokio
//! ```

use std::error::Error;
use std::time::Duration;

use shim_spawner::{ShimHandler, ShimSpawner, Stdio, StopPolicy};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::unix::pipe;

/// Obeys SIGTERM by exit code 3; its child does not.
const SCRIPT: &str = "trap 'exit 3' TERM; (trap '' TERM; exec sleep 1000) & echo ready; wait";

pub(crate) fn main() -> Result<(), Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(supervise())
}

async fn supervise() -> Result<(), Box<dyn Error>> {
    let shim = ShimSpawner::new("sh")
        .args(["-c", SCRIPT])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stop_policy(StopPolicy::new().grace(Duration::from_millis(200)))
        .spawn()?;
    let mut shim = ShimHandler::new(shim);

    // Our end of the pipe becomes tokio's.
    let output = shim.take_stdout().ok_or("not piped")?;
    let output = pipe::Receiver::from_owned_fd(output.into())?;
    let mut lines = BufReader::new(output).lines();
    println!("the shim says: {:?}", lines.next_line().await?);

    // Whichever comes first. What is dropped has done nothing.
    let exit = tokio::select! {
        exit = shim.wait_async() => exit?,
        () = tokio::time::sleep(Duration::from_millis(100)) => {
            let report = shim.stop_async().await?;
            println!("killed after the grace: {:?}", report.killed().pids());
            assert!(report.is_empty());
            report.exit()
        }
    };
    println!("the shim ended: {:?}", exit.status);
    Ok(())
}
