//! Where the programs that play in the demo are: beside its own.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Actors {
    pub(super) runtime: PathBuf,
    pub(super) shim: PathBuf,
    pub(super) http_server: PathBuf,
    pub(super) watchdog_shim: PathBuf,
}

impl Actors {
    pub(super) fn find() -> Result<Actors> {
        let own = std::env::current_exe().context("find this program")?;
        let beside = |name: &str| {
            let path = own.with_file_name(name);
            if !path.is_file() {
                bail!(
                    "{} was not built: `cargo xtask demo` builds all",
                    path.display()
                );
            }
            Ok(path)
        };
        Ok(Actors {
            runtime: beside("demo_runtime")?,
            shim: beside("demo_shim")?,
            http_server: beside("http_server")?,
            // As built for this package.
            watchdog_shim: beside("shim_under_test")?,
        })
    }
}
