//! Figures that queueing theory knows: what was found, divided by what it says.

use super::{Check, Trials, own};
use crate::answers::figure::Figure;
use crate::answers::measured::rounds;
use crate::answers::rule::{HalfInterval, Network, Omission, Queue, Servers, Time};
use crate::answers::theory::{Service, closed_network, exceeded_by};

impl HalfInterval {
    pub(super) fn checks(&self, trials: &Trials<'_>) -> Vec<Check> {
        let mut intervals: Vec<_> = self.of.iter().collect();
        intervals.sort_by(|a, b| a.1.0.total_cmp(&b.1.0));
        let check = |(name, interval): (&String, &Time)| {
            let half = interval.0 * 1e6 / 2.0;
            let mut predicts = None;
            let mut values = || {
                let (cell, base) = (trials.only(&own(name))?, trials.only(&self.base)?);
                predicts = base
                    .mean(Figure::Mean)
                    .map(|base| cell.prediction(Figure::Mean, base + half));
                let rounds = rounds(&[cell, base], Figure::Mean)?;
                Ok(rounds
                    .iter()
                    .map(|values| (values[0] - values[1]) / half)
                    .collect())
            };
            let values = values();
            let what = format!("mean time that {name} adds / half its interval");
            Check {
                predicts,
                ..Check::within(what, values, self.within)
            }
        };
        intervals.into_iter().map(check).collect()
    }
}

impl Queue {
    pub(super) fn checks(&self, trials: &Trials<'_>) -> Vec<Check> {
        let points = trials.points(&self.of, &[]);
        let several = points.len() > 1;
        let service = Service {
            each: self.each.0,
            share: self.share,
            exponential: self.exponential,
        };
        let check = |point: &String| {
            let mut predicts = None;
            let mut values = || {
                let (cell, base) = (
                    trials.cell(&self.of, point)?,
                    trials.cell(&self.base, point)?,
                );
                let rate = cell.offered_rate.ok_or("it has no rate")?;
                let wait = match self.servers {
                    Servers::One => service.wait_alone(rate),
                    Servers::Shared(servers) => service.wait_shared(rate, servers),
                    Servers::Each(servers) => service.wait_alone(rate / f64::from(servers)),
                    Servers::None => Some(0.0),
                };
                let wait = wait.ok_or("no server can keep up with this rate")?;
                let added = (service.mean() + wait) * 1e6;
                predicts = base
                    .mean(Figure::Mean)
                    .map(|base| cell.prediction(Figure::Mean, base + added));
                let rounds = rounds(&[cell, base], Figure::Mean)?;
                Ok(rounds
                    .iter()
                    .map(|values| (values[0] - values[1]) / added)
                    .collect())
            };
            let values = values();
            let at = if several {
                format!(" at {point}")
            } else {
                String::new()
            };
            let what = format!("mean time that {}{at} adds / the closed form", self.of);
            Check {
                predicts,
                ..Check::within(what, values, self.within)
            }
        };
        points.iter().map(check).collect()
    }
}

impl Network {
    pub(super) fn checks(&self, trials: &Trials<'_>) -> Vec<Check> {
        let mut threads: Vec<_> = self.of.iter().collect();
        threads.sort_by_key(|(_, threads)| **threads);
        let check = |(name, threads): (&String, &u32)| {
            let expected = closed_network(*threads, self.work.0, self.wait.0);
            let mut predicts = None;
            let mut values = || {
                let cell = trials.only(&own(name))?;
                predicts = Some(cell.prediction(Figure::Rate, expected));
                let rounds = rounds(&[cell], Figure::Rate)?;
                Ok(rounds.iter().map(|values| values[0] / expected).collect())
            };
            let values = values();
            Check {
                predicts,
                ..Check::within(
                    format!("requests/s of {name} / the closed form"),
                    values,
                    self.within,
                )
            }
        };
        threads.into_iter().map(check).collect()
    }
}

impl Omission {
    pub(super) fn checks(&self, trials: &Trials<'_>) -> Vec<Check> {
        let percentiles = [(Figure::P95, 0.05), (Figure::P99, 0.01)];
        let check = |(figure, beyond): (Figure, f64)| {
            let expected = exceeded_by(beyond, self.stop.0, self.every.0) * 1e6;
            let mut predicts = None;
            let mut values = || {
                let cell = trials.only(&self.of)?;
                predicts = Some(cell.prediction(figure, expected));
                let rounds = rounds(&[cell], figure)?;
                Ok(rounds.iter().map(|values| values[0] / expected).collect())
            };
            let values = values();
            let what = format!("{} of {} / the closed form", figure.title(), self.of);
            Check {
                predicts,
                ..Check::within(what, values, self.within)
            }
        };
        percentiles.map(check).into()
    }
}
