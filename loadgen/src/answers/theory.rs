//! What queueing theory says: the closed forms with which trials are compared. All times are seconds.

/// What each request demands of a server.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Service {
    /// The service time of the requests that have one, seconds.
    pub each: f64,
    /// Their share of all requests.
    pub share: f64,
    /// Exponentially distributed; else always the same.
    pub exponential: bool,
}

impl Service {
    /// The mean over all requests.
    pub fn mean(&self) -> f64 {
        self.share * self.each
    }

    /// The mean of the squares.
    fn mean_square(&self) -> f64 {
        let factor = if self.exponential { 2.0 } else { 1.0 };
        factor * self.share * self.each * self.each
    }

    /// The mean wait at one server with Poisson arrivals (A. Y. Khinchine 1932, F. Pollaczek 1930): M/D/1, M/M/1, and
    /// where only a share takes any time M/G/1. `None`: it cannot keep up.
    pub fn wait_alone(&self, rate: f64) -> Option<f64> {
        let utilisation = rate * self.mean();
        (utilisation < 1.0).then(|| rate * self.mean_square() / (2.0 * (1.0 - utilisation)))
    }

    /// The mean wait in one queue before several servers. M/M/c is exact (A. K. Erlang 1917). For constant times it is
    /// G. P. Cosmetatos' approximation (*Approximate Explicit Formulae for the Average Queueing Time in the Processes
    /// (M/D/r) and (D/M/r)*, INFOR 13, 1975), which is within 2 %.
    pub fn wait_shared(&self, rate: f64, servers: u32) -> Option<f64> {
        let c = f64::from(servers);
        let offered = rate * self.mean();
        let utilisation = offered / c;
        if utilisation >= 1.0 {
            return None;
        }
        // Erlang B by its recursion, then Erlang C: the chance to wait.
        let blocked = (1..=servers).fold(1.0, |b, n| offered * b / (f64::from(n) + offered * b));
        let waits = blocked / (1.0 - utilisation * (1.0 - blocked));
        let exponential = waits * self.mean() / (c * (1.0 - utilisation));
        if self.exponential {
            return Some(exponential);
        }
        let correction = (1.0 - utilisation) * (c - 1.0) * ((4.0 + 5.0 * c).sqrt() - 2.0)
            / (16.0 * utilisation * c);
        Some(exponential / 2.0 * (1.0 + correction))
    }
}

/// The rate of a closed network: customers alternate between a station that serves one after the other (`demand`)
/// and a delay that they spend side by side (`delay`). Exact mean value analysis (M. Reiser, S. S. Lavenberg
/// 1980).
pub fn closed_network(customers: u32, demand: f64, delay: f64) -> f64 {
    let (mut rate, mut queue) = (0.0, 0.0);
    for n in 1..=customers {
        let response = demand * (1.0 + queue);
        rate = f64::from(n) / (response + delay);
        queue = rate * response;
    }
    rate
}

/// The response time that a share `beyond` of the requests exceeds when a server stands still for `stop` in every `period`
/// and answers at once otherwise: of the equally spaced requests, `(stop - x) / period` take longer than `x`.
pub fn exceeded_by(beyond: f64, stop: f64, period: f64) -> f64 {
    (stop - beyond * period).max(0.0)
}

#[cfg(test)]
mod tests {
    use std::cmp::Reverse;
    use std::collections::BinaryHeap;

    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    use super::*;

    fn near(found: f64, expected: f64, within: f64) {
        assert!(
            (found / expected - 1.0).abs() < within,
            "{found}, expected {expected}"
        );
    }

    const CONSTANT: Service = Service {
        each: 1.0,
        share: 1.0,
        exponential: false,
    };
    const EXPONENTIAL: Service = Service {
        exponential: true,
        ..CONSTANT
    };

    #[test]
    fn one_server_waits_as_in_the_textbooks() {
        // M/M/1: U / (1 - U); M/D/1: half of it.
        near(EXPONENTIAL.wait_alone(0.7).unwrap(), 7.0 / 3.0, 1e-12);
        near(CONSTANT.wait_alone(0.7).unwrap(), 7.0 / 6.0, 1e-12);
        assert_eq!(CONSTANT.wait_alone(1.0), None);
        // 1,000 a second, of which 1 % take 10 ms: 1000 * 0.01 * 0.0001 / (2 * 0.9).
        let some = Service {
            each: 0.01,
            share: 0.01,
            exponential: false,
        };
        near(some.wait_alone(1000.0).unwrap(), 0.001 / 1.8, 1e-12);
    }

    #[test]
    fn several_servers_wait_as_in_the_textbooks() {
        // One server is the case above.
        near(EXPONENTIAL.wait_shared(0.7, 1).unwrap(), 7.0 / 3.0, 1e-9);
        near(CONSTANT.wait_shared(0.7, 1).unwrap(), 7.0 / 6.0, 1e-9);
        // Two servers at 0.75: the chance to wait is 9/14, the wait 9/7.
        near(EXPONENTIAL.wait_shared(1.5, 2).unwrap(), 9.0 / 7.0, 1e-9);
        assert_eq!(CONSTANT.wait_shared(12.0, 12), None);
    }

    #[test]
    fn a_simulation_of_twelve_servers_agrees() {
        for utilisation in [0.5, 0.8, 0.9] {
            let rate = 12.0 * utilisation;
            let mut rng = StdRng::seed_from_u64(1);
            // Nanoseconds at which each server is free, the soonest first.
            let mut free: BinaryHeap<Reverse<u64>> = (0..12).map(|_| Reverse(0)).collect();
            let (mut now, mut waited, arrivals) = (0.0, 0.0, 2_000_000);
            for _ in 0..arrivals {
                now += -(1.0 - rng.random::<f64>()).ln() / rate;
                let at = (now * 1e9) as u64;
                let Reverse(soonest) = free.pop().unwrap();
                let begins = soonest.max(at);
                waited += (begins - at) as f64 / 1e9;
                free.push(Reverse(begins + 1_000_000_000));
            }
            let wait = CONSTANT.wait_shared(rate, 12).unwrap();
            near(wait, waited / f64::from(arrivals), 0.04);
        }
    }

    #[test]
    fn a_closed_network_is_the_machine_repairman() {
        // Two machines that run for 3 on average and are repaired in 1 by one man: 1 - p0 = 8/17.
        near(closed_network(2, 1.0, 3.0), 8.0 / 17.0, 1e-12);
        near(closed_network(1, 1.0, 3.0), 0.25, 1e-12);
        // Many keep him busy all the time.
        near(closed_network(100, 1.0, 3.0), 1.0, 1e-9);
    }

    #[test]
    fn a_stop_of_half_a_second_in_five_has_a_p99_of_450_ms() {
        near(exceeded_by(0.05, 0.5, 5.0), 0.25, 1e-12);
        near(exceeded_by(0.01, 0.5, 5.0), 0.45, 1e-12);
        assert!(exceeded_by(0.2, 0.5, 5.0).abs() < 1e-12);
    }
}
