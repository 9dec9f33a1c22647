//! The command line, read and checked.

use std::ffi::{OsStr, OsString};
use std::os::fd::RawFd;
use std::time::Duration;

use lexopt::{Arg, Parser};
use rustix::process::Signal;

use crate::failure::Failure;
pub(crate) use crate::table::{Contain, ExitAs, Level, OnExit, Session, SignalTo};
use crate::table::{Id, Row, TABLE, Value};
use crate::values::{duration, number, pid, signal, word};

/// What the command line asks for.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) contain: Contain,
    /// `None`: the default. That is `good`, or nothing with `--contain=none`.
    pub(crate) require: Option<Level>,
    pub(crate) watch: Watch,
    pub(crate) stop_signal: Option<Signal>,
    pub(crate) signal_to: SignalTo,
    pub(crate) stop_timeout: Option<Duration>,
    pub(crate) on_exit: OnExit,
    /// `None`: the default. That is `keep` if standard input is a terminal, otherwise `new`.
    pub(crate) session: Option<Session>,
    pub(crate) status_fd: Option<RawFd>,
    pub(crate) exit: ExitAs,
    /// The program and its arguments. Empty only with `--print-plan`.
    pub(crate) command: Vec<OsString>,
}

/// What the shim must do.
#[derive(Debug)]
pub(crate) enum Request {
    Run(Options),
    PrintPlan(Options),
    Help,
    Version,
}

/// What the shim watches, as given by `--watch`: the tree is stopped when it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Watch {
    /// The watchdog that the environment names; the parent if there is none.
    Default,
    /// The watchdog that the environment names.
    Env,
    /// The other end of a pipe or socket.
    Fd(RawFd),
    Stdin,
    /// The parent. If a pid is given, the parent must have it.
    Parent(Option<i32>),
}

/// Reads a command line, without the program's own name.
pub(crate) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Request, Failure> {
    let mut options = Options::none();
    let mut print_plan = false;
    let mut given = Vec::new();
    let mut parser = Parser::from_args(args);
    let refused = |error: lexopt::Error| Failure::refused(format!("{error}; see --help"));
    while let Some(arg) = parser.next().map_err(refused)? {
        let Some(row) = row(&arg) else {
            let Arg::Value(program) = arg else {
                return Err(refused(arg.unexpected()));
            };
            options.command.push(program);
            options.command.extend(parser.raw_args().map_err(refused)?);
            break;
        };
        let name = format!("--{}", row.name);
        if given.contains(&row.id) {
            return Err(Failure::refused(format!(
                "{name} is there twice; leave one of them out"
            )));
        }
        given.push(row.id);
        if let Value::Nothing = row.value
            && parser.optional_value().is_some()
        {
            return Err(Failure::refused(format!(
                "{name} takes no value; see --help"
            )));
        }
        match row.id {
            Id::Help => return Ok(Request::Help),
            Id::Version => return Ok(Request::Version),
            Id::PrintPlan => print_plan = true,
            id => options.set(id, &name, &value(&mut parser)?)?,
        }
    }
    if print_plan {
        return Ok(Request::PrintPlan(options));
    }
    check(&options)?;
    Ok(Request::Run(options))
}

impl Options {
    /// The options of a command line that gives none.
    fn none() -> Options {
        Options {
            contain: Contain::Auto,
            require: None,
            watch: Watch::Default,
            stop_signal: None,
            signal_to: SignalTo::All,
            stop_timeout: None,
            on_exit: OnExit::Stop,
            session: None,
            status_fd: None,
            exit: ExitAs::Mirror,
            command: Vec::new(),
        }
    }

    fn set(&mut self, id: Id, name: &str, value: &OsStr) -> Result<(), Failure> {
        match id {
            Id::Contain => self.contain = word(name, value, Contain::ALL)?,
            Id::Require => self.require = Some(word(name, value, Level::REQUIRABLE)?),
            Id::Watch => self.watch = watch(value)?,
            Id::StopSignal => self.stop_signal = Some(signal(name, value)?),
            Id::SignalTo => self.signal_to = word(name, value, SignalTo::ALL)?,
            Id::StopTimeout => self.stop_timeout = Some(duration(name, value)?),
            Id::OnExit => self.on_exit = word(name, value, OnExit::ALL)?,
            Id::Session => self.session = Some(word(name, value, Session::ALL)?),
            Id::StatusFd => self.status_fd = Some(number(name, '=', value)?),
            Id::Exit => self.exit = word(name, value, ExitAs::ALL)?,
            // These have no value.
            Id::PrintPlan | Id::Help | Id::Version => {}
        }
        Ok(())
    }
}

