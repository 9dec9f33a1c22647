//! The demo's runtime: starts shims and a tree under `watchdog-shim`, or adopts a shim that another
//! runtime has started.
//!
//! `demo_runtime start PLAN REPORTS` spawns every shim of the plan and its tree, saves the identity
//! of the detached shim, and waits to be killed. `demo_runtime adopt IDENTITY REPORTS` takes over
//! the shim that the file names, stops it, and exits.

use std::fs::{File, OpenOptions};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use shim_spawner::{ShimHandler, ShimIdentity, ShimSpawner, Stdio};
use watchdog_pipe::StopPolicy;

use workspace_tests::clock;
use workspace_tests::demo::wire::{Plan, ShimPlan, TreePlan, What, Wire};

/// Where `watchdog-shim` writes what happens.
const STATUS_FD: i32 = 3;

/// Longer than a shim gives its program, so that it is the shim that stops it.
const GRACE: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [verb, file, messages] = &args[..] else {
        eprintln!("usage: demo_runtime start PLAN REPORTS | adopt IDENTITY REPORTS");
        return ExitCode::from(2);
    };
    let done = Wire::connect(Path::new(messages))
        .context("connect to the director")
        .and_then(|wire| {
            let done = match verb.as_str() {
                "start" => start(Path::new(file), &wire),
                "adopt" => adopt(Path::new(file), &wire),
                _ => bail!("no such verb: {verb}"),
            };
            if let Err(error) = &done {
                wire.send(
                    "runtime",
                    clock::now(),
                    What::Failed {
                        error: format!("{error:#}"),
                    },
                )?;
            }
            done
        });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("demo_runtime: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start(plan: &Path, wire: &Wire) -> Result<()> {
    let plan: Plan = serde_json::from_slice(&std::fs::read(plan).context("read the plan")?)?;
    // Held for as long as the runtime lives: dropping a handler stops its shim.
    let mut handlers = Vec::new();
    for shim in &plan.shims {
        let handler = spawn(&plan, shim).with_context(|| format!("spawn {}", shim.name))?;
        handlers.push(handler);
    }
    handlers.push(supervise(&plan.tree).context("spawn the tree")?);
    wire.send("runtime", clock::now(), What::Ready)?;
    // Nothing more to do until it is killed, and nothing that could tell the shims of it.
    loop {
        std::thread::park();
    }
}

fn spawn(plan: &Plan, shim: &ShimPlan) -> Result<ShimHandler> {
    let mut spawner = ShimSpawner::new(&plan.shim);
    spawner
        .detached(shim.detached)
        .config(serde_json::to_vec(shim)?)
        .stop_policy(StopPolicy::new().grace(GRACE));
    if shim.detached {
        // On the disk before the shim runs: the runtime may be killed at any instant.
        spawner.identity_file(&plan.identity);
    }
    Ok(ShimHandler::new(spawner.spawn()?))
}

/// The server knows nothing of us: `watchdog-shim` holds the lifetime of all that it starts.
fn supervise(tree: &TreePlan) -> Result<ShimHandler> {
    let log = File::create(&tree.log).context("create the server's log")?;
    let status = OpenOptions::new().write(true).open(&tree.status);
    let status = status.context("open the pipe for the shim's status lines")?;
    let mut spawner = ShimSpawner::new(&tree.supervisor);
    spawner
        .arg(format!("--status-fd={STATUS_FD}"))
        .arg("--")
        .args(&tree.command)
        .map_fd(status, STATUS_FD)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .stop_policy(StopPolicy::new().grace(tree.grace));
    Ok(ShimHandler::new(spawner.spawn()?))
}

fn adopt(identity: &Path, wire: &Wire) -> Result<()> {
    let identity = ShimIdentity::load(identity).context("load the identity")?;
    let mut handler = ShimHandler::adopt(&identity).context("adopt the shim")?;
    let shim = handler.pid().as_raw_nonzero().get();
    let proven = identity.proven();
    wire.send("new runtime", clock::now(), What::Adopted { shim, proven })?;
    let report = handler.stop().context("stop the shim")?;
    let status = report.exit().status.map(|status| status.to_string());
    wire.send("new runtime", clock::now(), What::Stopped { shim, status })?;
    Ok(())
}
