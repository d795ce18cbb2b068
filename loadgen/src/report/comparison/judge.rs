//! What the figures of all rows together show.

use super::pairs::{Figure, GeneratorBound, Pair, pairs};
use super::rows::{Compared, Comparison, Outcome};
use super::side::Side;
use crate::results::trial::SCHEMA_VERSION;
use crate::stats::holm::holm;
use crate::workload::scenario::Rank;

/// The chance that any figure of a comparison shows a difference where there is none.
const ALPHA: f64 = 0.01;
/// A smaller difference does not count, however sure it is: two builds of the same source differ by a few percent
/// because their code has other addresses.
const LEAST_EFFECT: f64 = 0.05;

impl Comparison {
    /// Compares all rows of two sides.
    ///
    /// # Errors
    /// When files of a run are damaged.
    pub fn of(a: &Side, b: &Side, threshold: f64) -> anyhow::Result<Self> {
        let pairs = pairs(a, b)?;
        let figures = pairs.iter().flat_map(|pair| &pair.figures);
        let p_values: Vec<f64> = figures.map(|figure| figure.ratio.p_value()).collect();
        let mut chances = holm(&p_values, ALPHA).into_iter();
        let least_effect = LEAST_EFFECT.min(threshold);
        let mut rows = Vec::with_capacity(pairs.len());
        for Pair {
            mut row,
            figures,
            bound,
        } in pairs
        {
            // `zip` takes a chance only after a figure, so none is lost at the end of a row.
            let judged = figures.iter().zip(&mut chances);
            row.figures = judged
                .map(|(figure, chance)| judge(figure, chance, least_effect, bound))
                .collect();
            row.conclude();
            rows.push(row);
        }
        let slower = rows.iter().flat_map(|row| &row.figures).any(|figure| {
            figure.verdict == Outcome::Slower
                && slowdown(figure.figure, figure.ratio) >= 1.0 + threshold
        });
        let regression = slower || rows.iter().any(|row| row.broke);
        Ok(Self {
            schema_version: SCHEMA_VERSION,
            a: a.name.clone(),
            b: b.name.clone(),
            confidence: 1.0 - ALPHA,
            least_effect,
            threshold,
            comparisons: p_values.len(),
            regression,
            rows,
        })
    }
}

/// How many times slower B is; below 1 it is faster.
fn slowdown(figure: Rank, ratio: f64) -> f64 {
    match figure {
        Rank::Rate => ratio.recip(),
        Rank::P50 | Rank::P99 | Rank::P999 => ratio,
    }
}

/// What a figure shows, if it may be wrong with this chance.
fn judge(figure: &Figure, chance: f64, least_effect: f64, bound: GeneratorBound) -> Compared {
    let slowdown = slowdown(figure.kind, figure.ratio.value);
    let p_value = figure.ratio.p_value();
    let sure = p_value <= chance;
    // A server that the generator could not fill may be as good as the other.
    let verdict = if sure && slowdown >= 1.0 + least_effect && !bound.b {
        Outcome::Slower
    } else if sure && slowdown.recip() >= 1.0 + least_effect && !bound.a {
        Outcome::Faster
    } else {
        Outcome::NoDifferenceShown
    };
    let (low, high) = figure.ratio.interval(chance);
    // Histograms hold nanoseconds, tables show microseconds.
    let unit = if figure.kind == Rank::Rate { 1.0 } else { 1e3 };
    Compared {
        figure: figure.kind,
        a: figure.a / unit,
        b: figure.b / unit,
        ratio: figure.ratio.value,
        low,
        high,
        p_value,
        verdict,
    }
}