/// Refuses options that contradict each other, whatever the kernel can do.
fn check(options: &Options) -> Result<(), Failure> {
    let refused = |message: &str| Err(Failure::refused(message));
    if options.command.is_empty() {
        return refused("COMMAND is missing: watchdog-shim [OPTIONS] [--] COMMAND [ARG...]");
    }
    if options.on_exit == OnExit::Leave && options.contain == Contain::PidNamespace {
        return refused(
            "--on-exit=leave: nothing can outlive the PID namespace of --contain=pidns; \
             use --contain=subreaper",
        );
    }
    if options.contain == Contain::None && options.require.is_some() {
        return refused(
            "--require: --contain=none promises nothing of the tree; leave one of the two out",
        );
    }
    Ok(())
}

/// The option that this argument names, if it is one of the shim's.
fn row(arg: &Arg<'_>) -> Option<&'static Row> {
    TABLE.iter().find(|row| match arg {
        Arg::Long(name) => row.name == *name,
        Arg::Short(short) => row.short == Some(*short),
        Arg::Value(_) => false,
    })
}

fn value(parser: &mut Parser) -> Result<OsString, Failure> {
    parser
        .value()
        .map_err(|error| Failure::refused(format!("{error}; see --help")))
}

fn watch(value: &OsStr) -> Result<Watch, Failure> {
    match value.to_str() {
        Some("env") => Ok(Watch::Env),
        Some("stdin") => Ok(Watch::Stdin),
        Some("parent") => Ok(Watch::Parent(None)),
        Some(text) if text.starts_with("parent:") => Ok(Watch::Parent(Some(pid(
            "--watch=parent",
            ':',
            OsStr::new(&text[7..]),
        )?))),
        Some(text) if text.starts_with("fd:") => Ok(Watch::Fd(number(
            "--watch=fd",
            ':',
            OsStr::new(&text[3..]),
        )?)),
        _ => {
            let value = value.display();
            Err(Failure::refused(format!(
                "--watch={value}: not one of env, fd:N, stdin, parent, parent:N"
            )))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(args: &[&str]) -> Result<Options, String> {
        match parse(args.iter().map(OsString::from)) {
            Ok(Request::Run(options) | Request::PrintPlan(options)) => Ok(options),
            Ok(other) => Err(format!("{other:?}")),
            Err(failure) => Err(failure.to_string()),
        }
    }

    #[test]
    fn all_that_follows_command_is_its_own() {
        for args in [
            &["--exit=shell", "--", "sleep", "--contain=none", "-V"][..],
            &["--exit", "shell", "sleep", "--contain=none", "-V"],
        ] {
            let options = options(args).expect("a command line");
            assert_eq!(options.command, ["sleep", "--contain=none", "-V"]);
            assert_eq!(options.contain, Contain::Auto);
            assert_eq!(options.exit, ExitAs::Shell);
        }
    }

    #[test]
    fn double_dash_behind_command_is_an_argument() {
        let options = options(&["cat", "--", "file"]).expect("a command line");
        assert_eq!(options.command, ["cat", "--", "file"]);
    }

    #[test]
    fn bad_words_are_named_with_the_good_ones() {
        for (args, parts) in [
            (
                &["--contain=jail", "x"][..],
                &["--contain=jail", "pidns"][..],
            ),
            (&["--require=told", "x"], &["--require=told", "certain"]),
            (&["--watch=fd:x", "x"], &["--watch=fd:x", "descriptor"]),
            (&["--watch=pipe", "x"], &["--watch=pipe", "fd:N"]),
            (&["--watch=parent:", "x"], &["--watch=parent:", "pid"]),
            (&["--watch=parent:0", "x"], &["--watch=parent:0", "pid"]),
            (&["--watch=parent:-1", "x"], &["--watch=parent:-1", "pid"]),
            (
                &["--stop-signal=BOOM", "x"],
                &["--stop-signal=BOOM", "SIGTERM"],
            ),
            (
                &["--stop-timeout=soon", "x"],
                &["--stop-timeout=soon", "500ms"],
            ),
            (&["--stop-timeout=1e9", "x"], &["--stop-timeout=1e9"]),
            (&["--stop-timeout=-1s", "x"], &["--stop-timeout=-1s"]),
            (&["--status-fd=-1", "x"], &["--status-fd=-1"]),
            (&["--status-fd=+1", "x"], &["--status-fd=+1"]),
            (&["--status-fd=", "x"], &["--status-fd="]),
            (&["--watch=fd:", "x"], &["--watch=fd:"]),
            (
                &["--watch=fd:99999999999", "x"],
                &["--watch=fd:99999999999"],
            ),
            (&["--stop-signal=+15", "x"], &["--stop-signal=+15"]),
            (
                &["--contain=auto", "--contain", "none", "x"],
                &["--contain", "twice"],
            ),
            (&["--help=x", "x"], &["--help", "no value"]),
            (&["-Vx", "x"], &["--version", "no value"]),
            (&["--bo\ngus", "x"], &["--bo\\ngus"]),
            (&["--exit=\r\x1b[2J", "x"], &["--exit=\\r\\u{1b}[2J"]),
            (&["--bogus", "x"], &["--bogus", "--help"]),
            (&["--print-plan=x", "x"], &["--print-plan"]),
            (&["--contain"], &["--contain", "--help"]),
            (&[], &["COMMAND is missing"]),
            (
                &["--on-exit=leave", "--contain=pidns", "x"],
                &["--on-exit=leave", "subreaper"],
            ),
            (
                &["--contain=none", "--require=good", "x"],
                &["--require", "none"],
            ),
        ] {
            let said = options(args).expect_err("refused");
            for part in parts {
                assert!(said.contains(part), "{args:?}: {said}");
            }
            assert_eq!(said.lines().count(), 1, "{said}");
        }
    }

    /// The values that the table gives for an option, in a form that can be parsed.
    fn values(row: &Row) -> Vec<String> {
        match row.value {
            Value::Nothing => Vec::new(),
            Value::Word(words) => words
                .iter()
                .map(|(word, _)| word.replace('N', "3"))
                .collect(),
            Value::Open(_, such_as) => such_as.iter().map(|word| (*word).to_owned()).collect(),
        }
    }

    #[test]
    fn every_option_of_the_table_is_known_by_its_names_and_takes_the_values_that_it_names() {
        for row in TABLE {
            let name = format!("--{}", row.name);
            let short = row.short.map(|short| format!("-{short}"));
            for value in values(row) {
                options(&[&format!("{name}={value}"), "x"]).expect("joined");
                options(&[&name, &value, "x"]).expect("apart");
            }
            if let Value::Nothing = row.value {
                for name in short.iter().chain([&name]) {
                    parse([name.into(), "x".into()]).expect("an option without a value");
                }
                options(&[&format!("{name}=x"), "x"]).expect_err("a value is refused");
            } else {
                assert_eq!(short, None, "a value behind a short name was not looked at");
                options(&[&name]).expect_err("a value is missing");
            }
        }
    }

    #[test]
    fn no_option_and_no_name_is_twice_in_the_table() {
        for (index, row) in TABLE.iter().enumerate() {
            for other in &TABLE[..index] {
                assert_ne!(row.id, other.id);
                assert_ne!(row.name, other.name);
                assert!(row.short.is_none() || row.short != other.short);
            }
        }
    }

    #[test]
    fn word_that_the_table_does_not_name_is_refused() {
        for row in TABLE {
            let value = match row.value {
                Value::Nothing => continue,
                Value::Word(_) => "other",
                Value::Open(name, _) => name,
            };
            options(&[&format!("--{}={value}", row.name), "x"]).expect_err(row.name);
        }
    }

    #[test]
    fn default_that_is_given_changes_nothing() {
        let none = format!("{:?}", options(&["x"]).expect("a command line"));
        for row in TABLE {
            let given = format!("--{}={}", row.name, row.default);
            let said = || {
                format!(
                    "{:?}",
                    options(&[&given, "x"]).expect("the default is a value")
                )
            };
            match row.id {
                Id::Contain | Id::SignalTo | Id::OnExit | Id::Exit => assert_eq!(said(), none),
                // Without the option it depends on the containment: this, or nothing with
                // `--contain=none`.
                Id::Require => assert_eq!(row.default, "good"),
                // These depend on what the shim finds.
                Id::Watch | Id::Session => {}
                Id::StopSignal => assert!(row.default.ends_with(" TERM")),
                Id::StopTimeout => {
                    let (_, last) = row.default.rsplit_once(' ').expect("a word for it");
                    let last = duration("", OsStr::new(last)).expect("a time");
                    assert_eq!(last, crate::policy::Policy::default().grace);
                }
                Id::StatusFd => assert_eq!(row.default, "none"),
                Id::PrintPlan | Id::Help | Id::Version => assert_eq!(row.default, ""),
            }
        }
    }
}
