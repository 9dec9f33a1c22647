//! The main job on real programs, with /proc as the witness: the program `demo`.
//!
//! Two processes of ours take part. The *front* is the one that was started: it starts the
//! director, passes its output on, and answers for its leaving nothing behind. The *director*
//! plays, in a process group of its own, with a pipe from the front as its standard input. Whatever
//! ends the front, Ctrl-C and SIGKILL included, is an end of file for the director, which then
//! leaves nothing behind; and whatever ends the director, the front leaves nothing behind. No
//! signal handler is needed.
//!
//! Both use none of the crates that they show: they judge them from outside. The actors are
//! programs of their own, and use them.

mod actors;
mod count;
mod director;
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
mod status;
mod sweep;
mod text;
pub mod wire;

use std::io::Write;
use std::process::ExitCode;

use anyhow::{Context, Result};

use director::Director;
use document::Document;
pub use options::Options;
use record::Record;
use setup::Setup;
use text::Text;

/// The front, or the director that a front has started.
///
/// # Errors
/// The play could not begin. Whatever goes wrong in it is told, and is an exit code.
pub fn main(options: &Options) -> Result<ExitCode> {
    match &options.director {
        None => front::run(options),
        Some(setup) => run_director(&serde_json::from_str(setup).context("--director")?),
    }
}

fn run_director(setup: &Setup) -> Result<ExitCode> {
    sweep::adopt_orphans().context("become the reaper of orphans")?;

    let plan = setup.plan()?;
    let text = Text::new(setup);
    let mut document = Document::new(&setup.options, &plan);
    text.opening(&document);

    let played = play(setup, plan, &text, &mut document);
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
    let mut leaks = Director::new(setup, plan, Record::new(document, text))?.play()?;
    let after = proc_fs::fds_of(sweep::own_pid());
    leaks.extend(leaks::left_open("the director", &before, &after));
    document.count = count::count(document, &setup.run, &leaks);
    Ok(())
}
