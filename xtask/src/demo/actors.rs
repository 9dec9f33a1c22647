//! Building the programs that play in the demo.

use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::cargo;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Actors {
    pub(super) runtime: PathBuf,
    pub(super) shim: PathBuf,
    pub(super) http_server: PathBuf,
    pub(super) watchdog_shim: PathBuf,
}

impl Actors {
    pub(super) fn build() -> Result<Actors> {
        let output = cargo::cargo(["build", "--quiet", "--package", "workspace-tests"])
            .args([
                "--bin",
                "demo_runtime",
                "--bin",
                "demo_shim",
                "--bin",
                "http_server",
                "--bin",
                "shim_under_test",
            ])
            // Where a program ended up is cargo's to say: target folder and profile are configurable.
            .args(["--message-format", "json-render-diagnostics"])
            .stderr(Stdio::inherit())
            .output()
            .context("run cargo build")?;
        if !output.status.success() {
            bail!("the demo's programs do not build");
        }
        let messages = String::from_utf8(output.stdout).context("cargo's messages")?;
        let find = |name: &str| {
            executable(&messages, name).with_context(|| format!("cargo built no {name}"))
        };
        Ok(Actors {
            runtime: find("demo_runtime")?,
            shim: find("demo_shim")?,
            http_server: find("http_server")?,
            // Of the same package as the others.
            watchdog_shim: find("shim_under_test")?,
        })
    }
}

/// <https://doc.rust-lang.org/cargo/reference/external-tools.html#artifact-messages>
fn executable(messages: &str, name: &str) -> Option<PathBuf> {
    messages.lines().find_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        let path = message["executable"].as_str()?;
        (message["target"]["name"] == name).then(|| PathBuf::from(path))
    })
}
