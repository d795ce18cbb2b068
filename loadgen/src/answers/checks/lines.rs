//! Figures that grow along a straight line: a line for each trial.

use super::{Check, Trials, own};
use crate::answers::figure::Figure;
use crate::answers::measured::rounds;
use crate::answers::numbers::found_text;
use crate::answers::rule::{Along, Growth};
use crate::report::numbers::count;
use crate::stats::line::Line;
use crate::stats::trials::Mean;

impl Along {
    pub(super) fn checks(&self, trials: &Trials<'_>) -> Vec<Check> {
        let mut places: Vec<(&String, f64)> = self.of.iter().map(|(row, x)| (row, *x)).collect();
        places.sort_by(|a, b| a.1.total_cmp(&b.1));
        let xs: Vec<f64> = places.iter().map(|(_, x)| *x).collect();
        let fits = || -> Result<Vec<(Vec<f64>, Line)>, String> {
            let cells = places.iter().map(|(row, _)| trials.only(&own(row)));
            let cells = cells.collect::<Result<Vec<_>, _>>()?;
            let fit = |values: Vec<f64>| {
                let points: Vec<_> = xs.iter().copied().zip(values.iter().copied()).collect();
                Line::through(&points).map(|line| (values, line))
            };
            let fits = rounds(&cells, self.figure)?.into_iter().map(fit);
            fits.collect::<Option<_>>()
                .ok_or_else(|| "no line goes through a trial".to_owned())
        };
        let fits = fits();
        let check = |(at, (row, x)): (usize, &(&String, f64))| {
            let values = fits.clone().map(|fits| {
                let share = |(values, line): &(Vec<f64>, Line)| values[at] / line.at(*x);
                fits.iter().map(share).collect()
            });
            let what = format!("{} of {row} / the line", self.figure.title());
            Check::within(what, values, self.within)
        };
        let mut checks: Vec<Check> = places.iter().enumerate().map(check).collect();
        if let (Ok(fits), Some(first)) = (&fits, checks.first_mut()) {
            let lines: Vec<Line> = fits.iter().map(|(_, line)| *line).collect();
            first.remark = Some(equation(&lines, self.figure, &self.unit));
        }
        checks
    }
}

impl Growth {
    pub(super) fn checks(&self, trials: &Trials<'_>) -> Vec<Check> {
        let points = trials.points(&self.of, &[]);
        let number = |point: &String| point.rsplit_once('-')?.1.parse::<f64>().ok();
        let xs: Vec<f64> = points.iter().filter_map(number).collect();
        let most = xs.iter().copied().fold(0.0, f64::max);
        let lines = || -> Result<Vec<Line>, String> {
            let cells = points.iter().map(|point| trials.cell(&self.of, point));
            let cells = cells.collect::<Result<Vec<_>, _>>()?;
            let line = |values: Vec<f64>| {
                let points: Vec<_> = xs.iter().copied().zip(values).collect();
                Line::through(&points)
            };
            let lines = rounds(&cells, self.figure)?.into_iter().map(line);
            lines
                .collect::<Option<_>>()
                .ok_or_else(|| "no line goes through a trial".to_owned())
        };
        let lines = lines();
        let quantity = |line: &Line| {
            if self.each {
                line.slope
            } else {
                line.slope * most / line.intercept
            }
        };
        let (title, of, unit) = (self.figure.title(), &self.of, &self.unit);
        let what = if self.each {
            format!("{title} of {of} for each of its {unit}")
        } else {
            format!(
                "growth of {title} of {of} up to {} {unit} / its value with none",
                count(most as u64)
            )
        };
        vec![Check {
            what,
            values: lines
                .clone()
                .map(|lines| lines.iter().map(quantity).collect()),
            is_ratio: false,
            at_least: self.at_least,
            at_most: self.at_most,
            predicts: None,
            remark: lines.ok().map(|lines| equation(&lines, self.figure, unit)),
        }]
    }
}

/// The mean line, in words.
fn equation(lines: &[Line], figure: Figure, unit: &str) -> String {
    const ALPHA: f64 = 0.05;
    let mean = |part: fn(&Line) -> f64| {
        let values: Vec<f64> = lines.iter().map(part).collect();
        Mean::of(&values, ALPHA).map_or_else(|| "?".to_owned(), |mean| found_text(&mean))
    };
    format!(
        "{} = a + b * {unit}, with a = {} and b = {}",
        figure.title(),
        mean(|line| line.intercept),
        mean(|line| line.slope)
    )
}
