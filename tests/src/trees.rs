//! Trees of processes that are known by a folder in their command lines.

use std::fs;
use std::path::{Path, PathBuf};

use pidfd_watcher::{Process, Signal};
use rustix::process::Pid;

use crate::{Folder, proc_fs, until};

/// A folder of its own for one tree. What still lives of the tree is killed when the value goes,
/// and the folder with it.
#[derive(Debug)]
pub struct Tree {
    /// In a folder of the test's own: its path is no beginning of another one's.
    path: PathBuf,
    _folder: Folder,
}

impl Tree {
    #[allow(clippy::new_without_default, reason = "it makes a folder")]
    pub fn new() -> Tree {
        let folder = Folder::new();
        let path = folder.join("tree");
        fs::create_dir(&path).expect("create the tree's folder");
        Tree {
            path,
            _folder: folder,
        }
    }

    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.path
    }

    /// Whether a file of that name is there.
    #[must_use]
    pub fn has(&self, file: &str) -> bool {
        self.path.join(file).exists()
    }

    /// Waits until the whole tree lives.
    pub fn ready(&self) {
        until("the tree is ready", || self.has("ready").then_some(()));
    }

    /// Everybody whose command line names the folder, zombies left out.
    #[must_use]
    pub fn living(&self) -> Vec<i32> {
        let needle = self.path.to_str().expect("a plain path").as_bytes();
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
    }
}
