//! Trees of processes that are known by a folder in their command lines.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use pidfd_watcher::{Process, Signal};
use rustix::process::Pid;

use crate::{proc_fs, until};

/// A folder of its own for one tree. What still lives of the tree is killed when the value goes, and the folder with it.
#[derive(Debug)]
pub struct Tree {
    folder: PathBuf,
}

impl Tree {
    /// A folder that nobody else has.
    #[allow(clippy::new_without_default, reason = "it makes a folder")]
    pub fn new() -> Tree {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("tree-{}-{number}-", std::process::id());
        let folder = std::env::temp_dir().join(name);
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir(&folder).expect("create the tree's folder");
        Tree { folder }
    }

    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Whether a file of that name is there.
    #[must_use]
    pub fn has(&self, file: &str) -> bool {
        self.folder.join(file).exists()
    }

    /// Waits until the whole tree lives.
    pub fn ready(&self) {
        until("the tree is ready", || self.has("ready").then_some(()));
    }

    /// Everybody whose command line names the folder, zombies left out.
    #[must_use]
    pub fn living(&self) -> Vec<i32> {
        let needle = self.folder.to_str().expect("a plain path").as_bytes();
        let is_ours = |pid: i32| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            line.windows(needle.len()).any(|part| part == needle)
        };
        let all = proc_fs::all().into_iter();
        all.filter(|stat| !matches!(stat.state, 'Z' | 'X') && is_ours(stat.pid))
            .map(|stat| stat.pid)
            .collect()
    }

    /// Waits until nobody is left.
    pub fn gone(&self) {
        until("nobody is left of the tree", || {
            self.living().is_empty().then_some(())
        });
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        for pid in self.living() {
            let opened = Pid::from_raw(pid).and_then(|pid| Process::open(pid).ok());
            // Looked at again behind the handle: the number may have gone to a stranger.
            if let Some(process) = opened
                && self.living().contains(&pid)
            {
                let _ = process.send_signal(Signal::KILL);
            }
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}
