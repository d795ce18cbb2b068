//! What each rule looks at: quantities, a value for each trial, and the limits between which they must lie.

mod forms;
mod lines;
mod ratios;
#[cfg(test)]
mod tests;

use super::figure::Figure;
use super::file::Experiment;
use super::measured::{Cell, Measured};
use super::rule::{Row, Rule};

/// A quantity and its limits.
#[derive(Debug, Clone, PartialEq)]
pub struct Check {
    /// What it is, such as `io-uring / epoll, connections-300`.
    pub what: String,
    /// Its value in each trial, or why there is none.
    pub values: Result<Vec<f64>, String>,
    /// It is a ratio: its mean is the geometric one.
    pub is_ratio: bool,
    /// The lower limit.
    pub at_least: Option<f64>,
    /// The upper limit.
    pub at_most: Option<f64>,
    /// What theory says of a figure of a place in the table.
    pub predicts: Option<Prediction>,
    /// A remark with figures of its own.
    pub remark: Option<String>,
}

/// What theory says a figure is.
#[derive(Debug, Clone, PartialEq)]
pub struct Prediction {
    /// The scenario, the server and the point.
    pub place: [String; 3],
    /// Of this figure.
    pub figure: Figure,
    /// It should be this.
    pub value: f64,
}

impl Check {
    fn within(what: String, values: Result<Vec<f64>, String>, share: f64) -> Self {
        Self {
            what,
            values,
            is_ratio: false,
            at_least: Some(1.0 - share),
            at_most: Some(1.0 + share),
            predicts: None,
            remark: None,
        }
    }
}

impl Rule {
    /// What it looks at.
    pub fn checks(&self, experiment: &Experiment, measured: &Measured) -> Vec<Check> {
        let trials = Trials {
            experiment,
            measured,
        };
        match self {
            Self::Ratio(rule) => rule.checks(&trials, true),
            Self::Difference(rule) => rule.checks(&trials, false),
            Self::HalfInterval(rule) => rule.checks(&trials),
            Self::Line(rule) => rule.checks(&trials),
            Self::Queue(rule) => rule.checks(&trials),
            Self::Value(rule) => rule.checks(&trials),
            Self::Growth(rule) => rule.checks(&trials),
            Self::ClosedNetwork(rule) => rule.checks(&trials),
            Self::Omission(rule) => rule.checks(&trials),
        }
    }
}

/// Where the rules look.
struct Trials<'a> {
    experiment: &'a Experiment,
    measured: &'a Measured,
}

impl<'a> Trials<'a> {
    /// The points of a row: the named ones, or all.
    fn points(&self, row: &Row, wanted: &[String]) -> Vec<String> {
        if !wanted.is_empty() {
            return wanted.to_vec();
        }
        let points = self
            .experiment
            .scenario(row)
            .map(|scenario| &scenario.points);
        points
            .into_iter()
            .flatten()
            .map(|point| point.name.clone())
            .collect()
    }

    fn cell(&self, row: &Row, point: &str) -> Result<&'a Cell, String> {
        let scenario = self.experiment.scenario(row);
        let scenario = scenario.map_or("", |scenario| scenario.name.as_str());
        self.measured.cell(scenario, &row.server, point)
    }

    /// Where a row has one point, that one.
    fn only(&self, row: &Row) -> Result<&'a Cell, String> {
        let points = self.points(row, &[]);
        let point = points.first().ok_or("it has no point")?;
        self.cell(row, point)
    }
}

fn own(name: &str) -> Row {
    Row::from(name.to_owned())
}

impl Cell {
    /// What theory says of a figure here.
    fn prediction(&self, figure: Figure, value: f64) -> Prediction {
        Prediction {
            place: [&self.scenario, &self.server, &self.point].map(String::clone),
            figure,
            value,
        }
    }
}
