//! Which faults are wanted.

use serde::{Deserialize, Serialize};

/// Which faults.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Wish {
    /// Those whose names begin so.
    pub only: Option<String>,
    /// Of so many shares of all faults ...
    pub shares: u64,
    /// ... this one, counted from 0.
    pub share: u64,
    /// Those that come first in no order, until so much time has passed.
    pub seconds: Option<u64>,
    /// Of those that are as they should be nothing is said.
    pub terse: bool,
}
