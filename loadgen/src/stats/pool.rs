//! The percentiles of histograms that are merged many times.

use hdrhistogram::Histogram;

use super::bootstrap::Estimate;

/// The histograms of several trials. A bootstrap merges them many times, each counting several times or not at all.
#[derive(Debug, Clone)]
pub struct Pool {
    /// The values that occur, in ascending order.
    values: Vec<u64>,
    /// For each trial, the number of samples up to each of the values.
    cumulative: Vec<Vec<u64>>,
}

impl Pool {
    /// The histograms must have the same bounds; each is of one trial.
    pub fn new(trials: &[Histogram<u64>]) -> Self {
        let recorded = trials.iter().flat_map(Histogram::iter_recorded);
        let mut values: Vec<u64> = recorded.map(|step| step.value_iterated_to()).collect();
        values.sort_unstable();
        values.dedup();
        let cumulative = |trial: &Histogram<u64>| {
            let mut steps = trial.iter_recorded().peekable();
            let mut sum = 0;
            let up_to = values.iter().map(|&value| {
                if let Some(step) = steps.next_if(|step| step.value_iterated_to() == value) {
                    sum += step.count_at_value();
                }
                sum
            });
            up_to.collect()
        };
        Self {
            cumulative: trials.iter().map(cumulative).collect(),
            values,
        }
    }

    /// The trials.
    pub fn trials(&self) -> usize {
        self.cumulative.len()
    }

    /// The result of [`Histogram::value_at_quantile`] for all trials merged, each as often as its weight says.
    pub fn value_at_quantile(&self, quantile: f64, weights: &[u64]) -> Option<u64> {
        let up_to = |at: usize| -> u64 {
            let trials = self.cumulative.iter().zip(weights);
            trials.map(|(trial, weight)| trial[at] * weight).sum()
        };
        let all = up_to(self.values.len().checked_sub(1)?);
        let wanted = ((quantile * all as f64).ceil() as u64).max(1);
        // The first value that has this many samples up to it.
        let (mut low, mut high) = (0, self.values.len());
        while low < high {
            let middle = usize::midpoint(low, high);
            if up_to(middle) < wanted {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        self.values.get(low).copied()
    }

    /// The quantile of all trials together, nanoseconds, and how sure it is.
    pub fn estimate(&self, quantile: f64) -> Option<Estimate> {
        Estimate::of(self.trials(), |weights| {
            Some(self.value_at_quantile(quantile, weights)? as f64)
        })
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;
    use rand_distr::{Distribution, LogNormal};

    use super::*;
    use crate::recording::histogram::histogram;

    #[test]
    fn a_pool_says_what_the_merged_histogram_says() {
        let mut rng = StdRng::seed_from_u64(5);
        let times = LogNormal::new(10.0, 1.0).unwrap();
        let trials: Vec<Histogram<u64>> = [1000, 1, 300]
            .map(|samples| {
                let mut trial = histogram();
                for _ in 0..samples {
                    trial.record(times.sample(&mut rng) as u64 + 1).unwrap();
                }
                trial
            })
            .into();
        let pool = Pool::new(&trials);
        for weights in [[1, 1, 1], [0, 3, 0], [2, 0, 1]] {
            let mut merged = histogram();
            for (trial, weight) in trials.iter().zip(weights) {
                for _ in 0..weight {
                    merged.add(trial).unwrap();
                }
            }
            for quantile in [0.0, 0.001, 0.5, 0.99, 0.999, 1.0] {
                let expected = merged.value_at_quantile(quantile);
                let found = pool.value_at_quantile(quantile, &weights).unwrap();
                assert!(merged.equivalent(found, expected), "{weights:?} {quantile}");
            }
        }
        assert_eq!(
            Pool::new(&[histogram(), histogram()]).value_at_quantile(0.5, &[1, 1]),
            None
        );
    }
}
