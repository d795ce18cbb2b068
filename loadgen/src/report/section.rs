//! One point of a scenario: the servers, best first.

use super::figures::Figures;
use crate::results::directory::RunDir;
use crate::results::run::NoResult;
use crate::results::shard::ShardRow;
use crate::stats::moderated::{Logs, Table};
use crate::verdict::cause::Verdict;
use crate::workload::goal::Goal;
use crate::workload::line_up::ServerEntry;
use crate::workload::percentile::Percentile;
use crate::workload::scenario::{Point, Rank, Scenario};

/// A smaller difference does not count, however sure it is: two builds of the same source differ by a few percent
/// because their code has other addresses.
pub const LEAST_EFFECT: f64 = 0.05;

/// The standard deviation from trial to trial that is assumed where there are too few trials to show it, as a share.
/// Rates and medians: three times what is typical on a virtual machine, 5 %. High percentiles differ more, above all
/// near a server's limit and in short trials.
pub fn assumed_spread(rank: Rank) -> f64 {
    match rank {
        Rank::Rate | Rank::P50 | Rank::P75 | Rank::P90 => 0.15,
        Rank::P95 | Rank::P99 => 0.75,
        Rank::P999 | Rank::P9999 => 1.0,
    }
}

/// One point of a scenario: a table.
#[derive(Debug, Clone)]
pub struct Section {
    /// The scenario's name.
    pub scenario: String,
    /// What it asks.
    pub question: String,
    /// The figure that ranks the rows.
    pub rank: Rank,
    /// What the rates of its scenario must meet.
    pub goal: Option<Goal>,
    /// Whether each row must meet its goals. Where a scenario varies its rate they ask which rates meet them.
    pub judged: bool,
    /// Whether it is the only point of its scenario.
    pub alone: bool,
    /// The load.
    pub point: Point,
    /// The percentiles of the table.
    pub percentiles: Vec<Percentile>,
    /// First the servers with a VALID result, best first. Among these, servers that left clients without an answer
    /// come last. Then follow FAILED results, then INVALID ones. Servers without a result come at the end, in the
    /// order of the line-up.
    pub rows: Vec<Row>,
}

/// A server in a section.
#[derive(Debug, Clone)]
pub struct Row {
    /// The row's name.
    pub server: String,
    /// Its figures, or why there are none.
    pub outcome: Result<Box<Figures>, NoResult>,
}

impl Section {
    /// Reads the trials of a point.
    pub fn read(
        directory: &RunDir,
        servers: &[ServerEntry],
        scenario: &Scenario,
        point: &Point,
        percentiles: &[Percentile],
    ) -> anyhow::Result<Self> {
        let mut rows = Vec::new();
        for server in servers {
            let place = directory.point(&scenario.name, &server.name, &point.name);
            // A server that failed is not ranked by its earlier trials.
            let outcome = match (place.no_result()?, Figures::read(&place)?) {
                (Some(no_result), _) => Err(no_result),
                (None, Some(figures)) => Ok(Box::new(figures)),
                (None, None) => continue,
            };
            rows.push(Row {
                server: server.name.clone(),
                outcome,
            });
        }
        let rank = scenario.rank;
        rows.sort_by(|a, b| match (&a.outcome, &b.outcome) {
            (Ok(a), Ok(b)) => a.order(b, rank),
            (a, b) => a.is_err().cmp(&b.is_err()),
        });
        Ok(Self {
            scenario: scenario.name.clone(),
            question: scenario.question.clone(),
            rank,
            goal: point.goal(),
            judged: scenario
                .points
                .iter()
                .all(|other| other.workload.load == point.workload.load),
            alone: scenario.points.len() == 1,
            point: point.clone(),
            percentiles: percentiles.to_vec(),
            rows,
        })
    }

    /// `idle`, or `idle, idle-1000` where the scenario has several points.
    pub fn title(&self) -> String {
        if self.alone {
            self.scenario.clone()
        } else {
            format!("{}, {}", self.scenario, self.point.name)
        }
    }

