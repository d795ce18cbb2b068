//! The result: what `--json` prints.

use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

use super::figure::Figure;
use super::standing::{Finding, Judged, Remarks};
use crate::verdict::cause::Cause;

/// The result.
#[derive(Debug, Serialize)]
pub struct Answer {
    /// The version of the JSON.
    pub schema_version: u32,
    /// Why it ended.
    #[serde(flatten)]
    pub ended: Ended,
    /// The first server.
    pub a: Contender,
    /// The second one.
    pub b: Contender,
    /// Whether both are the same file; null: one of them could not be read.
    pub same_binary: Option<bool>,
    /// The figure whose ratio was to be known closely.
    pub figure: Figure,
    /// How closely, as a share.
    pub within: f64,
    /// B is worse when a figure is worse by this share or more.
    pub threshold: f64,
    /// With this confidence all intervals hold together.
    pub confidence: f64,
    /// Blocks of four trials that count.
    pub blocks: usize,
    /// Trials that stayed INVALID; their blocks do not count.
    pub invalid: usize,
    /// Why they are, each cause once.
    pub causes: Vec<Cause>,
    /// The time that it took, seconds.
    pub seconds: f64,
    /// In the order of the table.
    pub figures: Vec<Judged>,
    /// Measured clients of a trial.
    pub connections: usize,
    /// B left clients without an answer in all of its trials, and A in none.
    pub only_b_starves: bool,
    /// B is worse by the threshold or more, or only B left clients without an answer.
    pub regression: bool,
    /// Where the trials are; null: they were not saved.
    pub results: Option<PathBuf>,
}

/// One of the two servers.
#[derive(Debug, Clone, Serialize)]
pub struct Contender {
    /// As the user gave it.
    pub command: String,
    /// The SHA-256 of its program's file; null: it could not be read.
    pub sha256: Option<String>,
    /// Remarks that its figures do not show.
    #[serde(flatten)]
    pub remarks: Remarks,
}

/// Which one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// The first.
    A,
    /// The second.
    B,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::A => "A",
            Self::B => "B",
        })
    }
}

/// Why it ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "ended", rename_all = "kebab-case")]
pub enum Ended {
    /// The ratio is known as closely as asked.
    Narrow,
    /// The time was over.
    Budget,
    /// The trials do not have the figure that decides.
    NoFigure,
    /// A server did not start, died, or answered wrongly or not at all.
    Failed {
        /// Which one.
        side: Side,
        /// How.
        reason: String,
    },
    /// The user ended it.
    Interrupted,
}

/// What became of B.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It is not shown to be worse by the threshold.
    NotWorse,
    /// It is worse by the threshold or more, or it alone left clients without an answer.
    Worse,
    /// That could not be measured.
    NotMeasured,
    /// The user ended it.
    Interrupted,
}

impl Answer {
    /// What it says of B. A failure is none of these.
    pub fn outcome(&self) -> Outcome {
        let decides = self.figures.iter().find(|seen| seen.figure == self.figure);
        let measured = decides.is_some_and(|seen| seen.verdict != Finding::NotMeasured);
        match self.ended {
            Ended::Interrupted => Outcome::Interrupted,
            _ if !measured => Outcome::NotMeasured,
            _ if self.regression => Outcome::Worse,
            _ => Outcome::NotWorse,
        }
    }
}
