//! The demo's command line.

use std::ffi::OsString;
use std::time::Duration;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::usage;

pub(super) const HELP: &str = "\
The main job on real programs: a runtime starts shims, is killed, and none of them outlives it.

Usage: cargo xtask demo [--attached N] [--timeout SECONDS] [--json] [--program COMMAND...]

Starts a runtime that spawns N attached shims and a detached one, each with a program behind it, and
watchdog-shim with a server that uses none of our crates and has a worker: a child in a session of its
own, which ignores SIGTERM. It asks every program for `GET / HTTP/1.0`. Then it kills the runtime with
SIGKILL and tells when each shim learned of it and why, when each process was gone, that the server
stopped in good order and its worker was killed after a grace, that the detached shim's program still
answers, and that a new runtime adopts that shim by its saved identity and stops it. At the end it
counts in /proc what was left behind. Exit status 0 only if everything was as it should be.

  --attached N       Attached shims, 1 to 64 (default 4).
  --timeout SECONDS  The longest wait for any single thing (default 10).
  --program COMMAND  What to put behind each shim instead of the built-in HTTP server: all words
                     that follow. {port} in a word becomes the port to listen on; where no word has
                     it, the port is appended as the last one. It is in the variable PORT too.
                     e.g. --program python3 -m http.server
  --json             One JSON document instead of text. Its fields:
    schema             1; a field is never removed or changed without a new number
    ok                 true if and only if the exit status is 0
    error              what went wrong, or null
    program            the words of --program, or the built-in's name
    runtime            pid, ready_ns, killed_ns, gone_ns (null until it happened)
    shims              for each: name, detached, pid, program_pid, port, answer (the first line),
                       answer_after_kill (detached), verdict, learned_ns (attached),
                       program_gone_ns, gone_ns, status
    tree               pid and shim_pids of watchdog-shim, program_pid (the server), worker_pid, port,
                       answer, cause (in the shim's words), learned_ns, good_order (of the server),
                       exit_code (its own), killed (by the shim), program_gone_ns, worker_gone_ns,
                       gone_ns, status (the shim's)
    adoption           pid of the new runtime, adopted_ns, proven (the identity names one process
                       for ever), stopped_ns, status that it saw or null, gone_ns
    timeline           for each event: at_ns, pid, who, kind, text
    orphans, zombies, leaked_descriptors, left_behind
                       how many of each were counted (null where the play ended before), and a
                       text for each
                     Every *_ns is in nanoseconds since the runtime was started.
";

/// What the command line asks for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Options {
    pub(super) attached: usize,
    pub(super) timeout: Duration,
    pub(super) json: bool,
    /// Empty: the built-in one.
    pub(super) program: Vec<String>,
}

impl Options {
    /// `None` where help was asked for.
    pub(super) fn parse(args: Vec<OsString>) -> Result<Option<Options>> {
        parse(args).map_err(|error| usage(format!("demo: {error}")))
    }

    /// What a shim starts, for a program that is to listen on `port`.
    pub(super) fn command(&self, built_in: &str, port: u16) -> Vec<String> {
        let port = port.to_string();
        match &self.program[..] {
            [] => vec![built_in.to_owned(), port],
            words if words.iter().any(|word| word.contains("{port}")) => words
                .iter()
                .map(|word| word.replace("{port}", &port))
                .collect(),
            words => words.iter().cloned().chain([port]).collect(),
        }
    }
}

fn parse(args: Vec<OsString>) -> Result<Option<Options>, lexopt::Error> {
    use lexopt::prelude::{Long, Short, ValueExt};

    let mut options = Options {
        attached: 4,
        timeout: Duration::from_secs(10),
        json: false,
        program: Vec::new(),
    };
    let mut parser = lexopt::Parser::from_args(args);
    while let Some(arg) = parser.next()? {
        match arg {
            Long("attached") => options.attached = parser.value()?.parse()?,
            Long("timeout") => {
                let seconds: u32 = parser.value()?.parse()?;
                options.timeout = Duration::from_secs(seconds.into());
            }
            Long("json") => options.json = true,
            Long("program") => {
                let words = parser.raw_args()?.map(ValueExt::string);
                options.program = words.collect::<Result<_, _>>()?;
                if options.program.is_empty() {
                    return Err("--program needs a command".into());
                }
            }
            Long("help") | Short('h') => return Ok(None),
            _ => return Err(arg.unexpected()),
        }
    }
    if !(1..=64).contains(&options.attached) {
        return Err("--attached goes from 1 to 64".into());
    }
    if options.timeout.is_zero() {
        return Err("--timeout starts at 1".into());
    }
    Ok(Some(options))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(line: &str) -> Options {
        let words = line.split_whitespace().map(OsString::from).collect();
        Options::parse(words)
            .unwrap()
            .expect("no help was asked for")
    }

    #[test]
    fn everything_behind_program_is_the_command() {
        let options = options("--attached 2 --program server --json -- -x");
        assert_eq!(options.attached, 2);
        assert!(!options.json);
        assert_eq!(options.program, ["server", "--json", "--", "-x"]);
    }

    #[test]
    fn port_replaces_its_mark_in_every_word() {
        let options = options("--program sh -c http://h:{port}/{port}");
        assert_eq!(options.command("none", 8), ["sh", "-c", "http://h:8/8"]);
    }

    #[test]
    fn port_is_the_last_word_where_none_has_the_mark() {
        assert_eq!(
            options("--program a b").command("none", 80),
            ["a", "b", "80"]
        );
        assert_eq!(options("").command("built-in", 80), ["built-in", "80"]);
    }

    #[test]
    fn senseless_options_are_refused() {
        for line in [
            "--attached 0",
            "--attached 65",
            "--timeout 0",
            "--program",
            "--frob",
            "x",
        ] {
            let words = line.split_whitespace().map(OsString::from).collect();
            assert!(Options::parse(words).is_err(), "{line}");
        }
    }
}
