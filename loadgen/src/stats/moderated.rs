//! Which rows of a table differ, where each has few trials. One rule for any number of trials.
//!
//! Two or three trials show little of their own spread: by chance they may be nearly equal. So the spread of a row
//! is moderated, as in G. K. Smyth, *Linear Models and Empirical Bayes Methods for Assessing Differential
//! Expression in Microarray Experiments*, 2004: it is the mean of the row's own variance and the variance of the
//! whole table, which counts as much as [`TABLE_WEIGHT`] degrees of freedom. The variance of the table is the
//! geometric mean of the variances of its rows, so that one disturbed row does not hide the differences of the
//! others. If the table has fewer than [`LEAST_FREEDOM`] degrees of freedom, an assumed spread counts for the
//! missing ones. With one trial each, only the assumed spread counts.
//!
//! All is computed on logarithms. Each pair is tested with Student's t, by Welch and Satterthwaite since rows differ
//! in their spread. A table of k rows has k (k - 1) / 2 pairs, which share the chance of an error (Bonferroni): of 100
//! tables of equal servers at most one shows any difference, and so does at most one pair of 100. The simulation in the
//! tests holds for spreads up to the assumed one.

use super::students_t::{self, outside};

/// The chance that a table shows any difference where there is none.
const ALPHA: f64 = 0.01;
/// How much the spread of the whole table counts in that of a row, in degrees of freedom.
const TABLE_WEIGHT: f64 = 2.0;
/// The fewest degrees of freedom of a table's spread; what the trials do not give is filled up with the assumed spread.
const LEAST_FREEDOM: f64 = 10.0;
/// The least standard deviation of the logarithms with which a row counts in the table's spread.
const LEAST_SPREAD: f64 = 0.01;
/// A spread that is known: with this many degrees of freedom Student's t is the normal distribution.
const KNOWN: f64 = 1000.0;

/// The trials of a row: the mean and the variance of their logarithms.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Logs {
    mean: f64,
    /// The sum of the squared distances from the mean.
    squares: f64,
    trials: f64,
}

impl Logs {
    /// The logarithms of a figure, a value for each trial. `None` of no trial, or when a value is not above zero.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let logs: Vec<f64> = values.into_iter().map(f64::ln).collect();
        let trials = logs.len() as f64;
        let mean = logs.iter().sum::<f64>() / trials;
        mean.is_finite().then(|| Self {
            mean,
            squares: logs.iter().map(|log| (log - mean).powi(2)).sum(),
            trials,
        })
    }

    fn freedom(&self) -> f64 {
        self.trials - 1.0
    }
}

/// The spread of a table, which its rows share.
#[derive(Debug, Clone, Copy)]
pub struct Table {
    variance: f64,
    freedom: f64,
    pairs: f64,
}

impl Table {
    /// Of these rows. `assumed` is the standard deviation of the logarithms that is assumed where trials are lacking.
    pub fn of(rows: &[Logs], assumed: f64) -> Self {
        let freedom: f64 = rows.iter().map(Logs::freedom).sum();
        let several = rows.iter().filter(|row| row.trials > 1.0);
        let logs: f64 = several
            .map(|row| {
                let variance = (row.squares / row.freedom()).max(LEAST_SPREAD.powi(2));
                row.freedom() * (variance.ln() - mean_log(row.freedom()))
            })
            .sum();
        let of_rows = if freedom > 0.0 {
            (logs / freedom).exp()
        } else {
            0.0
        };
        let filled = (LEAST_FREEDOM - freedom).max(0.0);
        let k = rows.len() as f64;
        Self {
            variance: (filled * assumed.powi(2) + freedom * of_rows) / (filled + freedom),
            freedom: if freedom > 0.0 {
                filled + freedom
            } else {
                KNOWN
            },
            pairs: (k * (k - 1.0) / 2.0).max(1.0),
        }
    }

    /// Whether the trials show that one row of the table is below another.
    pub fn shows(&self, below: &Logs, above: &Logs) -> bool {
        let (variance, freedom) = self.difference(below, above);
        let t = (above.mean - below.mean) / variance.sqrt();
        // The test is two-sided: which of the two is above was not known before.
        t > 0.0 && outside(t, freedom) <= self.alpha()
    }

    /// The interval of the ratio of one row to another. Those of all pairs of the table hold together; one that excludes
    /// 1 belongs to a pair of which [`Table::shows`] a difference.
    pub fn ratio(&self, of: &Logs, to: &Logs) -> (f64, f64) {
        let (variance, freedom) = self.difference(of, to);
        let ratio = (of.mean - to.mean).exp();
        students_t::interval(ratio, variance.sqrt(), freedom, self.alpha())
    }

