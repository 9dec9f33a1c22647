//! What `watchdog-shim` says of its tree: the lines of its `--status-fd`, by a named pipe.
//!
//! A named one, since the runtime that the shim is started by is a program of its own.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, Result};
use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat};
use serde::Deserialize;

/// A line.
#[derive(Debug, PartialEq, Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub(super) enum Said {
    Started {
        pid: i32,
    },
    Stopping {
        cause: String,
        grace_ms: u64,
    },
    /// `None`: it died of a signal.
    Exited {
        code: Option<i32>,
    },
    Unkillable {
        count: u32,
    },
    Gone {
        killed: u32,
    },
    /// Nobody holds the other end any more.
    #[serde(skip)]
    End,
}

/// The director's end.
#[derive(Debug)]
pub(super) struct StatusPipe {
    /// `None` behind the end of the file: it would be readable for ever.
    file: Option<File>,
    /// The beginning of a line.
    rest: Vec<u8>,
    said: VecDeque<Said>,
}

impl StatusPipe {
    pub(super) fn make(path: &Path) -> Result<StatusPipe> {
        mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)
            .with_context(|| format!("make the pipe {}", path.display()))?;
        // Without waiting for a writer; until there was one, the pipe does not count as hung up.
        let flags = OFlags::NONBLOCK.bits().cast_signed();
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(flags)
            .open(path)
            .with_context(|| format!("open the pipe {}", path.display()))?;
        Ok(StatusPipe {
            file: Some(file),
            rest: Vec::new(),
            said: VecDeque::new(),
        })
    }

    /// To be polled; `None` behind the end.
    pub(super) fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.file.as_ref().map(AsFd::as_fd)
    }

    /// Takes in what there is now, without waiting. Only where a poll says that there is something:
    /// before the first writer came, a read is an end of file.
    pub(super) fn read(&mut self) -> Result<()> {
        let Some(file) = &mut self.file else {
            return Ok(());
        };
        let mut buffer = [0; 4096];
        match file.read(&mut buffer) {
            Ok(0) => {
                self.file = None;
                self.said.push_back(Said::End);
            }
            Ok(count) => {
                self.rest.extend(&buffer[..count]);
                while let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
                    let line: Vec<u8> = self.rest.drain(..=end).collect();
                    let said = serde_json::from_slice(&line).with_context(|| {
                        format!("watchdog-shim says {:?}", String::from_utf8_lossy(&line))
                    })?;
                    self.said.push_back(said);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error).context("read the shim's status lines"),
        }
        Ok(())
    }

    /// The next line that was read and not taken yet.
    pub(super) fn take(&mut self) -> Option<Said> {
        self.said.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(line: &str) -> Said {
        serde_json::from_str(line).unwrap()
    }

    #[test]
    fn lines_of_the_shim_are_understood() {
        let stopping = r#"{"event":"stopping","cause":"runtime-died","grace_ms":300}"#;
        let cause = "runtime-died".to_owned();
        let grace_ms = 300;
        assert_eq!(said(stopping), Said::Stopping { cause, grace_ms });
        let killed = r#"{"event":"exited","signal":15,"core_dumped":false}"#;
        assert_eq!(said(killed), Said::Exited { code: None });
        assert_eq!(
            said(r#"{"event":"gone","killed":1}"#),
            Said::Gone { killed: 1 }
        );
    }
}
