//! Values as serde reads and writes them.

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{ShimIdentity, Tally};

/// The text that [`ShimIdentity::save`] writes: one format, which is checked in one place.
impl Serialize for ShimIdentity {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ShimIdentity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<ShimIdentity, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(Error::custom)
    }
}

#[derive(Serialize)]
#[serde(rename = "Tally")]
struct Written {
    count: Option<u64>,
    pids: Vec<i32>,
}

impl Serialize for Tally {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let pids = self.pids().iter().map(|pid| pid.as_raw_nonzero().get());
        let written = Written {
            count: self.count(),
            pids: pids.collect(),
        };
        written.serialize(serializer)
    }
}
