//! Whether what was seen of a run under a fault is as it should be.

use std::fmt::Write;

use super::documented;
use super::errno;
use super::spec::Fault;
use super::told::{Facts, Refusal, Told};
use super::trial::Seen;

/// What came of a fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// As without it.
    Success,
    /// Less than without it, as the documentation says.
    Fallback(String),
    /// A typed error with the number of the fault.
    Error(String),
    /// A library below ours ends the process for what the kernel never does.
    Below(&'static str),
    /// The call was not made this time.
    Missed,
    /// What must never be.
    Bad(String),
}

impl Verdict {
    /// In a word.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Verdict::Success => "success",
            Verdict::Fallback(_) => "fallback",
            Verdict::Error(_) => "error",
            Verdict::Below(_) => "below",
            Verdict::Missed => "missed",
            Verdict::Bad(_) => "bad",
        }
    }

    /// What there is to say about it.
    #[must_use]
    pub fn text(&self) -> &str {
        match self {
            Verdict::Success | Verdict::Missed => "",
            Verdict::Below(text) => text,
            Verdict::Fallback(text) | Verdict::Error(text) | Verdict::Bad(text) => text,
        }
    }
}

/// Judges a run with a fault by one without.
#[must_use]
pub fn judge(fault: &Fault, clean: &Told, seen: &Seen) -> Verdict {
    match judge_closely(fault, clean, seen) {
        Verdict::Bad(_) if fault.call == libc::SYS_rseq && harm(seen).is_empty() => {
            Verdict::Below(documented::NO_RSEQ)
        }
        verdict => verdict,
    }
}

fn judge_closely(fault: &Fault, clean: &Told, seen: &Seen) -> Verdict {
    if let Some(reason) = documented::below(fault, &seen.output)
        && harm(seen).is_empty()
    {
        return Verdict::Below(reason);
    }
    let wrong = wrongs(fault, clean, seen);
    if !wrong.is_empty() {
        let output = seen.output.lines().take(12).collect::<Vec<_>>().join(" | ");
        let (wrong, at) = (wrong.join("; "), &seen.at);
        return Verdict::Bad(format!("{wrong}; at {at}; output: {output}"));
    }
    if seen.is_unreal {
        return Verdict::Below(documented::CLOSES_WHAT_IS_OPEN);
    }
    if !seen.has_come {
        return Verdict::Missed;
    }
    let (Some(told), Ok(clean)) = (&seen.told, &clean.first) else {
        return Verdict::Bad("nothing was told".to_owned());
    };
    match &told.first {
        Ok(facts) if facts == clean => match documented::held(fault, &seen.at) {
            Some(reason) => Verdict::Fallback(reason.to_owned()),
            None => Verdict::Success,
        },
        Ok(facts) => fallback(fault, clean, facts).map_or_else(
            |wrong| Verdict::Bad(format!("{wrong}; at {}", seen.at)),
            Verdict::Fallback,
        ),
        Err(refusal) => error(fault, refusal),
    }
}

/// What is other than without the fault: why that may be, or that it may not.
fn fallback(fault: &Fault, clean: &Facts, facts: &Facts) -> Result<String, String> {
    let mut text = String::new();
    for name in clean
        .keys()
        .chain(facts.keys().filter(|name| !clean.contains_key(*name)))
    {
        let (before, now) = (clean.get(name), facts.get(name));
        if before == now {
            continue;
        }
        let of = |value: Option<&String>| value.map_or("nothing".to_owned(), Clone::clone);
        match documented::fallback(fault, name, clean, facts) {
            Some(reason) => {
                let _ = write!(text, "{name}: {reason}. ");
            }
            None => return Err(format!("{name}: {}, and should be {}", of(now), of(before))),
        }
    }
    Ok(text)
}

fn error(fault: &Fault, refusal: &Refusal) -> Verdict {
    let Refusal {
        what,
        stage,
        errno,
        text,
    } = refusal;
    let said = errno.map_or("no number".to_owned(), errno::name);
    let text = format!("{what} {stage} {said}: {text}");
    if *errno == Some(fault.errno) {
        return Verdict::Error(text);
    }
    match documented::error(fault, refusal) {
        Some(reason) => Verdict::Error(format!("{text} ({reason})")),
        None => Verdict::Bad(format!("another error than the fault's: {text}")),
    }
}

/// What is wrong whatever the operation answers.
fn wrongs(fault: &Fault, clean: &Told, seen: &Seen) -> Vec<String> {
    let mut wrong = Vec::new();
    let left = seen.left.join(", ");
    match seen.ended {
        None => wrong.push(format!("it hangs: {left}")),
        Some(status) if !status.success() => wrong.push(format!("it ended by {status}")),
        Some(_) => {}
    }
    wrong.extend(harm(seen));
    for sign in [
        "panicked at",
        "memory allocation of",
        "fatal runtime error",
        "futex facility",
    ] {
        if seen.output.contains(sign) {
            wrong.push(sign.to_owned());
        }
    }
    match &seen.told {
        None if wrong.is_empty() => wrong.push("it ended without a word".to_owned()),
        None => {}
        Some(told) => wrong.extend(after(fault, &seen.at, clean, told)),
    }
    wrong
}

/// What a process has done to others that ends for whatever reason.
fn harm(seen: &Seen) -> Vec<String> {
    let mut wrong = seen.stray_signals.clone();
    if !seen.strangers_lived {
        wrong.push("a stranger was killed".to_owned());
    }
    if seen.ended.is_some() && !seen.left.is_empty() {
        wrong.push(format!("left behind: {}", seen.left.join(", ")));
    }
    wrong
}

/// What is wrong with the process after the fault.
fn after(fault: &Fault, at: &str, clean: &Told, told: &Told) -> Vec<String> {
    let again = match (&clean.again, &told.again) {
        (Some(Ok(clean)), Some(Ok(told))) => fallback(fault, clean, told).err(),
        (clean, told) if clean == told => None,
        (_, told) => Some(format!("{told:?}")),
    };
    let again = again.map(|again| format!("the next one, without a fault: {again}"));
    let held = told.left.excess(&clean.left);
    let held = held.filter(|_| documented::held(fault, at).is_none());
    again.into_iter().chain(held).collect()
}
