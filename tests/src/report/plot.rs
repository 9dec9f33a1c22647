//! The plots of the report: SVG whose text is text, so that no font and no system library is
//! needed.

use std::ops::Range;
use std::path::Path;

use anyhow::{Result, anyhow};
use plotters::coord::ranged1d::{AsRangedCoord, ValueFormatter};
use plotters::prelude::*;

use crate::samples::{Samples, quantile};

/// Eight that are told apart by those who see few colours as well (Okabe and Ito, and grey).
const COLOURS: [RGBColor; 8] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(0, 0, 0),
    RGBColor(140, 140, 140),
];
/// Points of a curve: more are not seen.
const POINTS: u32 = 100;

/// A file that was drawn.
#[derive(Debug)]
pub(super) struct Plot {
    pub(super) file: &'static str,
    pub(super) title: String,
}

struct Chart {
    file: &'static str,
    title: String,
    x: String,
    y: String,
    log_x: bool,
    log_y: bool,
    curves: Vec<Curve>,
}

struct Curve {
    name: String,
    points: Vec<(f64, f64)>,
}

/// Draws every plot that there are samples for.
pub(super) fn all(folder: &Path, all: &[Samples]) -> Result<Vec<Plot>> {
    let some = |start: &str, end: &str, axis: &str| -> Vec<&Samples> {
        let wanted = |samples: &&Samples| {
            samples.what.starts_with(start) && samples.what.ends_with(end) && samples.axis == axis
        };
        let mut some: Vec<&Samples> = all.iter().filter(wanted).collect();
        some.sort_by(|one, other| one.at.total_cmp(&other.at));
        some
    };
    let death = some("parent of", "quiet", "GiB");
    let spawn = some("spawn, parent with", "until the call is back", "GiB");
    let clean = some("spawn that cleans", "open", "open descriptors");
    let storm = some("exit storm", "told and reaped", "children");
    let charts = [
        death
            .first()
            .map(|of| distribution("death_cdf_small.svg", of)),
        death
            .last()
            .map(|of| distribution("death_cdf_large.svg", of)),
        series(
            "death_rss.svg",
            "Parent killed, until its child knows",
            &death,
            [false, true],
        ),
        series(
            "spawn_rss.svg",
            "Spawn, until the call is back",
            &spawn,
            [false, true],
        ),
        series(
            "fd_clean.svg",
            "Spawn that leaves nothing open to the child",
            &clean,
            [true, true],
        ),
        series(
            "exit_storm.svg",
            "Many killed at once, until all are told and reaped",
            &storm,
            [true, false],
        ),
    ];
    let mut plots = Vec::new();
    for chart in charts.into_iter().flatten() {
        chart.draw(folder)?;
        plots.push(Plot {
            file: chart.file,
            title: chart.title,
        });
    }
    Ok(plots)
}

/// What share of the samples is no larger.
fn distribution(file: &'static str, samples: &Samples) -> Chart {
    let curve = |row: &super::samples::Row| {
        let sorted = row.sorted();
        let share = |point| f64::from(point) / f64::from(POINTS);
        let points = (0..=POINTS).map(|point| (quantile(&sorted, share(point)), share(point)));
        Curve {
            name: row.name.clone(),
            points: points.collect(),
        }
    };
    Chart {
        file,
        title: samples.what.clone(),
        x: samples.unit.clone(),
        y: "share of deaths known".into(),
        log_x: true,
        log_y: false,
        curves: samples.rows.iter().map(curve).collect(),
    }
}

/// Medians against what is varied, logarithmic or not.
fn series(file: &'static str, title: &str, some: &[&Samples], logs: [bool; 2]) -> Option<Chart> {
    let first = some.first()?;
    let mut curves: Vec<Curve> = Vec::new();
    for samples in some {
        for row in &samples.rows {
            let point = (samples.at, row.median());
            match curves.iter_mut().find(|curve| curve.name == row.name) {
                Some(curve) => curve.points.push(point),
                None => curves.push(Curve {
                    name: row.name.clone(),
                    points: vec![point],
                }),
            }
        }
    }
    Some(Chart {
        file,
        title: title.into(),
        x: first.axis.clone(),
        y: format!("{}, median", first.unit),
        log_x: logs[0],
        log_y: logs[1],
        curves,
    })
}

