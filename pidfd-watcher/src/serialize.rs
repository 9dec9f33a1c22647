//! Values as serde writes them.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use serde::{Serialize, Serializer};

use crate::Exit;

#[derive(Serialize)]
#[serde(rename = "Exit")]
struct Written {
    pid: i32,
    status: Option<Status>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Status {
    Exited { code: i32 },
    Killed { signal: i32, core_dumped: bool },
}

impl Status {
    /// `None`: no end of a process.
    fn new(status: ExitStatus) -> Option<Status> {
        let exited = status.code().map(|code| Status::Exited { code });
        exited.or_else(|| {
            Some(Status::Killed {
                signal: status.signal()?,
                core_dumped: status.core_dumped(),
            })
        })
    }
}

impl Serialize for Exit {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let written = Written {
            pid: self.pid.as_raw_nonzero().get(),
            status: self.status.and_then(Status::new),
        };
        written.serialize(serializer)
    }
}
