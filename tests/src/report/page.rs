//! The table on standard output, and the page.

use std::fmt::Write;

use super::plot::Plot;
use super::run::Run;
use crate::samples::{Row, Samples, quantile};

/// One contender's figures as text: count, median, quartiles, p99, ratio to the limit.
fn figures(samples: &Samples) -> Vec<[String; 7]> {
    let limit = samples.row(&samples.limit).map_or(f64::NAN, Row::median);
    let figures = samples.rows.iter().map(|row| {
        let sorted = row.sorted();
        let median = quantile(&sorted, 0.5);
        let role = match &row.name {
            name if *name == samples.ours => "ours",
            name if *name == samples.limit => "limit",
            _ => "",
        };
        let ratio = median / limit;
        [
            row.name.clone(),
            role.to_owned(),
            sorted.len().to_string(),
            short(median),
            format!(
                "{} .. {}",
                short(quantile(&sorted, 0.25)),
                short(quantile(&sorted, 0.75))
            ),
            short(quantile(&sorted, 0.99)),
            if ratio.is_finite() {
                format!("{ratio:.2}")
            } else {
                "-".into()
            },
        ]
    });
    figures.collect()
}

/// Four digits.
fn short(value: f64) -> String {
    let decimals = match value.abs() {
        value if value >= 1000.0 => 0,
        value if value >= 100.0 => 1,
        value if value >= 10.0 => 2,
        _ => 3,
    };
    format!("{value:.decimals$}")
}

pub(super) fn table(all: &[Samples]) -> String {
    let mut text = format!(
        "\n{:<30} {:<6} {:>5} {:>10} {:>22} {:>10} {:>9}\n",
        "", "", "n", "median", "quartiles", "p99", "ratio"
    );
    for samples in all {
        let _ = writeln!(text, "{} [{}]", samples.what, samples.unit);
        for [name, role, count, median, quartiles, p99, ratio] in figures(samples) {
            let _ = writeln!(
                text,
                "  {name:<28} {role:<6} {count:>5} {median:>10} {quartiles:>22} {p99:>10} \
                 {ratio:>9}"
            );
        }
    }
    text
}

pub(super) fn page(run: &Run, all: &[Samples], plots: &[Plot]) -> String {
    let length = if run.quick {
        "a quick one, of few rounds"
    } else {
        "a whole one"
    };
    let command = if run.quick {
        "cargo xtask bench --quick"
    } else {
        "cargo xtask bench"
    };
    let mut text = format!(
        "# Measured\n\n{}. The run was {length}: {} s.\n\n\
         ```sh\n{command}  # measure, and write this page\n\
         cargo xtask bench --redraw  # write it again from the samples in target/samples\n```\n\n\
         In each round every contender has its turn; the first rounds are not counted. The ratio\n\
         is that of the medians to the limit, which is a bare loop of system calls in the same\n\
         binary, or what is named for it at the head of the bench. The 99th percentile of few\n\
         samples is their largest. Ratios travel, absolute times do not. What is not at its limit\n\
         is explained in [limits.md](limits.md).\n",
        run.machine, run.seconds
    );
    for plot in plots {
        let _ = write!(text, "\n![{}]({})\n", plot.title, plot.file);
    }
    for samples in all {
        let _ = write!(
            text,
            "\n## {} [{}]\n\n| | | n | median | quartiles | p99 | ratio |\n\
             |---|---|---:|---:|---:|---:|---:|\n",
            samples.what, samples.unit
        );
        for figures in figures(samples) {
            let _ = writeln!(text, "| {} |", figures.join(" | "));
        }
    }
    text
}