impl Chart {
    fn draw(&self, folder: &Path) -> Result<()> {
        let points = || self.curves.iter().flat_map(|curve| &curve.points);
        let x = range(points().map(|point| point.0), self.log_x);
        let y = range(points().map(|point| point.1), self.log_y);
        match (self.log_x, self.log_y) {
            (true, true) => self.draw_on(folder, x.log_scale(), y.log_scale()),
            (true, false) => self.draw_on(folder, x.log_scale(), y),
            (false, true) => self.draw_on(folder, x, y.log_scale()),
            (false, false) => self.draw_on(folder, x, y),
        }
    }

    fn draw_on<X, Y>(&self, folder: &Path, x: X, y: Y) -> Result<()>
    where
        X: AsRangedCoord<Value = f64>,
        Y: AsRangedCoord<Value = f64>,
        X::CoordDescType: ValueFormatter<f64>,
        Y::CoordDescType: ValueFormatter<f64>,
    {
        let file = folder.join(self.file);
        let area = SVGBackend::new(&file, (860, 480)).into_drawing_area();
        // The errors of the library hold a lifetime of the backend: their text is kept.
        let told = |error: &dyn std::fmt::Display| anyhow!("{}: {error}", self.file);
        area.fill(&WHITE).map_err(|error| told(&error))?;
        let (left, right) = area.split_horizontally(640);
        let mut chart = ChartBuilder::on(&left)
            .margin(12)
            .caption(&self.title, ("sans-serif", 18))
            .x_label_area_size(44)
            .y_label_area_size(64)
            .build_cartesian_2d(x, y)
            .map_err(|error| told(&error))?;
        chart
            .configure_mesh()
            .light_line_style(WHITE)
            .x_desc(&self.x)
            .y_desc(&self.y)
            .x_labels(6)
            .x_label_formatter(&|value| label(*value))
            .y_label_formatter(&|value| label(*value))
            .draw()
            .map_err(|error| told(&error))?;
        for (index, curve) in self.curves.iter().enumerate() {
            let colour = COLOURS[index % COLOURS.len()];
            chart
                .draw_series(LineSeries::new(
                    curve.points.clone(),
                    colour.stroke_width(2),
                ))
                .map_err(|error| told(&error))?;
            // One point alone is no line.
            if curve.points.len() < 20 {
                let dots = curve
                    .points
                    .iter()
                    .map(|point| Circle::new(*point, 3, colour.filled()));
                chart.draw_series(dots).map_err(|error| told(&error))?;
            }
            // Beside the plot, where it hides no curve.
            let line = i32::try_from(index).unwrap_or(0) * 24 + 60;
            let sample = PathElement::new([(0, line), (24, line)], colour.stroke_width(3));
            right.draw(&sample).map_err(|error| told(&error))?;
            let name = Text::new(curve.name.clone(), (30, line - 7), ("sans-serif", 14));
            right.draw(&name).map_err(|error| told(&error))?;
        }
        area.present().map_err(|error| told(&error))
    }
}

/// From the smallest to the largest; from zero where that can be shown.
fn range(values: impl Iterator<Item = f64>, log: bool) -> Range<f64> {
    let values: Vec<f64> = values
        .filter(|value| value.is_finite() && (!log || *value > 0.0))
        .collect();
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    match (values.is_empty(), log) {
        (true, _) => 1.0..10.0,
        (false, true) => least / 1.3..most * 1.3,
        (false, false) => 0.0..most.max(f64::MIN_POSITIVE),
    }
}

fn label(value: f64) -> String {
    let rounded = (value * 1000.0).round() / 1000.0;
    rounded.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Folder;
    use crate::samples::Row;

    /// Whoever has no samples, or none above zero, is no reason to fail.
    #[test]
    fn plots_are_drawn_of_whatever_there_is() {
        let folder = Folder::new();
        let row = |name: &str, samples: &[f64]| Row {
            name: name.into(),
            samples: samples.to_vec(),
        };
        let of = |at| Samples {
            what: "parent of so much killed, quiet".into(),
            unit: "us".into(),
            axis: "GiB".into(),
            at,
            ours: "sentinel".into(),
            limit: "<pipe>".into(),
            rows: vec![
                row("sentinel", &[1.0, 2.0, 4.0]),
                row("<pipe>", &[at * 100.0]),
                row("nothing", &[]),
            ],
        };
        let plots = all(folder.path(), &[of(1.0), of(0.0)]).expect("drawn");
        assert_eq!(plots.len(), 3);
        let text = std::fs::read_to_string(folder.join("death_rss.svg")).expect("a file");
        assert!(
            text.contains("<text") && text.contains("&lt;pipe&gt;"),
            "{text}"
        );
    }
}
