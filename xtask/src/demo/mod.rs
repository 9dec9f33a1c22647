//! `cargo xtask demo`: the main job on real programs, with /proc as the witness.
//!
//! Two processes of ours take part. The *front* is the one that was started: it builds the actors,
//! starts the stage, and passes its output on. The *stage* plays, in a process group of its own, with a
//! pipe from the front as its standard input. Whatever ends the front, Ctrl-C and SIGKILL included, is
//! an end of file for the stage, which then leaves nothing behind; and whatever ends the stage, the front
//! leaves nothing behind. No signal handler is needed.
//!
//! The orchestrator uses none of the crates that it shows: it judges them from outside.

mod actors;
mod count;
mod document;
mod events;
mod front;
mod leaks;
mod options;
mod probe;
mod proc_fs;
mod process;
mod record;
mod setup;
mod stage;
mod status;
mod sweep;
mod text;
#[allow(dead_code, reason = "the stage receives, an actor sends")]
mod wire;

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use anyhow::{Context, Result};

use crate::{Outcome, usage};
use document::Document;
use options::Options;
use record::Record;
use setup::Setup;
use stage::Stage;
use text::Text;

/// The verb by which the front starts the stage; not for humans.
pub(crate) const STAGE: &str = "demo-stage";

/// The front.
pub(crate) fn run(args: Vec<OsString>) -> Outcome {
    if let Some(options) = Options::parse(args)? {
        front::run(options)
    } else {
        print!("{}", options::HELP);
        Ok(ExitCode::SUCCESS)
    }
}

/// The stage.
pub(crate) fn stage(args: &[OsString]) -> Outcome {
    let [setup] = args else {
        return Err(usage("demo-stage is for `cargo xtask demo` to call"));
    };
    let setup: Setup = serde_json::from_slice(setup.as_encoded_bytes())
        .map_err(|error| usage(format!("demo-stage: {error}")))?;
    sweep::adopt_orphans().context("become the reaper of orphans")?;

    let plan = setup.plan()?;
    let text = Text::new(&setup);
    let mut document = Document::new(&setup.options, &plan);
    text.opening(&document);

    let played = play(&setup, plan, &text, &mut document);
    sweep::sweep(&setup.run);
    document.error = played.err().map(|error| format!("{error:#}"));
    document.ok = document.error.is_none() && document.count.is_clean();

    text.closing(&document);
    if setup.options.json {
        let json = serde_json::to_string_pretty(&document)?;
        writeln!(std::io::stdout(), "{json}")?;
    }
    if let Some(error) = &document.error {
        let _ = writeln!(std::io::stderr(), "demo: {error}");
    }
    Ok(ExitCode::from(u8::from(!document.ok)))
}

fn play(setup: &Setup, plan: wire::Plan, text: &Text, document: &mut Document) -> Result<()> {
    let before = proc_fs::fds_of(sweep::own_pid());
    let mut leaks = Stage::new(setup, plan, Record::new(document, text))?.play()?;
    let after = proc_fs::fds_of(sweep::own_pid());
    leaks.extend(leaks::left_open("the stage", &before, &after));
    document.count = count::count(document, &setup.run, &leaks);
    Ok(())
}
