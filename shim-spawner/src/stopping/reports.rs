//! A supervisor's reports about its tree: one JSON object a line.

use std::os::fd::OwnedFd;
use std::sync::Mutex;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, read};

use crate::Tally;

const GONE: &str = r#"{"event":"gone","killed":"#;
const UNKILLABLE: &str = r#"{"event":"unkillable","count":"#;

/// So many bytes are read at one look, and kept. A supervisor reports a few lines. Whoever else has
/// got hold of its pipe may write without end.
const KEPT: usize = 64 << 10;

/// The pipe of the reports, and the text that was read from it.
#[derive(Debug)]
pub(crate) struct Reports {
    pipe: OwnedFd,
    text: Mutex<Vec<u8>>,
}

impl Reports {
    /// `text` was read from `pipe` already.
    pub(crate) fn new(pipe: OwnedFd, text: Vec<u8>) -> Reports {
        Reports {
            pipe,
            text: Mutex::new(text),
        }
    }

    /// The killed and the remaining processes, as far as they were reported by now.
    pub(super) fn tallies(&self) -> (Tally, Tally) {
        // In a copy made by fork, the lock may be taken for ever.
        let Ok(mut text) = self.text.try_lock() else {
            return (Tally::unknown(), Tally::unknown());
        };
        // After an error, what was read before is still true.
        let _ = read_all(&self.pipe, &mut text);
        let text = String::from_utf8_lossy(&text);
        let last = |event: &str| text.lines().rev().find_map(|line| number(line, event));
        match (last(GONE), last(UNKILLABLE)) {
            (Some(killed), _) => (Tally::counted(killed), Tally::none()),
            (None, Some(left)) => (Tally::unknown(), Tally::counted(left)),
            (None, None) => (Tally::unknown(), Tally::unknown()),
        }
    }
}

fn number(line: &str, event: &str) -> Option<u64> {
    line.strip_prefix(event)?.strip_suffix('}')?.parse().ok()
}

/// Reads all that is there, without waiting.
fn read_all(pipe: &OwnedFd, text: &mut Vec<u8>) -> Result<(), Errno> {
    let mut bytes = [0; 512];
    for _ in 0..KEPT / bytes.len() {
        match poll(
            &mut [PollFd::new(pipe, PollFlags::IN)],
            Some(&Timespec::default()),
        ) {
            Err(Errno::INTR) => continue,
            Ok(0) => return Ok(()),
            polled => polled?,
        };
        match read(pipe, &mut bytes) {
            Err(Errno::INTR) => {}
            Ok(0) => return Ok(()),
            count => text.extend_from_slice(bytes.get(..count?).unwrap_or_default()),
        }
        // The last report counts.
        text.drain(..text.len().saturating_sub(KEPT));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::{PipeWriter, Write};
    use std::thread;

    use super::*;

    const LINE: &[u8] = b"{\"event\":\"gone\",\"killed\":7}\n";

    fn write_without_end(mut pipe: PipeWriter) {
        while pipe.write_all(LINE).is_ok() {}
    }

    #[test]
    fn reports_without_end_are_read_to_a_limit_and_the_last_one_counts() {
        let (read, write) = std::io::pipe().unwrap();
        let writer = thread::spawn(|| write_without_end(write));
        let reports = Reports::new(read.into(), vec![b'x'; 10 * KEPT]);
        while reports.tallies() != (Tally::counted(7), Tally::none()) {
            thread::yield_now();
        }
        for _ in 0..20 {
            assert!(reports.text.lock().unwrap().len() <= KEPT);
            let _ = reports.tallies();
        }
        drop(reports);
        writer.join().unwrap();
    }
}
