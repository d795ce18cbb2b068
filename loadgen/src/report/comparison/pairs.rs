//! The rows of both sides, side by side.

use super::measured::{Measured, Without};
use super::rows::{Outcome, Row};
use super::side::Side;
use crate::stats::ratio::Ratio;
use crate::workload::scenario::{Point, Rank, Scenario};

/// What may be said of B. A server that the generator could not load fully may be as good as the other. A server
/// that left clients without an answer may be as bad, however good its figures are.
#[derive(Debug, Clone, Copy, Default)]
pub struct MayBe {
    pub slower: bool,
    pub faster: bool,
}

/// A row without its verdict, which needs the figures of all rows.
pub struct Pair {
    pub row: Row,
    pub figures: Vec<Figure>,
    pub may_be: MayBe,
}

/// A figure without its verdict: requests a second, or nanoseconds.
pub struct Figure {
    pub kind: Rank,
    pub a: f64,
    pub b: f64,
    pub ratio: Ratio,
}

/// The rows of both sides with these figures: the points of A in its order, then those that only B has.
pub fn pairs(a: &Side, b: &Side, compared: &[Rank]) -> anyhow::Result<Vec<Pair>> {
    let servers = servers(a, b);
    let points = |side: &Side| -> Vec<(String, String, Rank)> {
        let scenarios = side.profile.scenarios.iter();
        scenarios
            .flat_map(|scenario| {
                let points = scenario.points.iter();
                points.map(|point| (scenario.name.clone(), point.name.clone(), scenario.rank))
            })
            .collect()
    };
    let mut all = points(a);
    let only_b = points(b)
        .into_iter()
        .filter(|(scenario, point, _)| a.find(scenario, point).is_none());
    all.extend(only_b);
    let mut pairs = Vec::new();
    for (scenario, point, rank) in &all {
        for (server_a, server_b) in &servers {
            let mut row = Row {
                scenario: scenario.clone(),
                point: point.clone(),
                server: row_name(server_a, server_b),
                rank: *rank,
                verdict: Outcome::NotComparable,
                reason: None,
                broke: false,
                starved: None,
                figures: Vec::new(),
            };
            let place = |side: &Side, server: &str| side.place(scenario, server, point);
            let not_both = not_both(a, b, row.scenario.as_str(), point, server_a, server_b);
            let measured = if let Some(reason) = not_both {
                Err(reason)
            } else {
                let in_a = Measured::read(&place(a, server_a), *rank, compared)?;
                let in_b = Measured::read(&place(b, server_b), *rank, compared)?;
                let worked = matches!(in_a, Ok(_) | Err(Without::TooFew(_)));
                row.broke = worked && matches!(in_b, Err(Without::Failed(_)));
                both(in_a.map_err(Without::reason), in_b.map_err(Without::reason))
            };
            pairs.push(Pair::new(row, measured));
        }
    }
    Ok(pairs)
}

/// The names of the servers that are compared, in A and in B.
pub fn servers(a: &Side, b: &Side) -> Vec<(String, String)> {
    match (&a.server, &b.server) {
        (Some(in_a), Some(in_b)) => vec![(in_a.clone(), in_b.clone())],
        (Some(one), None) | (None, Some(one)) => vec![(one.clone(), one.clone())],
        (None, None) => {
            let entries = a
                .profile
                .servers
                .iter()
                .chain(b.profile.servers.iter().filter(|entry| !a.has(&entry.name)));
            entries
                .map(|entry| (entry.name.clone(), entry.name.clone()))
                .collect()
        }
    }
}

/// The name of the row of a server that has these names in A and in B.
pub fn row_name(in_a: &str, in_b: &str) -> String {
    if in_a == in_b {
        in_a.to_owned()
    } else {
        format!("{in_b} / {in_a}")
    }
}

/// Why a row cannot be compared: only one run has it, or the loads differ.
fn not_both(
    a: &Side,
    b: &Side,
    scenario: &str,
    point: &str,
    server_a: &str,
    server_b: &str,
) -> Option<String> {
    let only = |side: &Side| Some(format!("only in {}", side.name));
    let ((scenario_a, point_a), (scenario_b, point_b)) =
        match (a.find(scenario, point), b.find(scenario, point)) {
            (Some(in_a), Some(in_b)) => (in_a, in_b),
            (_, None) => return only(a),
            (None, _) => return only(b),
        };
    if !b.has(server_b) {
        return only(a);
    }
    if !a.has(server_a) {
        return only(b);
    }
    let fields = |scenario: &Scenario, point: &Point| {
        let asked = &point.workload;
        [
            ("the servers' flags", format!("{:?}", scenario.server_flags)),
            ("mode", format!("{:?}", asked.mode)),
            ("load", format!("{:?}", asked.load)),
            ("stages", format!("{:?}", asked.course)),
            ("connections", asked.connections.to_string()),
            ("pipeline", asked.pipeline.to_string()),
            ("size", asked.size.to_string()),
            ("warmup", format!("{:?}", asked.warmup)),
            ("duration", format!("{:?}", asked.duration)),
            ("drain", format!("{:?}", asked.drain)),
            ("neighbours", format!("{:?}", asked.neighbours)),
            ("clients", format!("{:?}", asked.client)),
            ("requests", format!("{:?}", asked.http)),
            ("raw requests", format!("{:?}", asked.raw)),
            ("TLS", format!("{:?}", asked.tls)),
        ]
    };
    fields(scenario_a, point_a)
        .into_iter()
        .zip(fields(scenario_b, point_b))
        .find(|(in_a, in_b)| in_a != in_b)
        .map(|((name, in_a), (_, in_b))| format!("the loads differ in {name}: {in_a} and {in_b}"))
}

/// The figures of both sides, or why one of them has none.
fn both(
    a: Result<Measured, String>,
    b: Result<Measured, String>,
) -> Result<(Measured, Measured), String> {
    match (a, b) {
        (Ok(a), Ok(b)) => Ok((a, b)),
        (Err(a), Err(b)) if a == b => Err(a),
        (Err(a), Err(b)) => Err(format!("A: {a}; B: {b}")),
        (Err(a), Ok(_)) => Err(format!("A: {a}")),
        (Ok(_), Err(b)) => Err(format!("B: {b}")),
    }
}

impl Pair {
    fn new(mut row: Row, measured: Result<(Measured, Measured), String>) -> Self {
        let (mut figures, mut may_be) = (Vec::new(), MayBe::default());
        match measured {
            Err(reason) => row.reason = Some(reason),
            Ok((a, b)) => {
                may_be = MayBe {
                    slower: !b.generator_bound && a.starvation.is_none(),
                    faster: !a.generator_bound && b.starvation.is_none(),
                };
                let starved = [("A", &a.starvation), ("B", &b.starvation)];
                let starved = starved.into_iter().filter_map(|(side, starvation)| {
                    Some(format!("{side}: {}", starvation.as_ref()?))
                });
                let starved: Vec<String> = starved.collect();
                row.starved = (!starved.is_empty()).then(|| starved.join("; "));
                figures.extend(a.figures.iter().filter_map(|(kind, a)| {
                    let (_, b) = b.figures.iter().find(|(other, _)| other == kind)?;
                    Some(Figure {
                        kind: *kind,
                        a: a.value,
                        b: b.value,
                        ratio: Ratio::of(b, a),
                    })
                }));
            }
        }
        Self {
            row,
            figures,
            may_be,
        }
    }
}
