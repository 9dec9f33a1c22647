//! Running cargo, and telling how it ended.

use std::ffi::{OsStr, OsString};
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, ExitCode, ExitStatus, Stdio};

use anyhow::{Context, Result, bail};

/// The workspace's root, wherever the command is given from.
pub(crate) fn root() -> &'static Path {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().unwrap_or(xtask)
}

/// The cargo that runs us, at the workspace's root, without a standard input to wait on.
pub(crate) fn cargo<A: AsRef<OsStr>>(args: impl IntoIterator<Item = A>) -> Command {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let mut command = Command::new(cargo);
    command.args(args).current_dir(root()).stdin(Stdio::null());
    command
}

/// Says what is about to run, and runs it to its end.
pub(crate) fn run(command: &mut Command) -> Result<ExitStatus> {
    announce(command);
    command
        .status()
        .with_context(|| format!("run {}", line(command)))
}

/// As [`run`], for a step that the next one has no point without.
pub(crate) fn check(command: &mut Command) -> Result<()> {
    let status = run(command)?;
    if !status.success() {
        bail!("{}: {status}", line(command));
    }
    Ok(())
}

/// The stream of a command that is read line by line while it is passed on.
#[derive(Clone, Copy)]
pub(crate) enum Stream {
    Stdout,
    Stderr,
}

/// Runs the command and shows each line of `stream` to `see` besides passing it on.
pub(crate) fn run_seeing(
    command: &mut Command,
    stream: Stream,
    mut see: impl FnMut(&str),
) -> Result<ExitStatus> {
    announce(command);
    let what = line(command);
    match stream {
        Stream::Stdout => command.stdout(Stdio::piped()),
        Stream::Stderr => command.stderr(Stdio::piped()),
    };
    let mut child = command.spawn().with_context(|| format!("run {what}"))?;
    match stream {
        Stream::Stdout => copy(child.stdout.take(), &mut io::stdout(), &mut see)?,
        Stream::Stderr => copy(child.stderr.take(), &mut io::stderr(), &mut see)?,
    }
    child.wait().with_context(|| format!("wait for {what}"))
}

fn copy(
    from: Option<impl io::Read>,
    to: &mut impl Write,
    see: &mut impl FnMut(&str),
) -> io::Result<()> {
    let Some(from) = from else { return Ok(()) };
    let mut from = BufReader::new(from);
    let mut line = Vec::new();
    // A test may print anything: bytes, not text, are passed on.
    while from.read_until(b'\n', &mut line)? > 0 {
        to.write_all(&line)?;
        to.flush()?;
        see(String::from_utf8_lossy(&line).trim_end());
        line.clear();
    }
    Ok(())
}

/// The runner's own exit code; 1 where a signal ended it.
pub(crate) fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    code.map_or(ExitCode::FAILURE, ExitCode::from)
}

fn announce(command: &Command) {
    eprintln!("$ {}", line(command));
}

/// The command as one would type it, variables set for it included.
fn line(command: &Command) -> String {
    let set = command.get_envs().filter_map(|(key, value)| {
        Some(format!("{}={:?}", key.display(), value?.to_string_lossy()))
    });
    let program = Path::new(command.get_program())
        .file_stem()
        .unwrap_or_default();
    let words = std::iter::once(program).chain(command.get_args());
    set.chain(words.map(|word| word.to_string_lossy().into_owned()))
        .collect::<Vec<_>>()
        .join(" ")
}