    /// The shards of each trial that several generators made.
    pub fn shards(&self) -> impl Iterator<Item = &[ShardRow]> {
        let figures = self.rows.iter().filter_map(|row| row.outcome.as_ref().ok());
        let trials = figures.flat_map(|figures| &figures.each);
        let shards = trials.map(|trial| trial.shards.as_slice());
        shards.filter(|shards| !shards.is_empty())
    }

    /// The rows that are ranked, best first: VALID ones that answered all clients.
    pub fn ranked(&self) -> Vec<(&str, &Figures)> {
        let rows = self.rows.iter();
        rows.filter_map(|row| {
            let figures = row.outcome.as_deref().ok()?;
            let valid = figures.verdict == Verdict::Valid && !figures.starves();
            (valid && figures.ranked_by(self.rank).is_some())
                .then_some((row.server.as_str(), figures))
        })
        .collect()
    }

    /// The VALID rows that are not ranked, since they have too few requests for the percentile that ranks.
    pub fn unranked(&self) -> Vec<&str> {
        let rows = self.rows.iter();
        rows.filter_map(|row| {
            let figures = row.outcome.as_deref().ok()?;
            let valid = figures.verdict == Verdict::Valid && !figures.starves();
            (valid && figures.ranked_by(self.rank).is_none()).then_some(row.server.as_str())
        })
        .collect()
    }

    /// How many times worse than the best a server is, by the figure that ranks; `None` if it is not ranked.
    pub fn times_worse(&self, server: &str) -> Option<f64> {
        let ranked = self.ranked();
        let value = |figures: &Figures| figures.ranked_by(self.rank).map(|spread| spread.value);
        let (_, best) = ranked.first()?;
        let (_, own) = ranked.iter().find(|(name, _)| *name == server)?;
        let (best, own) = (value(best)?, value(own)?);
        Some(if own > best { own / best } else { best / own })
    }

    /// Whether the trials show that a ranked row is worse than a better one. A server that the generator could not
    /// load fully may be as good as the better one.
    pub fn apart(&self, better: &Figures, worse: &Figures) -> bool {
        !self.is_bound(worse) && self.differ(better, worse)
    }

    /// Whether the figure that ranks is a lower bound.
    pub fn is_bound(&self, figures: &Figures) -> bool {
        self.rank == Rank::Rate && figures.generator_bound()
    }

    /// Whether the trials show that the figure of a ranked row is worse than that of a better one.
    pub fn differ(&self, better: &Figures, worse: &Figures) -> bool {
        let spread = |figures: &Figures| figures.ranked_by(self.rank);
        let table = self.table();
        let (Some(good), Some(bad)) = (spread(better), spread(worse)) else {
            return false;
        };
        let effect = (good.value / bad.value).ln().abs();
        let shown = |(better, worse)| match self.rank {
            Rank::Rate => table.shows(worse, better),
            _ => table.shows(better, worse),
        };
        effect >= (1.0 + LEAST_EFFECT).ln()
            && good.logs.as_ref().zip(bad.logs.as_ref()).is_some_and(shown)
    }

    /// The interval of the ratio of a ranked row's figure to that of another; those of all pairs hold together.
    pub fn ratio(&self, of: &Figures, to: &Figures) -> Option<(f64, f64)> {
        let logs = |figures: &Figures| figures.ranked_by(self.rank)?.logs;
        Some(self.table().ratio(&logs(of)?, &logs(to)?))
    }

    /// The spread that the ranked rows share.
    fn table(&self) -> Table {
        let ranked = self.ranked();
        let rows = ranked.iter();
        let logs = rows.filter_map(|(_, figures)| figures.ranked_by(self.rank)?.logs);
        Table::of(&logs.collect::<Vec<Logs>>(), assumed_spread(self.rank))
    }

    /// Whether a server is ranked and the trials show no difference from the leader.
    pub fn level_with_best(&self, server: &str) -> bool {
        let ranked = self.ranked();
        let own = ranked.iter().find(|(name, _)| *name == server);
        matches!((ranked.first(), own), (Some((_, leader)), Some((_, own))) if !self.apart(leader, own))
    }
}
