//! What the blocks so far say of each figure.

use serde::Serialize;

use super::figure::Figure;
use crate::results::trial::Trial;
use crate::stats::bootstrap::LEAST_TRIALS;
use crate::stats::turns::Turns;
use crate::verdict::note;

/// The chance that any interval of a comparison misses its ratio.
pub const ALPHA: f64 = 0.01;
/// The chance that one of them may have.
const CHANCE: f64 = ALPHA / Figure::ALL.len() as f64;

/// What counts of a trial.
#[derive(Debug, Clone, Copy)]
pub struct Seen {
    /// In the order of [`Figure::ALL`].
    pub figures: [Option<f64>; Figure::ALL.len()],
    /// The generator was the limit.
    pub generator_bound: bool,
    /// Clients that were never answered.
    pub unanswered: usize,
    /// Requests that were due.
    pub requests: u64,
    /// Of these, ended by an error.
    pub failed: u64,
}

impl Seen {
    /// Of a VALID trial.
    pub fn of(trial: &Trial) -> Self {
        Self {
            figures: Figure::ALL.map(|figure| figure.of(trial)),
            generator_bound: note::generator_bound(&trial.notes),
            unanswered: trial.connections_unanswered,
            requests: trial.scheduled,
            failed: trial.failed,
        }
    }
}

/// Remarks that the figures of a server do not show.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Remarks {
    /// Trials in which the generator was the limit.
    pub generator_bound: usize,
    /// Trials in which it left clients without an answer.
    pub starving: usize,
    /// The most clients that it never answered in a trial.
    pub clients_unanswered: usize,
    /// Requests of all trials.
    pub requests: u64,
    /// Of these, ended by an error.
    pub failed: u64,
}

impl Remarks {
    fn add(&mut self, trial: Seen) {
        self.generator_bound += usize::from(trial.generator_bound);
        self.starving += usize::from(trial.unanswered > 0);
        self.clients_unanswered = self.clients_unanswered.max(trial.unanswered);
        self.requests += trial.requests;
        self.failed += trial.failed;
    }
}

/// The blocks so far.
#[derive(Debug, Default)]
pub struct Standing {
    blocks: usize,
    series: [Series; Figure::ALL.len()],
    /// What else there is to say of A and of B.
    remarks: [Remarks; 2],
}

/// The blocks of one figure.
#[derive(Debug, Default)]
struct Series {
    /// The sums of the logarithms of A and of B.
    logarithms: [f64; 2],
    turns: Turns,
    /// A trial did not have it.
    lacking: bool,
}

/// What a figure shows of B.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Finding {
    /// It is better: the interval excludes 1.
    Better,
    /// It is worse: the interval excludes 1.
    Worse,
    /// The interval holds 1, the generator was the limit of the one that seems worse, or the one that seems better left
    /// clients without an answer.
    NoDifferenceShown,
    /// There is no interval: too few blocks, or trials without this figure.
    NotMeasured,
}

/// A figure of both.
#[derive(Debug, Clone, Serialize)]
pub struct Judged {
    /// Which figure.
    pub figure: Figure,
    /// Requests a second or microseconds, the geometric mean of the trials; null: not measured.
    pub a: Option<f64>,
    /// Likewise.
    pub b: Option<f64>,
    /// B / A.
    pub ratio: Option<f64>,
    /// The lower end of its interval; null: there is none.
    pub low: Option<f64>,
    /// The upper end.
    pub high: Option<f64>,
    /// What it shows.
    pub verdict: Finding,
    /// B is worse by the threshold or more.
    pub regression: bool,
}

impl Standing {
    /// Adds a block: the two trials of A, and of B.
    pub fn add(&mut self, [a, b]: [[Seen; 2]; 2]) {
        self.blocks += 1;
        for (at, series) in self.series.iter_mut().enumerate() {
            let sum = |trials: [Seen; 2]| -> Option<f64> {
                let logarithms = trials.map(|trial| trial.figures[at].map(f64::ln));
                logarithms.into_iter().sum()
            };
            match (sum(a), sum(b)) {
                (Some(in_a), Some(in_b)) => {
                    series.logarithms[0] += in_a;
                    series.logarithms[1] += in_b;
                    series.turns.push((in_b - in_a) / 2.0);
                }
                _ => series.lacking = true,
            }
        }
        for (remarks, trials) in self.remarks.iter_mut().zip([a, b]) {
            for trial in trials {
                remarks.add(trial);
            }
        }
    }

