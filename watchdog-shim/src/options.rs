//! The command line, read and checked.

use std::ffi::{OsStr, OsString};
use std::os::fd::RawFd;
use std::time::Duration;

use lexopt::{Arg, Parser};
use rustix::process::Signal;

use crate::failure::Failure;
use crate::sys;

/// What the command line asks for.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) contain: Contain,
    /// `None`: what the containment gives; `good`, unless there is to be none.
    pub(crate) require: Option<Level>,
    pub(crate) watch: Watch,
    pub(crate) stop_signal: Option<Signal>,
    pub(crate) signal_to: SignalTo,
    pub(crate) stop_timeout: Option<Duration>,
    pub(crate) on_exit: OnExit,
    /// `None`: keep with a terminal on standard input, else a new one.
    pub(crate) session: Option<Session>,
    pub(crate) status_fd: Option<RawFd>,
    pub(crate) exit: ExitAs,
    /// The program and its arguments; empty only with `--print-plan`.
    pub(crate) command: Vec<OsString>,
}

/// What the command line wants of the shim.
#[derive(Debug)]
pub(crate) enum Request {
    Run(Options),
    PrintPlan(Options),
    Help,
    Version,
}

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$of:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum $name { $($(#[$of])* $variant,)* }

        impl $name {
            pub(crate) const ALL: &[($name, &'static str)] = &[$(($name::$variant, $word),)*];
        }
    };
}

words! {
    /// How the tree is held together.
    Contain {
        /// The strongest that COMMAND does not notice.
        Auto = "auto",
        /// A PID namespace of its own.
        PidNamespace = "pidns",
        /// A cgroup of its own.
        Cgroup = "cgroup",
        /// Orphans come to the shim.
        Subreaper = "subreaper",
        /// COMMAND alone.
        None = "none",
    }
}

words! {
    /// What is promised of the end.
    Level {
        /// COMMAND alone is stopped.
        Told = "told",
        /// Nothing is left, unless all processes of the shim are killed at once.
        Good = "good",
        /// Nothing is left whatever is killed.
        Certain = "certain",
    }
}

words! {
    /// Who gets the stop signal.
    SignalTo {
        Main = "main",
        Group = "group",
        All = "all",
    }
}

words! {
    /// What happens when COMMAND has ended and others live.
    OnExit {
        Stop = "stop",
        Wait = "wait",
        Leave = "leave",
    }
}

words! {
    /// Which session COMMAND runs in.
    Session {
        Keep = "keep",
        New = "new",
    }
}

words! {
    /// How the shim ends when a signal ended COMMAND.
    ExitAs {
        Mirror = "mirror",
        Shell = "shell",
    }
}

/// What the lifetime hangs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Watch {
    /// The watchdog's variable, else the parent.
    Default,
    /// The watchdog's variable.
    Env,
    /// Any pipe or socket.
    Fd(RawFd),
    Stdin,
    Parent,
}

/// Reads a command line, without the program's own name.
pub(crate) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Request, Failure> {
    let mut options = Options {
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
    };
    let mut print_plan = false;
    let mut parser = Parser::from_args(args);
    let refused = |error: lexopt::Error| Failure::refused(format!("{error}; see --help"));
    while let Some(arg) = parser.next().map_err(refused)? {
        match arg {
            Arg::Long("help") | Arg::Short('h') => return Ok(Request::Help),
            Arg::Long("version") | Arg::Short('V') => return Ok(Request::Version),
            Arg::Long("print-plan") => print_plan = true,
            Arg::Long("contain") => {
                options.contain = word("--contain", &value(&mut parser)?, Contain::ALL)?;
            }
            Arg::Long("require") => {
                // "told" is what is left when nothing is required.
                let known = &Level::ALL[1..];
                options.require = Some(word("--require", &value(&mut parser)?, known)?);
            }
            Arg::Long("watch") => options.watch = watch(&value(&mut parser)?)?,
            Arg::Long("stop-signal") => {
                options.stop_signal = Some(signal("--stop-signal", &value(&mut parser)?)?);
            }
            Arg::Long("signal-to") => {
                options.signal_to = word("--signal-to", &value(&mut parser)?, SignalTo::ALL)?;
            }
            Arg::Long("stop-timeout") => {
                options.stop_timeout = Some(duration("--stop-timeout", &value(&mut parser)?)?);
            }
            Arg::Long("on-exit") => {
                options.on_exit = word("--on-exit", &value(&mut parser)?, OnExit::ALL)?;
            }
            Arg::Long("session") => {
                options.session = Some(word("--session", &value(&mut parser)?, Session::ALL)?);
            }
            Arg::Long("status-fd") => {
                options.status_fd = Some(number("--status-fd", &value(&mut parser)?)?);
            }
            Arg::Long("exit") => {
                options.exit = word("--exit", &value(&mut parser)?, ExitAs::ALL)?;
            }
            Arg::Value(program) => {
                options.command.push(program);
                options.command.extend(parser.raw_args().map_err(refused)?);
            }
            other => return Err(refused(other.unexpected())),
        }
    }
    if print_plan {
        return Ok(Request::PrintPlan(options));
    }
    check(&options)?;
    Ok(Request::Run(options))
}

/// What no kernel needs to be asked for.
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

fn value(parser: &mut Parser) -> Result<OsString, Failure> {
    parser
        .value()
        .map_err(|error| Failure::refused(format!("{error}; see --help")))
}

fn word<T: Copy>(option: &str, value: &OsStr, known: &[(T, &str)]) -> Result<T, Failure> {
    let found = known.iter().find(|(_, word)| value == *word);
    found.map(|(meaning, _)| *meaning).ok_or_else(|| {
        let words: Vec<&str> = known.iter().map(|(_, word)| *word).collect();
        let (value, words) = (value.display(), words.join(", "));
        Failure::refused(format!("{option}={value}: not one of {words}"))
    })
}

/// How the command line writes it.
pub(crate) fn written<T: Copy + PartialEq>(value: T, known: &[(T, &'static str)]) -> &'static str {
    let found = known.iter().find(|(meaning, _)| *meaning == value);
    found.map_or("", |(_, word)| word)
}

fn number(option: &str, value: &OsStr) -> Result<RawFd, Failure> {
    let parsed = value.to_str().and_then(|text| text.parse().ok());
    parsed.filter(|number| *number >= 0).ok_or_else(|| {
        let value = value.display();
        Failure::refused(format!("{option}={value}: not the number of a descriptor"))
    })
}

fn watch(value: &OsStr) -> Result<Watch, Failure> {
    match value.to_str() {
        Some("env") => Ok(Watch::Env),
        Some("stdin") => Ok(Watch::Stdin),
        Some("parent") => Ok(Watch::Parent),
        Some(text) if text.starts_with("fd:") => {
            Ok(Watch::Fd(number("--watch=fd", OsStr::new(&text[3..]))?))
        }
        _ => {
            let value = value.display();
            Err(Failure::refused(format!(
                "--watch={value}: not one of env, fd:N, stdin, parent"
            )))
        }
    }
}

/// `TERM`, `SIGTERM` and `15`; `RTMIN+3`.
pub(crate) fn signal(option: &str, value: &OsStr) -> Result<Signal, Failure> {
    let known = value.to_str().and_then(|text| {
        let name = text.to_ascii_uppercase();
        let name = name.strip_prefix("SIG").unwrap_or(&name);
        let number = NAMES.iter().find(|(known, _)| *known == name);
        let number = number.map(|(_, number)| *number);
        let real_time = || libc::SIGRTMIN().checked_add(name.strip_prefix("RTMIN+")?.parse().ok()?);
        number
            .or_else(|| name.parse().ok())
            .or_else(real_time)
            .and_then(sys::signal)
    });
    known.ok_or_else(|| {
        let value = value.display();
        Failure::refused(format!(
            "{option}={value}: not a signal; TERM, SIGTERM and 15 are"
        ))
    })
}

/// The standard signals by their names.
pub(crate) const NAMES: [(&str, i32); 31] = [
    ("HUP", libc::SIGHUP),
    ("INT", libc::SIGINT),
    ("QUIT", libc::SIGQUIT),
    ("ILL", libc::SIGILL),
    ("TRAP", libc::SIGTRAP),
    ("ABRT", libc::SIGABRT),
    ("BUS", libc::SIGBUS),
    ("FPE", libc::SIGFPE),
    ("KILL", libc::SIGKILL),
    ("USR1", libc::SIGUSR1),
    ("SEGV", libc::SIGSEGV),
    ("USR2", libc::SIGUSR2),
    ("PIPE", libc::SIGPIPE),
    ("ALRM", libc::SIGALRM),
    ("TERM", libc::SIGTERM),
    ("STKFLT", 16),
    ("CHLD", libc::SIGCHLD),
    ("CONT", libc::SIGCONT),
    ("STOP", libc::SIGSTOP),
    ("TSTP", libc::SIGTSTP),
    ("TTIN", libc::SIGTTIN),
    ("TTOU", libc::SIGTTOU),
    ("URG", libc::SIGURG),
    ("XCPU", libc::SIGXCPU),
    ("XFSZ", libc::SIGXFSZ),
    ("VTALRM", libc::SIGVTALRM),
    ("PROF", libc::SIGPROF),
    ("WINCH", libc::SIGWINCH),
    ("IO", libc::SIGIO),
    ("PWR", libc::SIGPWR),
    ("SYS", libc::SIGSYS),
];

/// `10s`, `1.5s`, `500ms`, `2m`, `1h`; a bare number is seconds, as of timeout(1).
fn duration(option: &str, value: &OsStr) -> Result<Duration, Failure> {
    let units = [("ms", 0.001), ("s", 1.0), ("m", 60.0), ("h", 3600.0)];
    let parsed = value.to_str().and_then(|text| {
        let unit = units.iter().find(|(unit, _)| text.ends_with(unit));
        let (unit, factor) = unit.copied().unwrap_or(("", 1.0));
        let number = text.strip_suffix(unit)?;
        // "inf", "nan" and "1e9" are numbers to Rust.
        if !number
            .bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b'.')
        {
            return None;
        }
        let seconds: f64 = number.parse().ok()?;
        Duration::try_from_secs_f64(seconds * factor).ok()
    });
    parsed.ok_or_else(|| {
        let value = value.display();
        Failure::refused(format!(
            "{option}={value}: not a time; 10s, 1.5s, 500ms and 2m are"
        ))
    })
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
            (&["--watch=fd:x", "x"], &["--watch=fd=x", "descriptor"]),
            (&["--watch=pipe", "x"], &["--watch=pipe", "fd:N"]),
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

    #[test]
    fn times_are_read_as_timeout_1_reads_them() {
        for (text, milliseconds) in [
            ("10", 10_000),
            ("10s", 10_000),
            ("1.5s", 1_500),
            ("500ms", 500),
            ("2m", 120_000),
            ("1h", 3_600_000),
            ("0", 0),
        ] {
            let read = duration("--stop-timeout", OsStr::new(text)).expect("a time");
            assert_eq!(read, Duration::from_millis(milliseconds), "{text}");
        }
    }

    #[test]
    fn signals_have_names_with_and_without_sig_and_numbers() {
        for text in ["TERM", "SIGTERM", "term", "15"] {
            let read = signal("--stop-signal", OsStr::new(text)).expect("a signal");
            assert_eq!(read, Signal::TERM, "{text}");
        }
        let shifted = signal("--stop-signal", OsStr::new("SIGRTMIN+3")).expect("a signal");
        assert_eq!(shifted.as_raw(), libc::SIGRTMIN() + 3);
        for text in ["RTMIN+31", "RTMIN+-1", "RTMIN+2147483647", "RTMIN+"] {
            assert!(signal("--stop-signal", OsStr::new(text)).is_err(), "{text}");
        }
        assert!(signal("--stop-signal", OsStr::new("0")).is_err());
        assert!(signal("--stop-signal", OsStr::new("-1")).is_err());
        assert!(signal("--stop-signal", OsStr::new("65")).is_err());
    }
}
