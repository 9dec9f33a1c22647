//! The demo's command line.

use std::time::Duration;

use clap::Parser;
use serde::{Deserialize, Serialize};

/// The main job on real programs: a runtime starts shims, is killed, and none of them outlives it.
///
/// Starts a runtime that spawns N attached shims and a detached one, each with a program behind it,
/// and watchdog-shim with a server that uses none of our crates and has a worker: a child in a
/// session of its own, which ignores SIGTERM. It asks every program for `GET / HTTP/1.0`. Then it
/// kills the runtime with SIGKILL and tells when each shim learned of it and why, when each process
/// was gone, that the server stopped in good order and its worker was killed after a grace, that
/// the detached shim's program still answers, and that a new runtime adopts that shim by its saved
/// identity and stops it. At the end it counts in /proc what was left behind. Exit status 0 only if
/// everything was as it should be, 2 if the command line makes no sense.
#[derive(Clone, Debug, PartialEq, Parser, Serialize, Deserialize)]
#[command(
    name = "demo",
    override_usage = "cargo xtask demo [OPTIONS] [--program COMMAND...]",
    max_term_width = 100,
    after_long_help = JSON
)]
pub struct Options {
    /// Attached shims, 1 to 64
    #[arg(
        long,
        value_name = "N",
        default_value_t = 4,
        value_parser = clap::value_parser!(u8).range(1..=64)
    )]
    pub(super) attached: u8,
    /// The longest wait for any single thing, in seconds
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    pub(super) timeout: Duration,
    /// One JSON document instead of text
    #[arg(long)]
    pub(super) json: bool,
    /// Put COMMAND behind each shim instead of the built-in HTTP server
    ///
    /// COMMAND is all words that follow. {port} in a word becomes the port to listen on; where no
    /// word has it, the port is appended as the last one. It is in the variable PORT too.
    ///
    /// For example: --program python3 -m http.server
    #[arg(long = "program", requires = "program")]
    has_program: bool,
    /// Empty: the built-in one.
    #[arg(
        value_name = "COMMAND",
        requires = "has_program",
        trailing_var_arg = true,
        hide = true
    )]
    pub(super) program: Vec<String>,
    /// By which the front starts the director; not for humans
    #[arg(long, hide = true)]
    #[serde(skip)]
    pub(super) director: Option<String>,
}

const JSON: &str = "\
The fields of --json:
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
Every *_ns is in nanoseconds since the runtime was started.";

fn seconds(word: &str) -> Result<Duration, String> {
    match word.parse::<u32>() {
        Ok(0) => Err("it starts at 1".to_owned()),
        Ok(seconds) => Ok(Duration::from_secs(seconds.into())),
        Err(error) => Err(error.to_string()),
    }
}

impl Options {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options, clap::Error> {
        Options::try_parse_from(["demo"].into_iter().chain(line.split_whitespace()))
    }

    fn options(line: &str) -> Options {
        parse(line).expect("it makes sense")
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
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