    /// The chance of an error that one pair has.
    fn alpha(&self) -> f64 {
        ALPHA / self.pairs
    }

    /// The variance of the difference between two rows, and its degrees of freedom.
    fn difference(&self, a: &Logs, b: &Logs) -> (f64, usize) {
        let part = |row: &Logs| {
            let freedom = TABLE_WEIGHT + row.freedom();
            let variance = (TABLE_WEIGHT * self.variance + row.squares) / freedom / row.trials;
            (variance, variance.powi(2) / freedom)
        };
        let ((variance_a, share_a), (variance_b, share_b)) = (part(a), part(b));
        let variance = variance_a + variance_b;
        let freedom = if self.freedom < KNOWN {
            // The spread of both rows contains that of the table, so the degrees of freedom are at most the
            // table's.
            (variance.powi(2) / (share_a + share_b)).min(self.freedom)
        } else {
            KNOWN
        };
        (variance, (freedom as usize).max(1))
    }
}

/// The mean of the logarithm of an estimated variance of this many degrees of freedom, where the true one is 1: the
/// digamma function of half of them, minus the logarithm of that. M. Abramowitz, I. A. Stegun, *Handbook of Mathematical
/// Functions*, 1964, 6.3.2 to 6.3.5.
fn mean_log(freedom: f64) -> f64 {
    const EULER: f64 = 0.577_215_664_901_532_9;
    let half = freedom / 2.0;
    let (mut x, mut digamma) = if freedom % 2.0 == 0.0 {
        (1.0, -EULER)
    } else {
        (0.5, -EULER - 2.0 * std::f64::consts::LN_2)
    };
    while x < half {
        digamma += 1.0 / x;
        x += 1.0;
    }
    digamma - half.ln()
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};
    use rand_distr::{Distribution, StandardNormal};

    use super::*;

    const ASSUMED: f64 = 0.15;
    /// A third of what is assumed.
    const TYPICAL: f64 = 0.05;

    /// How the spreads of rows differ.
    type Spreads = fn(&mut StdRng) -> f64;

    fn normal(rng: &mut StdRng) -> f64 {
        StandardNormal.sample(rng)
    }

    /// Of this many tables of `k` equal rows: the share that shows any difference, and the share of pairs that do.
    /// `trials` is asked for the number of trials of each row.
    fn errors(
        tables: usize,
        k: usize,
        trials: impl Fn(&mut StdRng) -> usize,
        spread: Spreads,
    ) -> (f64, f64) {
        let mut rng = StdRng::seed_from_u64(3);
        let (mut wrong, mut wrong_pairs) = (0, 0);
        for _ in 0..tables {
            let rows: Vec<Logs> = (0..k)
                .map(|_| {
                    let spread = spread(&mut rng);
                    let trials = trials(&mut rng);
                    Logs::of((0..trials).map(|_| 1e5 * (spread * normal(&mut rng)).exp())).unwrap()
                })
                .collect();
            let table = Table::of(&rows, ASSUMED);
            let pairs = (0..k).flat_map(|b| (0..b).map(move |a| (a, b)));
            let differ = |a: &Logs, b: &Logs| table.shows(a, b) || table.shows(b, a);
            let apart = pairs.filter(|(a, b)| differ(&rows[*a], &rows[*b])).count();
            wrong += usize::from(apart > 0);
            wrong_pairs += apart;
        }
        let pairs = tables * k * (k - 1) / 2;
        (
            wrong as f64 / tables as f64,
            wrong_pairs as f64 / pairs as f64,
        )
    }

    /// One in a hundred, and three standard errors of a share of this many.
    fn at_most(tables: usize) -> f64 {
        0.01 + 3.0 * (0.01 * 0.99 / tables as f64).sqrt()
    }

    #[test]
    fn one_table_in_a_hundred_of_equal_servers_shows_a_difference() {
        let spreads: [(&str, Spreads); 5] = [
            ("typical", |_| TYPICAL),
            ("twice", |_| 2.0 * TYPICAL),
            ("three times", |_| 3.0 * TYPICAL),
            ("different by row", |rng| {
                TYPICAL * (0.5 * normal(rng)).exp()
            }),
            ("one row in ten three times", |rng| {
                TYPICAL * if rng.random_bool(0.1) { 3.0 } else { 1.0 }
            }),
        ];
        for (name, spread) in spreads {
            for (k, tables) in [(2, 4000), (5, 1000), (20, 300)] {
                for n in 1..=4 {
                    let (share, of_pairs) = errors(tables, k, |_| n, spread);
                    assert!(
                        share <= at_most(tables) && of_pairs <= at_most(tables),
                        "{name}, {k} rows of {n} trials: {share} of the tables, {of_pairs} of the pairs"
                    );
                }
                // Some trials were INVALID.
                let (share, _) = errors(tables, k, |rng| rng.random_range(1..=4), spread);
                assert!(share <= at_most(tables), "{name}, {k} rows: {share}");
            }
        }
    }

    #[test]
    fn the_mean_of_a_logarithm_is_that_of_the_tables() {
        // Digamma of 0.5, 1, 1.5 and 10.
        for (freedom, digamma) in [
            (1.0, -1.963_510),
            (2.0, -0.577_216),
            (3.0, 0.036_490),
            (20.0, 2.251_753),
        ] {
            let half: f64 = freedom / 2.0;
            assert!(
                (mean_log(freedom) + half.ln() - digamma).abs() < 1e-6,
                "{freedom}"
            );
        }
    }

    #[test]
    fn one_disturbed_row_does_not_hide_the_others() {
        let row = |centre: f64, spread: f64| {
            Logs::of([centre / (1.0 + spread), centre, centre * (1.0 + spread)]).unwrap()
        };
        let mut rows: Vec<Logs> = (0..20).map(|_| row(1e5, 0.03)).collect();
        rows[0] = row(0.7e5, 0.03);
        rows[1] = row(1e5, 1.0);
        let table = Table::of(&rows, ASSUMED);
        assert!(table.shows(&rows[0], &rows[2]));
        assert!(!table.shows(&rows[0], &rows[1]) && !table.shows(&rows[1], &rows[2]));
    }

    #[test]
    fn a_difference_is_found() {
        // The least ratio that shows for two rows and for twenty, whose trials differ as is typical.
        for (trials, of_two, of_twenty) in [
            (1, 1.75, 2.45),
            (2, 1.6, 1.7),
            (3, 1.35, 1.4),
            (4, 1.2, 1.3),
        ] {
            for (k, ratio) in [(2, of_two), (20, of_twenty)] {
                let row = |centre: f64| {
                    // Their distance is that of the mean of the logarithm of their variance.
                    let freedom = (trials - 1) as f64;
                    let reach = TYPICAL * (freedom * mean_log(freedom).exp()).sqrt();
                    let trial = |at: usize| match (trials, at) {
                        (1, _) => 0.0,
                        (_, 0) => -reach / 2_f64.sqrt(),
                        (_, 1) => reach / 2_f64.sqrt(),
                        _ => 0.0,
                    };
                    Logs::of((0..trials).map(|at| centre * trial(at).exp())).unwrap()
                };
                let mut rows = vec![row(1e5); k];
                rows[0] = row(1e5 * ratio);
                let table = Table::of(&rows, ASSUMED);
                assert!(table.shows(&rows[1], &rows[0]), "{trials} {k}");
                assert!(!table.shows(&rows[0], &rows[1]), "{trials} {k}");
                assert!(!table.shows(&rows[1], &row(1e5 * 1.05)), "{trials} {k}");
            }
        }
    }

    #[test]
    fn an_interval_excludes_one_where_a_difference_shows() {
        let row = |centre: f64| Logs::of([0.98, 1.0, 1.03].map(|trial| centre * trial)).unwrap();
        for rows in [2, 20] {
            let table = Table::of(&vec![row(1e5); rows], ASSUMED);
            let (mut shown, mut not_shown) = (0, 0);
            for percent in 101..150 {
                let ratio = f64::from(percent) / 100.0;
                let (slow, quick) = (row(1e5), row(1e5 * ratio));
                let (low, high) = table.ratio(&quick, &slow);
                assert!(low < ratio && ratio < high);
                assert_eq!(
                    low > 1.0,
                    table.shows(&slow, &quick),
                    "{rows} rows, {ratio}"
                );
                let (inverse_low, inverse_high) = table.ratio(&slow, &quick);
                assert!(
                    (inverse_low * high - 1.0).abs() < 1e-9
                        && (inverse_high * low - 1.0).abs() < 1e-9
                );
                shown += usize::from(low > 1.0);
                not_shown += usize::from(low <= 1.0);
            }
            assert!(shown > 0 && not_shown > 0);
        }
    }

    #[test]
    fn zero_has_no_logarithm() {
        assert_eq!(Logs::of([1.0, 0.0]), None);
        assert_eq!(Logs::of([]), None);
    }
}
