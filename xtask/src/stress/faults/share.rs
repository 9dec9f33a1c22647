//! One injector, with its share of the cases.

use std::fmt;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;
use std::sync::mpsc::Sender;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::long::{Contained, Ended, Interrupt};

/// How long an injector may take to end when all is done.
const TO_END: Duration = Duration::from_secs(10);

/// A line of the injector's.
#[derive(Debug)]
pub(super) enum Line {
    /// So many cases will come.
    Planned(usize),
    Case(Case),
}

/// What came of one fault.
#[derive(Debug)]
pub(super) struct Case {
    pub(super) name: String,
    /// The verdict in a word.
    pub(super) verdict: String,
    pub(super) milliseconds: String,
    pub(super) text: String,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Case {
            name,
            verdict,
            milliseconds,
            text,
        } = self;
        write!(f, "{name}\t{verdict}\t{milliseconds} ms\t{text}")
    }
}

impl Line {
    fn parse(line: &str) -> Option<Line> {
        let mut words = line.split('\t').map(str::to_owned);
        match words.next()?.as_str() {
            "planned" => Some(Line::Planned(words.next()?.parse().ok()?)),
            "case" => Some(Line::Case(Case {
                name: words.next()?,
                verdict: words.next()?,
                milliseconds: words.next()?,
                text: words.next()?,
            })),
            _ => None,
        }
    }
}

/// A running injector. Dropping it kills it with all that it has started.
#[derive(Debug)]
pub(super) struct Share {
    injector: Contained,
    /// Whether it has heard that all are done.
    reader: JoinHandle<bool>,
}

impl Share {
    pub(super) fn start(program: &Path, order: &str, tell: Sender<Line>) -> Result<Share> {
        let mut command = Contained::command(program);
        command.arg(order).stdout(Stdio::piped());
        let mut injector = Contained::start(&mut command)?;
        let (stdout, _) = injector.streams();
        let stdout = stdout.context("the injector's standard output")?;
        let reader = thread::spawn(move || {
            let mut is_whole = false;
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                is_whole = line == "done";
                if let Some(line) = Line::parse(&line)
                    && tell.send(line).is_err()
                {
                    break;
                }
            }
            is_whole
        });
        Ok(Share { injector, reader })
    }

    /// Fails where the injector has not come to its end.
    pub(super) fn ended_well(self, interrupt: &Interrupt) -> Result<()> {
        let is_whole = matches!(self.reader.join(), Ok(true));
        match self.injector.wait(TO_END, interrupt)? {
            Ended::Exited(_) if is_whole => Ok(()),
            ended => bail!("an injector ended before its cases were done: {ended:?}"),
        }
    }
}
