//! What is put before COMMAND.

use std::path::Path;
use std::process::{Command, Stdio};

use workspace_tests::play;

const SHIM: &str = env!("CARGO_BIN_EXE_shim_under_test");
pub const COMMAND: &str = env!("CARGO_BIN_EXE_told_command");

pub const BARE: &str = "COMMAND alone";
pub const TINI: &str = "tini -s -p SIGKILL";
pub const SUBREAPER: &str = "shim, subreaper";
pub const PIDNS: &str = "shim, pidns";
pub const CGROUP: &str = "shim, cgroup";
pub const BWRAP: &str = "bwrap";
pub const BWRAP_PIDNS: &str = "bwrap --unshare-pid";

/// A name and the words before COMMAND.
#[derive(Clone, Debug)]
pub struct Contender {
    pub name: &'static str,
    words: Vec<String>,
}

impl Contender {
    fn new(name: &'static str, words: &str) -> Contender {
        let words = words.split(' ').filter(|word| !word.is_empty());
        Contender {
            name,
            words: words.map(str::to_owned).collect(),
        }
    }

    /// The shim; `None`, with the reason on standard error, where this machine has no such
    /// containment. More options may follow `contain`.
    pub fn shim(name: &'static str, contain: &str) -> Option<Contender> {
        Contender::shim_at(SHIM, name, contain)
    }

    /// The same, of a shim that was built otherwise.
    fn shim_at(shim: &str, name: &'static str, contain: &str) -> Option<Contender> {
        let kind = contain.split(' ').next().unwrap_or(contain);
        play::can(shim, kind).then(|| {
            let words = format!("{shim} --contain={contain} --");
            Contender::new(name, &words)
        })
    }

    /// Another tool, by its absolute path; `None`, and a line that says so, where it is not
    /// installed.
    pub fn tool(name: &'static str, words: &str) -> Option<Contender> {
        let (tool, rest) = words.split_once(' ').unwrap_or((words, ""));
        let found = ["/usr/bin", "/bin", "/usr/local/bin", "/usr/sbin"]
            .map(|folder| Path::new(folder).join(tool))
            .into_iter()
            .find(|path| path.exists());
        if found.is_none() {
            eprintln!("skipped: {tool} is not installed");
        }
        Some(Contender::new(
            name,
            &format!("{} {rest}", found?.display()),
        ))
    }

    /// COMMAND alone first.
    pub fn all(other: Option<&str>) -> Vec<Contender> {
        let mut all = vec![Contender::new(BARE, "")];
        all.extend(Contender::between(other));
        all
    }

    /// All that stand between a runtime and COMMAND. `other` is a shim that was built otherwise.
    pub fn between(other: Option<&str>) -> Vec<Contender> {
        let all = [
            Contender::tool(TINI, "tini -s -p SIGKILL --"),
            Contender::tool("dumb-init", "dumb-init --"),
            Contender::tool("catatonit", "catatonit --"),
            Contender::tool(BWRAP, "bwrap --dev-bind / / --die-with-parent --"),
            Contender::tool(
                BWRAP_PIDNS,
                "bwrap --dev-bind / / --proc /proc --die-with-parent --unshare-pid --",
            ),
            Contender::shim(SUBREAPER, "subreaper"),
            Contender::shim(CGROUP, "cgroup"),
            Contender::shim(PIDNS, "pidns"),
            other.and_then(|shim| Contender::shim_at(shim, "other shim, subreaper", "subreaper")),
            other.and_then(|shim| Contender::shim_at(shim, "other shim, cgroup", "cgroup")),
            other.and_then(|shim| Contender::shim_at(shim, "other shim, pidns", "pidns")),
        ];
        all.into_iter().flatten().collect()
    }

    /// The program and its arguments.
    pub fn line(&self, command: &[&str]) -> Vec<String> {
        let command = command.iter().map(|word| (*word).to_owned());
        self.words.iter().cloned().chain(command).collect()
    }

    /// The same to be spawned, in the environment of a service.
    pub fn command(&self, command: &[&str]) -> Command {
        let line = self.line(command);
        let mut command = Command::new(&line[0]);
        command
            .args(&line[1..])
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .stdin(Stdio::null());
        command
    }
}
