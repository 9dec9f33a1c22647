//! What a worker tells the director: a line of JSON for each case.

use std::io::{self, Write};

use serde::{Deserialize, Serialize};

use super::case::Kind;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Line {
    /// All was as it should be.
    Passed {
        kind: Kind,
        /// The name of the way in which children were created.
        method: String,
        sentinel: bool,
        /// So many steps the runtime had taken when it was killed.
        steps: u32,
        survivors: usize,
        settled_us: u64,
    },
    /// Something was not; the worker has said what, and has ended.
    Failed { number: u64 },
}

impl Line {
    /// All workers write to one pipe: a line is one write, which is short enough to be whole.
    pub(super) fn write(&self, mut to: impl Write) -> io::Result<()> {
        let mut line = serde_json::to_vec(self)?;
        line.push(b'\n');
        to.write_all(&line)
    }
}
