//! All faults of all scenarios, one after the other; each as a line on standard output.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Write;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use crate::namespace;

use super::judge::{Verdict, judge};
use super::scenario;
use super::scene::Scenario;
use super::spec::Fault;
use super::table;
use super::told::Told;
use super::trial::{Calls, Injector, Seen};
use super::wish::Wish;

/// A scenario without a fault.
struct Clean {
    scenario: Scenario,
    calls: Calls,
    told: Told,
}

/// One fault of one scenario.
struct Case<'a> {
    clean: &'a Clean,
    fault: Fault,
}

impl Case<'_> {
    fn name(&self) -> String {
        format!("{}:{}", self.clean.scenario.name, self.fault)
    }
}

/// Runs the faults, and says a line of words between tabs for each: `case`, its name, the verdict's
/// word, how long it took in milliseconds, and what there is to say. Before them `planned` and how
/// many they are; after them `done`.
///
/// # Panics
/// As `Injector::new`.
#[must_use]
pub fn run(wish: &Wish) -> ExitCode {
    if namespace::kernel() < (5, 19) {
        // A signal would take a held call back, and it would come, and be counted, once more.
        eprintln!("skipped: before Linux 5.19 no call can be held past a signal");
        return ExitCode::SUCCESS;
    }
    let mut injector = Injector::new();
    let began = Instant::now();
    let limit = wish.seconds.map(Duration::from_secs);
    let mut scenarios = chosen(wish);
    if limit.is_some() {
        fastrand::shuffle(&mut scenarios);
    }
    if scenarios.is_empty() {
        eprintln!("no scenario or fault has that name");
        return ExitCode::FAILURE;
    }
    let mut ok = true;
    let mut came = 0;
    let mut clean = Vec::new();
    for scenario in scenarios {
        // The other half is for the faults.
        if limit.is_some_and(|limit| began.elapsed() > limit / 2) {
            break;
        }
        match without_a_fault(&mut injector, scenario, wish.seconds.is_some()) {
            Ok(made) => clean.push(made),
            Err(error) => {
                say(&["case", scenario.name, "bad", "0", &error]);
                ok = false;
            }
        }
    }
    let cases = cases(&clean, wish);
    say(&["planned", &cases.len().to_string()]);
    for case in cases {
        if limit.is_some_and(|limit| began.elapsed() > limit) {
            break;
        }
        let clean = case.clean;
        let seen = injector.run(&clean.scenario, Some(&case.fault), Some(&clean.told.left));
        let verdict = judge(&case.fault, &clean.told, &seen);
        let is_bad = matches!(verdict, Verdict::Bad(_));
        ok &= !is_bad;
        came += usize::from(verdict != Verdict::Missed);
        if wish.terse && !is_bad {
            continue;
        }
        let took = seen.took.as_millis().to_string();
        say(&["case", &case.name(), verdict.word(), &took, verdict.text()]);
    }
    if came == 0 {
        eprintln!("no fault of that name came");
        ok = false;
    }
    say(&["done"]);
    if ok {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// The scenarios that are wanted.
fn chosen(wish: &Wish) -> Vec<Scenario> {
    let mut all = scenario::all();
    if let Some(only) = &wish.only {
        let name = only.split(':').next().unwrap_or_default();
        let is_whole = only.contains(':');
        all.retain(|scenario| match is_whole {
            true => scenario.name == name,
            false => scenario.name.starts_with(name),
        });
    }
    all
}

/// `once` where time is short: calls that are not made in each run may be missing then.
fn without_a_fault(
    injector: &mut Injector,
    scenario: Scenario,
    once: bool,
) -> Result<Clean, String> {
    let mut run = || told(injector.run(&scenario, None, None));
    let (mut calls, told) = run()?;
    let (more, again) = if once {
        (Calls::new(), told.clone())
    } else {
        run()?
    };
    if told != again {
        return Err(format!(
            "two runs without a fault differ: {told:?}, {again:?}"
        ));
    }
    for (call, count) in more {
        let known = calls.entry(call).or_default();
        *known = count.max(*known);
    }
    Ok(Clean {
        scenario,
        calls,
        told,
    })
}

fn told(seen: Seen) -> Result<(Calls, Told), String> {
    let Seen {
        calls,
        ended,
        told,
        output,
        stray_signals,
        left,
        ..
    } = seen;
    let well = ended.is_some_and(|status| status.success());
    match told {
        Some(told) if well && told.first.is_ok() && stray_signals.is_empty() && left.is_empty() => {
            Ok((calls, told))
        }
        told => Err(format!(
            "it fails without a fault: {ended:?}, {told:?}, {stray_signals:?}, {left:?}: {}",
            output.replace('\n', " | ")
        )),
    }
}

fn cases<'a>(clean: &'a [Clean], wish: &Wish) -> Vec<Case<'a>> {
    // One fault by its whole name need not be one of those that a run without a fault has.
    let one = wish.only.as_ref().and_then(|only| only.split_once(':'));
    if let Some(fault) = one.and_then(|(_, fault)| Fault::parse(fault)) {
        return clean.iter().map(|clean| Case { clean, fault }).collect();
    }
    let mut unknown = BTreeSet::new();
    let mut cases = Vec::new();
    for clean in clean {
        for (&(actor, call), &count) in &clean.calls {
            let Some(row) = table::by_number(call) else {
                unknown.insert(call);
                continue;
            };
            for turn in 1..=count {
                let fault = |&errno| Fault {
                    actor,
                    call,
                    turn,
                    errno,
                };
                let faults = row.errnos.iter().map(fault);
                cases.extend(faults.map(|fault| Case { clean, fault }));
            }
        }
    }
    for call in unknown {
        let text = format!("the table has no row for the system call {call}");
        say(&["case", "table", "bad", "0", &text]);
    }
    let place = |case: &Case<'_>| {
        let mut hasher = DefaultHasher::new();
        case.name().hash(&mut hasher);
        hasher.finish()
    };
    if let Some(only) = &wish.only {
        cases.retain(|case| case.name().starts_with(only.as_str()));
    }
    if wish.shares > 1 {
        cases.retain(|case| place(case) % wish.shares == wish.share);
    }
    if wish.seconds.is_some() {
        fastrand::shuffle(&mut cases);
    }
    cases
}

/// A line of words between tabs.
fn say(words: &[&str]) {
    let clean = |word: &&str| word.replace(['\n', '\t'], " ");
    let words: Vec<String> = words.iter().map(clean).collect();
    let mut out = std::io::stdout().lock();
    // Nobody who reads: nobody to tell.
    let _ = writeln!(out, "{}", words.join("\t")).and_then(|()| out.flush());
}
