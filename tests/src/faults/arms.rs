//! In whom a fault may come at this moment.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use super::marker::Marker;

/// Threads by their numbers.
#[derive(Debug, Default)]
pub struct Arms {
    armed: Option<Armed>,
    /// Whether it counts: a program that was executed does not, unless it says so, and neither do
    /// those that it starts.
    counts: BTreeMap<i32, bool>,
}

#[derive(Debug)]
struct Armed {
    /// Threads that were there already.
    there: BTreeSet<i32>,
    /// All that are made later have higher numbers.
    last: i32,
}

impl Arms {
    pub fn follow(&mut self, marker: Marker, thread: i32) {
        match marker {
            // Children that were there before are none of the operation's.
            Marker::Arm => {
                self.counts.insert(thread, true);
                let there = threads_of(group_of(thread).unwrap_or(thread));
                self.armed = Some(Armed {
                    there,
                    last: last_number(),
                });
            }
            Marker::ArmOthers => {
                self.armed = Some(Armed {
                    there: BTreeSet::new(),
                    last: thread,
                });
            }
            Marker::Disarm => self.armed = None,
            Marker::Include => {
                self.counts.insert(thread, true);
            }
        }
    }

    /// The thread is about to execute a program.
    pub fn exclude(&mut self, thread: i32) {
        self.counts.insert(thread, false);
    }

    pub fn are_on(&mut self, thread: i32) -> bool {
        let Some(armed) = &self.armed else {
            // Seen now, while its parent can still be told.
            self.counts(thread);
            return false;
        };
        (thread > armed.last || armed.there.contains(&thread)) && self.counts(thread)
    }

    fn counts(&mut self, thread: i32) -> bool {
        if let Some(known) = self.counts.get(&thread) {
            return *known;
        }
        let maker = match group_of(thread) {
            Some(group) if group != thread => Some(group),
            _ => field(thread, "PPid:"),
        };
        // The first of all is the subject, whose parent is pid 1.
        let counts = maker
            .filter(|maker| *maker > 1)
            .is_none_or(|maker| self.counts(maker));
        self.counts.insert(thread, counts);
        counts
    }
}

fn group_of(thread: i32) -> Option<i32> {
    field(thread, "Tgid:")
}

fn field(thread: i32, name: &str) -> Option<i32> {
    let status = fs::read_to_string(format!("/proc/{thread}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().parse().ok()
}

fn threads_of(process: i32) -> BTreeSet<i32> {
    let entries = fs::read_dir(format!("/proc/{process}/task"));
    let entries = entries.into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

/// The last number that was given away in this PID namespace: the last word of /proc/loadavg.
fn last_number() -> i32 {
    let text = fs::read_to_string("/proc/loadavg").expect("/proc/loadavg");
    let word = text.split_whitespace().next_back().expect("a word");
    word.parse().expect("a number")
}
