//! A user's systemd, in namespaces and a cgroup of its own.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use shim_spawner::Cgroup;

use crate::installed::installed;
use crate::spawn_case::needs_root;
use crate::{Dialogue, Folder, random, time_limit};

/// It sees no process and no cgroup but its own, so that it can move none.
#[derive(Debug)]
pub struct Systemd {
    folder: Folder,
    /// A shell beside it, which speaks to it.
    shell: Option<Dialogue>,
    cgroup: Option<Cgroup>,
}

const SYSTEMD: &str = "/lib/systemd/systemd";

/// Enters the cgroup $1, and becomes a shell in new namespaces.
const ENTER: &str = "echo $$ > \"$1/cgroup.procs\" && \
                     exec unshare -pfmC --mount-proc --kill-child sh";

/// It is told that this machine runs systemd.
const SET_UP: &str = "mount -t cgroup2 none /sys/fs/cgroup && mount -t tmpfs none /run && \
                      mkdir -p /run/systemd/system && { /lib/systemd/systemd --user & } && \
                      until [ -S $XDG_RUNTIME_DIR/systemd/private ]; do sleep 0.02; done; echo up";

impl Systemd {
    /// With this unit, "service". `None` where there is none, which is said.
    pub fn start(unit: &str) -> Option<Systemd> {
        if !needs_root() || !installed(&["systemctl", "unshare"]) {
            return None;
        }
        if !Path::new(SYSTEMD).exists() {
            eprintln!("skipped: no {SYSTEMD}");
            return None;
        }
        if !namespaces() {
            eprintln!("skipped: no namespaces with a cgroup mount");
            return None;
        }
        let made = Cgroup::make(format!("workspace-tests-{:x}", random().u64(..)));
        let cgroup = made
            .inspect_err(|error| {
                eprintln!("skipped: no cgroup of version 2 can be made here: {error}");
            })
            .ok()?;
        let folder = Folder::new();
        let units = folder.join("systemd/user");
        fs::create_dir_all(&units).expect("create a folder");
        fs::write(units.join("service.service"), unit).expect("write the unit");
        fs::write(units.join("default.target"), "[Unit]\n").expect("write the target");
        let mut command = Command::new("sh");
        command
            .args(["-c", ENTER, "sh"])
            .arg(cgroup.path())
            .env("XDG_CONFIG_HOME", folder.path())
            .env("XDG_RUNTIME_DIR", folder.path())
            .env("HOME", folder.path())
            .stderr(Stdio::null());
        let mut systemd = Systemd {
            shell: Some(Dialogue::spawn(&mut command)),
            folder,
            cgroup: Some(cgroup),
        };
        assert_eq!(systemd.ask(SET_UP), "up");
        Some(systemd)
    }

    fn ask(&mut self, command: &str) -> String {
        let shell = self.shell.as_mut().expect("it runs");
        shell.say(command);
        shell.hear()
    }

    /// A verb of systemctl's for the service, which succeeds.
    pub fn systemctl(&mut self, verb: &str) {
        let code = self.ask(&format!("systemctl --user {verb} service; echo $?"));
        assert_eq!(code, "0", "{verb}");
    }

    /// How many descriptors are in the store.
    pub fn stored(&mut self) -> String {
        self.ask("systemctl --user show service --value -p NFileDescriptorStore")
    }

    /// What the service has written to `%E/said`.
    pub fn said(&self) -> String {
        fs::read_to_string(self.folder.join("said")).unwrap_or_default()
    }
}

impl Drop for Systemd {
    fn drop(&mut self) {
        let cgroup = self.cgroup.take().expect("dropped once");
        let _ = cgroup.kill();
        self.shell = None;
        let _ = cgroup.wait_empty(time_limit());
        remove_below(cgroup.path());
    }
}

/// A container may refuse them to its root.
fn namespaces() -> bool {
    let mut trial = Command::new("unshare");
    trial.args(["-pfmC", "--mount-proc", "mount"]).args([
        "-t",
        "cgroup2",
        "none",
        "/sys/fs/cgroup",
    ]);
    trial.status().is_ok_and(|status| status.success())
}

/// Cgroups, from the leaves up.
fn remove_below(cgroup: &Path) {
    for entry in fs::read_dir(cgroup).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            remove_below(&entry.path());
            let _ = fs::remove_dir(entry.path());
        }
    }
}
