//! Values as serde reads and writes them.

use std::time::Duration;

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{StopPolicy, sys};

/// The form in which a policy is written: the same two numbers as in the environment variable.
#[derive(Serialize, Deserialize)]
#[serde(rename = "StopPolicy", deny_unknown_fields)]
struct Policy {
    signal: i32,
    grace_ms: u64,
}

impl Serialize for StopPolicy {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let policy = Policy {
            signal: self.stop_signal().as_raw(),
            grace_ms: self.grace_millis(),
        };
        policy.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for StopPolicy {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<StopPolicy, D::Error> {
        let policy = Policy::deserialize(deserializer)?;
        let signal = sys::signal_from_raw(policy.signal).ok_or_else(|| {
            Error::custom(format_args!("{} is no signal to stop by", policy.signal))
        })?;
        let grace = Duration::from_millis(policy.grace_ms);
        Ok(StopPolicy::new().signal(signal).grace(grace))
    }
}
