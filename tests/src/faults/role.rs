//! What a scenario tells a program that it starts.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Says to a program that is executed as `watchdog-shim` whether faults come from its start on
/// (`arm`), or when the injector is told so (`include`).
pub const ARM: &str = "WORKSPACE_TESTS_FAULTS";

/// What a child is to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Role {
    /// Say in a line what it has been given, and wait for its end.
    Tell,
    /// Have a watchdog, and write into the file what came of it.
    Ward {
        ward: Ward,
        armed: bool,
        said: PathBuf,
    },
}

/// What a child does with its watchdog.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ward {
    /// Adopt it under faults, and wait for the verdict without them.
    Adopt,
    /// Adopt it and have it enforced, under faults.
    Enforce,
    /// Wait for the verdict under faults.
    Wait,
    /// Take the protection off again, under faults.
    Cancel,
    /// Be stopped.
    Die,
    /// Be stopped, and take no stop signal.
    DieDeaf,
}