    /// Blocks so far.
    pub fn blocks(&self) -> usize {
        self.blocks
    }

    /// What else there is to say of A and of B.
    pub fn remarks(&self) -> [Remarks; 2] {
        self.remarks
    }

    /// Whether B left clients without an answer in all of its trials, and A in none.
    pub fn only_b_starves(&self) -> bool {
        let [a, b] = self.remarks;
        self.blocks >= LEAST_TRIALS && b.starving == 2 * self.blocks && a.starving == 0
    }

    /// Whether trials had no such figure.
    pub fn lacks(&self, figure: Figure) -> bool {
        self.series(figure).lacking
    }

    /// Whether the ratio of a figure is known to the share `within`.
    pub fn is_narrow(&self, figure: Figure, within: f64) -> bool {
        self.series(figure).turns.is_narrow(within, CHANCE)
    }

    /// An estimate of the number of blocks after which it will be known.
    pub fn needed(&self, figure: Figure, within: f64) -> Option<usize> {
        self.series(figure).turns.needed(within, CHANCE)
    }

    /// What the figures show. B is worse by the `threshold`, a share, if the interval excludes 1 and the ratio is
    /// at least that far from 1.
    pub fn judge(&self, threshold: f64) -> Vec<Judged> {
        let all = Figure::ALL.into_iter();
        all.map(|figure| self.judged(figure, threshold)).collect()
    }

    fn series(&self, figure: Figure) -> &Series {
        let at = Figure::ALL.iter().position(|other| *other == figure);
        &self.series[at.expect("all figures are in the list")]
    }

