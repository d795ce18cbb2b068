//! A row divided by another, and a figure of a row.

use super::{Check, Trials};
use crate::answers::measured::rounds;
use crate::answers::rule::{OfRow, Ratio};

impl Ratio {
    /// One divided by the other, or the difference.
    pub(super) fn checks(&self, trials: &Trials<'_>, is_ratio: bool) -> Vec<Check> {
        let points = trials.points(&self.of, &self.points);
        let several = points.len() > 1 || !self.points.is_empty();
        // The loads of two scenarios may have different names.
        let others = trials.points(&self.to, &self.points);
        let sign = if is_ratio { "/" } else { "minus" };
        let check = |(point, other): (&String, &String)| {
            let values = || {
                let cells = [trials.cell(&self.of, point)?, trials.cell(&self.to, other)?];
                let rounds = rounds(&cells, self.figure)?;
                let quantity = |values: &Vec<f64>| {
                    if is_ratio {
                        values[0] / values[1]
                    } else {
                        values[0] - values[1]
                    }
                };
                Ok(rounds.iter().map(quantity).collect())
            };
            let at = if several {
                format!(" at {point}")
            } else {
                String::new()
            };
            Check {
                what: format!(
                    "{} of {} {sign} {}{at}",
                    self.figure.title(),
                    self.of,
                    self.to
                ),
                values: values(),
                is_ratio,
                at_least: self.at_least,
                at_most: self.at_most,
                predicts: None,
                remark: None,
            }
        };
        points.iter().zip(&others).map(check).collect()
    }
}

impl OfRow {
    pub(super) fn checks(&self, trials: &Trials<'_>) -> Vec<Check> {
        let points = trials.points(&self.of, &[]);
        let several = points.len() > 1;
        let check = |point: &String| {
            let values = || {
                let cell = trials.cell(&self.of, point)?;
                let rounds = rounds(&[cell], self.figure)?;
                Ok(rounds.into_iter().flatten().collect())
            };
            let at = if several {
                format!(" at {point}")
            } else {
                String::new()
            };
            Check {
                what: format!("{} of {}{at}", self.figure.title(), self.of),
                values: values(),
                is_ratio: false,
                at_least: self.at_least,
                at_most: self.at_most,
                predicts: None,
                remark: None,
            }
        };
        points.iter().map(check).collect()
    }
}
