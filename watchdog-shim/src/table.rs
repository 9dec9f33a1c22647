//! The command line as data: each option with its values, its default and its purpose.
//!
//! The parser, `--help`, the manual page and the shell completions are made from this table. `cargo
//! xtask man` makes the last two and includes this file, so it uses nothing but the standard
//! library.

/// One option.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    pub(crate) id: Id,
    /// The name without the two dashes.
    pub(crate) name: &'static str,
    pub(crate) short: Option<char>,
    pub(crate) value: Value,
    /// What applies without the option. Empty for an option that takes no value.
    pub(crate) default: &'static str,
    /// What it is for.
    pub(crate) purpose: &'static str,
}

/// The value of an option.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Value {
    Nothing,
    /// One of these words, each with its meaning.
    Word(&'static [(&'static str, &'static str)]),
    /// Any value; the name stands for it. The strings are examples.
    #[allow(dead_code, reason = "the examples are for the completions")]
    Open(&'static str, &'static [&'static str]),
}

/// The options, for code that has to handle each of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Id {
    Contain,
    Require,
    Watch,
    StopSignal,
    SignalTo,
    StopTimeout,
    OnExit,
    Session,
    StatusFd,
    Exit,
    PrintPlan,
    Help,
    Version,
}

/// A fixed set of words: an enum with a word and a meaning for each variant.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($variant:ident = $word:literal, $meaning:literal;)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum $name { $(#[doc = $meaning] $variant,)* }

        impl $name {
            #[allow(dead_code, reason = "the maker of the manual page has no use for the variants")]
            pub(crate) const ALL: &[($name, &'static str)] = &[$(($name::$variant, $word),)*];

            /// Each word with its meaning.
            pub(crate) const WORDS: &[(&'static str, &'static str)] = &[$(($word, $meaning),)*];
        }
    };
}

words! {
    /// How the shim keeps the tree together.
    Contain {
        Auto = "auto", "the strongest that COMMAND does not notice";
        PidNamespace = "pidns", "a PID namespace of its own";
        Cgroup = "cgroup", "a cgroup of its own";
        Subreaper = "subreaper", "orphans come to the shim, which finds them in /proc";
        None = "none", "COMMAND alone is stopped";
    }
}

words! {
    /// What is promised about the end of the tree.
    Level {
        Told = "told", "COMMAND alone is stopped";
        Good = "good", "nothing is left, unless all processes of the shim are killed at once";
        Certain = "certain", "nothing is left, whatever is killed";
    }
}

impl Level {
    /// The levels that can be required. `told` is always met.
    #[allow(
        dead_code,
        reason = "the maker of the manual page has no use for the variants"
    )]
    pub(crate) const REQUIRABLE: &[(Level, &'static str)] = Level::ALL.split_at(1).1;
}

words! {
    /// Who gets the stop signal.
    SignalTo {
        Main = "main", "COMMAND alone";
        Group = "group", "COMMAND's process group";
        All = "all", "the whole tree";
    }
}

words! {
    /// What happens when COMMAND has ended and other processes of the tree live.
    OnExit {
        Stop = "stop", "they are stopped";
        Wait = "wait", "the shim waits for their end";
        Leave = "leave", "they are left alone, and the shim ends";
    }
}

words! {
    /// Which session COMMAND runs in.
    Session {
        Keep = "keep", "the shim's own; job control works";
        New = "new", "one of its own, without a terminal";
    }
}

words! {
    /// How the shim ends when a signal ended COMMAND.
    ExitAs {
        Mirror = "mirror", "the shim dies of the same signal";
        Shell = "shell", "the shim exits with 128 and the number of the signal";
    }
}

/// What `--watch` takes. `N` is a number.
const WATCH: &[(&str, &str)] = &[
    ("env", "the link that the environment names"),
    ("fd:N", "the other end of a pipe or a socket"),
    ("stdin", "the other end of standard input"),
    ("parent", "the process that started the shim"),
    ("parent:N", "the same, if its pid is N"),
];

const SIGNALS: &[&str] = &["TERM", "INT", "QUIT", "HUP", "USR1", "USR2", "KILL"];

/// In the order of `--help`.
pub(crate) const TABLE: &[Row] = &[
    Row {
        id: Id::Contain,
        name: "contain",
        short: None,
        value: Value::Word(Contain::WORDS),
        default: "auto",
        purpose: "how the tree is held together",
    },
    Row {
        id: Id::Require,
        name: "require",
        short: None,
        value: Value::Word(Level::WORDS.split_at(1).1),
        default: "good",
        purpose: "refuse to start with less",
    },
    Row {
        id: Id::Watch,
        name: "watch",
        short: None,
        value: Value::Word(WATCH),
        default: "env, else parent",
        purpose: "what the lifetime hangs on",
    },
    Row {
        id: Id::StopSignal,
        name: "stop-signal",
        short: None,
        value: Value::Open("SIG", SIGNALS),
        default: "the runtime's, else TERM",
        purpose: "first step of the stop",
    },
    Row {
        id: Id::SignalTo,
        name: "signal-to",
        short: None,
        value: Value::Word(SignalTo::WORDS),
        default: "all",
        purpose: "who gets it",
    },
    Row {
        id: Id::StopTimeout,
        name: "stop-timeout",
        short: None,
        value: Value::Open("DUR", &["500ms", "2s", "10s", "1m"]),
        default: "the runtime's, else 10s",
        purpose: "grace before SIGKILL",
    },
    Row {
        id: Id::OnExit,
        name: "on-exit",
        short: None,
        value: Value::Word(OnExit::WORDS),
        default: "stop",
        purpose: "when COMMAND has ended and others live",
    },
    Row {
        id: Id::Session,
        name: "session",
        short: None,
        value: Value::Word(Session::WORDS),
        default: "keep with a terminal on stdin, else new",
        purpose: "COMMAND's",
    },
    Row {
        id: Id::StatusFd,
        name: "status-fd",
        short: None,
        value: Value::Open("N", &["1", "2", "3"]),
        default: "none",
        purpose: "report as JSON lines; the last one is gone",
    },
    Row {
        id: Id::Exit,
        name: "exit",
        short: None,
        value: Value::Word(ExitAs::WORDS),
        default: "mirror",
        purpose: "die of COMMAND's signal, or exit with 128+N",
    },
    Row {
        id: Id::PrintPlan,
        name: "print-plan",
        short: None,
        value: Value::Nothing,
        default: "",
        purpose: "say what would hold here, and why not more",
    },
    Row {
        id: Id::Help,
        name: "help",
        short: Some('h'),
        value: Value::Nothing,
        default: "",
        purpose: "this text",
    },
    Row {
        id: Id::Version,
        name: "version",
        short: Some('V'),
        value: Value::Nothing,
        default: "",
        purpose: "the version",
    },
];

impl Row {
    /// For example `--contain=auto|none` or `-h, --help`.
    pub(crate) fn head(&self) -> String {
        let short = self
            .short
            .map_or(String::new(), |short| format!("-{short}, "));
        let value = match self.value {
            Value::Nothing => String::new(),
            Value::Word(words) => {
                let words: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
                format!("={}", words.join("|"))
            }
            Value::Open(name, _) => format!("={name}"),
        };
        format!("{short}--{}{value}", self.name)
    }
}
