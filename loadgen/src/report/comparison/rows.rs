//! The result of a comparison.

use serde::Serialize;

use super::programs::SamePrograms;
use crate::workload::scenario::Rank;

/// B against A: what `--json` prints.
#[derive(Debug, Serialize)]
pub struct Comparison {
    /// The version of the JSON.
    pub schema_version: u32,
    /// What is compared with, as the user named it.
    pub a: String,
    /// What is judged.
    pub b: String,
    /// 1 - the chance that any of its figures shows a difference where there is none.
    pub confidence: f64,
    /// The least difference that counts.
    pub least_effect: f64,
    /// The least difference that is a regression.
    pub threshold: f64,
    /// By which figures, beside the one that ranks a scenario.
    pub compared: Vec<Rank>,
    /// The figures that were compared, which share the chance of an error.
    pub comparisons: usize,
    /// A figure is slower by the threshold or more, or B failed where A did not.
    pub regression: bool,
    /// Whether both sides ran the same programs.
    pub same_programs: SamePrograms,
    /// In the order of A's profile, then those that only B has.
    pub rows: Vec<Row>,
}

/// A server at a point.
#[derive(Debug, Serialize)]
pub struct Row {
    /// The scenario.
    pub scenario: String,
    /// The point of it.
    pub point: String,
    /// The server's name in A, and in B where that is another.
    pub server: String,
    /// By which the scenario is ranked.
    pub rank: Rank,
    /// What its figures together show.
    pub verdict: Outcome,
    /// Why it is not comparable.
    pub reason: Option<String>,
    /// The server failed in B, and did not in A.
    pub broke: bool,
    /// Which side left clients without an answer, and how many. Such a side is not called faster.
    pub starved: Option<String>,
    /// The figure by which the scenario is ranked comes first.
    pub figures: Vec<Compared>,
}

/// What a comparison shows of B.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// B is faster.
    Faster,
    /// B is slower.
    Slower,
    /// The trials show none.
    NoDifferenceShown,
    /// One of them has no figures, or not of the same load.
    NotComparable,
}

/// One figure of a row.
#[derive(Debug, Serialize)]
pub struct Compared {
    /// Which figure.
    pub figure: Rank,
    /// Requests a second, or microseconds.
    pub a: f64,
    /// Likewise.
    pub b: f64,
    /// B / A.
    pub ratio: f64,
    /// The lower end of the ratio's interval.
    pub low: f64,
    /// Its upper end.
    pub high: f64,
    /// The p-value of this figure alone: it is not corrected for the number of comparisons.
    pub p_value: f64,
    /// What it shows.
    pub verdict: Outcome,
}

impl Row {
    /// The first figure that differs decides: the scenario's own, then one that is slower.
    pub fn conclude(&mut self) {
        let shows = |outcome| self.figures.iter().any(|figure| figure.verdict == outcome);
        self.verdict = match self.figures.first().map(|figure| figure.verdict) {
            None => Outcome::NotComparable,
            Some(Outcome::NoDifferenceShown) if shows(Outcome::Slower) => Outcome::Slower,
            Some(Outcome::NoDifferenceShown) if shows(Outcome::Faster) => Outcome::Faster,
            Some(verdict) => verdict,
        };
    }
}
