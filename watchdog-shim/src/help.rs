//! What `--help` says: one screen.

pub(crate) const TEXT: &str = "\
Runs COMMAND so that it, and everything it starts, ends when the process that
started the shim (the runtime) dies or lets go: stop signal, grace, SIGKILL.

Usage: watchdog-shim [OPTIONS] [--] COMMAND [ARG...]

  --contain=auto|pidns|cgroup|subreaper|none
                        how the tree is held together [auto]
  --require=certain|good
                        refuse to start with less [good]
  --watch=env|fd:N|stdin|parent
                        what the lifetime hangs on [env, else parent]
  --stop-signal=SIG     first step of the stop [TERM]
  --signal-to=main|group|all
                        who gets it [all]
  --stop-timeout=DUR    grace before SIGKILL [the runtime's, else 10s]
  --on-exit=stop|wait|leave
                        when COMMAND has ended and others live [stop]
  --session=keep|new    [keep with a terminal on standard input, else new]
  --status-fd=N         report as JSON lines; their end: the tree is gone
  --exit=mirror|shell   die of COMMAND's signal, or exit with 128+N [mirror]
  --print-plan          say what would hold here, and why not more
  -h, --help            this text
  -V, --version

Exit: COMMAND's own; 125 the shim failed or a requirement is not met,
126 COMMAND cannot be executed, 127 COMMAND was not found.
";

#[cfg(test)]
mod tests {
    #[test]
    fn help_fits_one_screen() {
        assert!(super::TEXT.lines().count() <= 30);
        assert!(super::TEXT.lines().all(|line| line.len() <= 80));
    }
}