    fn judged(&self, figure: Figure, threshold: f64) -> Judged {
        let series = self.series(figure);
        let turns = Some(&series.turns).filter(|_| !series.lacking && self.blocks > 0);
        let trials = 2.0 * self.blocks as f64;
        let ratio = turns.and_then(Turns::ratio);
        let interval = turns.and_then(|turns| turns.interval(CHANCE));
        // A server that the generator could not load fully may be as good as the other. A server that left clients
        // without an answer may be as bad: its figures are those of the clients that it served.
        let [a, b] = self.remarks;
        let limited = |remarks: Remarks| remarks.generator_bound > 0 && figure.is_the_generators();
        let may_be_worse = !limited(b) && a.starving == 0;
        let may_be_better = !limited(a) && b.starving == 0;
        let verdict = match interval {
            None => Finding::NotMeasured,
            Some((low, high)) => {
                let ends = [figure.times_worse(low), figure.times_worse(high)];
                if ends.iter().all(|end| *end > 1.0) && may_be_worse {
                    Finding::Worse
                } else if ends.iter().all(|end| *end < 1.0) && may_be_better {
                    Finding::Better
                } else {
                    Finding::NoDifferenceShown
                }
            }
        };
        let far = ratio.is_some_and(|ratio| figure.times_worse(ratio) >= 1.0 + threshold);
        Judged {
            figure,
            a: turns.map(|_| (series.logarithms[0] / trials).exp()),
            b: turns.map(|_| (series.logarithms[1] / trials).exp()),
            ratio,
            low: interval.map(|(low, _)| low),
            high: interval.map(|(_, high)| high),
            verdict,
            regression: verdict == Finding::Worse && far,
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};
    use rand_distr::{Distribution, Normal};

    use super::*;

    const WITHIN: f64 = 0.02;
    const THRESHOLD: f64 = 0.03;
    /// After this many blocks the time is over.
    const MOST: usize = 50;

    fn seen(figures: [f64; 4]) -> Seen {
        Seen {
            figures: figures.map(Some),
            generator_bound: false,
            unanswered: 0,
            requests: 1000,
            failed: 0,
        }
    }

    /// How trials spread.
    #[derive(Clone, Copy)]
    struct Spread {
        /// The standard deviation of the logarithm of each figure, from trial to trial.
        figures: [f64; 4],
        /// By how much of the figure the machine drifts in a block.
        drift: f64,
        /// The share of trials that something disturbs by up to a third.
        disturbed: f64,
    }

    /// What trials on a shared two-core machine spread by.
    const TYPICAL: Spread = Spread {
        figures: [0.015, 0.015, 0.05, 0.01],
        drift: 0.02,
        disturbed: 0.0,
    };

    /// A contest to its end, of servers whose figures differ by these ratios.
    fn contest(rng: &mut StdRng, spread: Spread, ratios: [f64; 4]) -> Standing {
        let noise = Normal::new(0.0, 1.0).unwrap();
        let mut standing = Standing::default();
        let mut pace = 0.0;
        while standing.blocks() < MOST && !standing.is_narrow(Figure::Rate, WITHIN) {
            let drift = spread.drift * noise.sample(rng);
            let mut trial = |turn: f64, ratios: [f64; 4]| {
                let disturbed = rng.random::<f64>() < spread.disturbed;
                let disturbance = if disturbed {
                    0.3 * rng.random::<f64>()
                } else {
                    0.0
                };
                // What slows a trial down slows all of its figures down.
                let common = pace + drift * turn + disturbance;
                let mut at = 0;
                seen(ratios.map(|ratio| {
                    let sign = if at == 0 { -1.0 } else { 1.0 };
                    let log = sign * common + spread.figures[at] * noise.sample(rng);
                    at += 1;
                    100.0 * ratio * log.exp()
                }))
            };
            let first = trial(0.0, [1.0; 4]);
            let (second, third) = (trial(1.0, ratios), trial(2.0, ratios));
            let last = trial(3.0, [1.0; 4]);
            standing.add([[first, last], [second, third]]);
            pace += 3.0 * drift;
        }
        standing
    }

    /// Of this many contests, the share in which B seems worse, by any amount and by the threshold.
    fn worse(contests: usize, spread: Spread, ratios: [f64; 4]) -> (f64, f64) {
        let mut rng = StdRng::seed_from_u64(23);
        let (mut shown, mut regressions) = (0, 0);
        for _ in 0..contests {
            let judged = contest(&mut rng, spread, ratios).judge(THRESHOLD);
            shown += usize::from(judged.iter().any(|figure| figure.verdict == Finding::Worse));
            regressions += usize::from(judged.iter().any(|figure| figure.regression));
        }
        let all = contests as f64;
        (shown as f64 / all, regressions as f64 / all)
    }

    #[test]
    fn of_equal_servers_one_in_a_hundred_seems_worse_at_most() {
        // `worse` is one of two directions, so half of 1 %; and three standard errors of a share of 1,000.
        const MOST: f64 = 0.005 + 0.0067;
        let disturbed = Spread {
            disturbed: 0.05,
            ..TYPICAL
        };
        let wide = Spread {
            figures: [0.1, 0.1, 0.4, 0.1],
            ..TYPICAL
        };
        for spread in [TYPICAL, disturbed, wide] {
            let (shown, regressions) = worse(1000, spread, [1.0; 4]);
            assert!(shown <= MOST, "{shown}");
            assert!(regressions <= shown);
        }
    }

    #[test]
    fn a_difference_of_five_percent_is_found_in_any_figure() {
        for (at, ratio) in [(0, 1.0 / 1.05), (1, 1.05), (3, 1.05)] {
            let mut ratios = [1.0; 4];
            ratios[at] = ratio;
            let (_, regressions) = worse(200, TYPICAL, ratios);
            assert!(regressions >= 0.95, "{:?}: {regressions}", Figure::ALL[at]);
        }
    }

    #[test]
    fn a_drift_cancels_out() {
        let mut standing = Standing::default();
        for block in 0..10 {
            // 1 % faster from trial to trial.
            let trial = |turn: i32| seen([100.0 * 1.01_f64.powi(4 * block + turn); 4]);
            standing.add([[trial(0), trial(3)], [trial(1), trial(2)]]);
        }
        for judged in standing.judge(THRESHOLD) {
            assert!((judged.ratio.unwrap() - 1.0).abs() < 1e-9, "{judged:?}");
            assert_eq!(judged.verdict, Finding::NoDifferenceShown);
        }
        assert!(standing.is_narrow(Figure::P99, WITHIN));
    }

    /// Three blocks in which B has these figures, and A 100.
    fn after(b: [f64; 4], edit: impl Fn(&mut [[Seen; 2]; 2])) -> Vec<Judged> {
        standing(b, edit).judge(THRESHOLD)
    }

    fn standing(b: [f64; 4], edit: impl Fn(&mut [[Seen; 2]; 2])) -> Standing {
        let mut standing = Standing::default();
        for _ in 0..3 {
            let mut block = [[seen([100.0; 4]); 2], [seen(b); 2]];
            edit(&mut block);
            standing.add(block);
        }
        standing
    }

    #[test]
    fn a_lower_rate_and_a_longer_time_are_worse() {
        let judged = after([90.0, 110.0, 90.0, 102.0], |_| {});
        let verdicts: Vec<(Finding, bool)> = judged
            .iter()
            .map(|figure| (figure.verdict, figure.regression))
            .collect();
        assert_eq!(
            verdicts,
            [
                (Finding::Worse, true),
                (Finding::Worse, true),
                (Finding::Better, false),
                (Finding::Worse, false),
            ]
        );
        assert!((judged[0].a.unwrap() - 100.0).abs() < 1e-9);
        assert!((judged[0].b.unwrap() - 90.0).abs() < 1e-9);
    }

    #[test]
    fn where_the_generator_was_the_limit_only_cpu_time_shows_that_b_is_worse() {
        let limited =
            |side: usize| move |block: &mut [[Seen; 2]; 2]| block[side][0].generator_bound = true;
        let verdicts = |judged: Vec<Judged>| judged.into_iter().map(|figure| figure.verdict);
        let worse = [90.0, 110.0, 110.0, 110.0];
        let judged: Vec<Finding> = verdicts(after(worse, limited(1))).collect();
        assert_eq!(judged[..3], [Finding::NoDifferenceShown; 3]);
        assert_eq!(judged[3], Finding::Worse);
        // A may be better still.
        assert!(verdicts(after(worse, limited(0))).all(|verdict| verdict == Finding::Worse));
    }

    #[test]
    fn one_that_leaves_clients_without_an_answer_is_not_better() {
        let starving = |side: usize, trials: usize| {
            move |block: &mut [[Seen; 2]; 2]| {
                for trial in &mut block[side][..trials] {
                    trial.unanswered = 80;
                }
            }
        };
        let better = [110.0, 90.0, 90.0, 90.0];
        let worse = [90.0, 110.0, 110.0, 110.0];
        let none =
            |judged: &Judged| judged.verdict == Finding::NoDifferenceShown && !judged.regression;
        for trials in [1, 2] {
            assert!(after(better, starving(1, trials)).iter().all(none));
            assert!(after(worse, starving(0, trials)).iter().all(none));
            let judged = after(worse, starving(1, trials));
            assert!(judged.iter().all(|figure| figure.verdict == Finding::Worse));
            let both = standing(better, starving(1, trials));
            assert_eq!(both.only_b_starves(), trials == 2);
            let remarks = both.remarks()[1];
            assert_eq!(
                (remarks.starving, remarks.clients_unanswered),
                (3 * trials, 80)
            );
        }
        assert!(!standing(better, starving(0, 2)).only_b_starves());
    }

    #[test]
    fn a_figure_that_a_trial_lacks_is_not_judged() {
        let judged = after([90.0; 4], |block| block[1][1].figures[3] = None);
        assert_eq!(judged[3].verdict, Finding::NotMeasured);
        assert_eq!((judged[3].a, judged[3].ratio), (None, None));
        assert_eq!(judged[0].verdict, Finding::Worse);
        let nothing = Standing::default().judge(THRESHOLD);
        assert!(nothing.iter().all(|figure| figure.a.is_none()));
    }
}
