//! What the figures of all rows together show.

use super::pairs::{Figure, MayBe, Pair, pairs, row_name, servers};
use super::programs::SamePrograms;
use super::rows::{Compared, Comparison, Outcome};
use super::side::Side;
use crate::report::section::LEAST_EFFECT;
use crate::results::trial::SCHEMA_VERSION;
use crate::workload::percentile::Percentile;
use crate::workload::scenario::Rank;

/// The chance that any interval of a comparison misses the true ratio, so that a figure shows a difference where
/// there is none. The figures share it evenly (Bonferroni). Holm's method would find a little more, but only for
/// tests: intervals at its levels do not hold together.
const ALPHA: f64 = 0.01;

impl Comparison {
    /// Compares all rows of two sides by their rates and these percentiles.
    ///
    /// # Errors
    /// When files of a run are damaged.
    pub fn of(
        a: &Side,
        b: &Side,
        percentiles: &[Percentile],
        threshold: f64,
    ) -> anyhow::Result<Self> {
        let compared: Vec<Rank> = std::iter::once(Rank::Rate)
            .chain(percentiles.iter().copied().map(Rank::from))
            .collect();
        let pairs = pairs(a, b, &compared)?;
        let comparisons: usize = pairs.iter().map(|pair| pair.figures.len()).sum();
        let chance = ALPHA / comparisons.max(1) as f64;
        let least_effect = LEAST_EFFECT.min(threshold);
        let mut rows = Vec::with_capacity(pairs.len());
        for Pair {
            mut row,
            figures,
            may_be,
        } in pairs
        {
            let judged = figures.iter();
            row.figures = judged
                .map(|figure| judge(figure, chance, least_effect, may_be))
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
            comparisons,
            regression,
            compared,
            same_programs: SamePrograms::of(
                a,
                b,
                servers(a, b)
                    .iter()
                    .map(|(in_a, in_b)| (in_a.as_str(), in_b.as_str(), row_name(in_a, in_b))),
            ),
            rows,
        })
    }
}

/// How many times slower B is; below 1 it is faster.
fn slowdown(figure: Rank, ratio: f64) -> f64 {
    match figure {
        Rank::Rate => ratio.recip(),
        _ => ratio,
    }
}

/// What a figure shows, if its interval may miss with this chance.
fn judge(figure: &Figure, chance: f64, least_effect: f64, may_be: MayBe) -> Compared {
    let slowdown = slowdown(figure.kind, figure.ratio.value);
    let p_value = figure.ratio.p_value();
    let sure = p_value <= chance;
    let verdict = if sure && slowdown >= 1.0 + least_effect && may_be.slower {
        Outcome::Slower
    } else if sure && slowdown.recip() >= 1.0 + least_effect && may_be.faster {
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
