//! Whether what was seen of a run under a fault is as it should be.

use std::fmt::Write;

use super::documented;
use super::errno;
use super::scenario::Scenario;
use super::spec::Fault;
use super::told::{Facts, Holdings, Outcome, Refusal, Told};
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
            Verdict::Missed => "missed",
            Verdict::Bad(_) => "bad",
        }
    }

    /// What there is to say about it.
    #[must_use]
    pub fn text(&self) -> &str {
        match self {
            Verdict::Success | Verdict::Missed => "",
            Verdict::Fallback(text) | Verdict::Error(text) | Verdict::Bad(text) => text,
        }
    }
}

/// Judges a run with a fault by one without.
#[must_use]
pub fn judge(scenario: &Scenario, fault: &Fault, clean: &Told, seen: &Seen) -> Verdict {
    let wrong = wrongs(clean, seen);
    if !wrong.is_empty() {
        let output = seen.output.lines().take(12).collect::<Vec<_>>().join(" | ");
        return Verdict::Bad(format!("{}; output: {output}", wrong.join("; ")));
    }
    if seen.injected == 0 {
        return Verdict::Missed;
    }
    let (Some(told), Ok(clean)) = (&seen.told, &clean.first) else {
        return Verdict::Bad("nothing was told".to_owned());
    };
    match &told.first {
        Ok(facts) if facts == clean => Verdict::Success,
        Ok(facts) => fallback(scenario, fault, clean, facts),
        Err(refusal) => error(scenario, fault, refusal),
    }
}

fn fallback(scenario: &Scenario, fault: &Fault, clean: &Facts, facts: &Facts) -> Verdict {
    let mut text = String::new();
    for name in clean.keys().chain(facts.keys().filter(|name| !clean.contains_key(*name))) {
        let (before, now) = (clean.get(name), facts.get(name));
        if before == now {
            continue;
        }
        let of = |value: Option<&String>| value.map_or("nothing".to_owned(), Clone::clone);
        let (before, now) = (of(before), of(now));
        match documented::fallback(scenario, fault, name, &before, &now) {
            Some(reason) => {
                let _ = write!(text, "{name}: {reason}. ");
            }
            None => return Verdict::Bad(format!("{name}: {now}, and without the fault {before}")),
        }
    }
    Verdict::Fallback(text)
}

fn error(scenario: &Scenario, fault: &Fault, refusal: &Refusal) -> Verdict {
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
    match documented::error(scenario, fault, refusal) {
        Some(reason) => Verdict::Error(format!("{text} ({reason})")),
        None => Verdict::Bad(format!("another error than the fault's: {text}")),
    }
}

/// What is wrong whatever the operation answers.
fn wrongs(clean: &Told, seen: &Seen) -> Vec<String> {
    let mut wrong = Vec::new();
    let left = seen.left.join(", ");
    match seen.ended {
        None => wrong.push(format!("it hangs: {left}")),
        Some(status) if !status.success() => wrong.push(format!("it ended by {status}")),
        Some(_) if !seen.left.is_empty() => wrong.push(format!("left behind: {left}")),
        Some(_) => {}
    }
    for sign in ["panicked at", "memory allocation of", "fatal runtime error", "futex facility"] {
        if seen.output.contains(sign) {
            wrong.push(sign.to_owned());
        }
    }
    wrong.extend(seen.stray_signals.iter().cloned());
    if !seen.strangers_lived {
        wrong.push("a stranger was killed".to_owned());
    }
    match &seen.told {
        None if wrong.is_empty() => wrong.push("it ended without a word".to_owned()),
        None => {}
        Some(told) => wrong.extend(after(clean, told)),
    }
    wrong
}

/// What is wrong with the process after the fault.
fn after(clean: &Told, told: &Told) -> Vec<String> {
    let mut wrong = Vec::new();
    let again = |outcome: &Option<Outcome>| format!("{outcome:?}");
    if told.again != clean.again {
        let (now, before) = (again(&told.again), again(&clean.again));
        wrong.push(format!("the next one, without a fault: {now}, and should be {before}"));
    }
    wrong.extend(difference(&clean.left, &told.left));
    wrong
}

fn difference(clean: &Holdings, left: &Holdings) -> Option<String> {
    if clean == left {
        return None;
    }
    let mut text = String::from("held afterwards:");
    let names = clean.fds.keys().chain(left.fds.keys());
    let names: std::collections::BTreeSet<&String> = names.collect();
    for name in names {
        let of = |holdings: &Holdings| holdings.fds.get(name).copied().unwrap_or(0);
        if of(clean) != of(left) {
            let _ = write!(text, " {name} {} not {},", of(left), of(clean));
        }
    }
    if clean.threads != left.threads {
        let _ = write!(text, " {} threads not {},", left.threads, clean.threads);
    }
    if clean.children != left.children {
        let _ = write!(text, " {} children not {},", left.children, clean.children);
    }
    if clean.files != left.files {
        let _ = write!(text, " files {:?} not {:?}", left.files, clean.files);
    }
    Some(text)
}
