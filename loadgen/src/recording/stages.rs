//! What became of the requests of each stage of a load whose rate changes.

use hdrhistogram::Histogram;

use super::histogram::{HIGHEST, histogram};
use crate::workload::course::Stage;

/// The requests that were due in one stage.
#[derive(Debug, Clone)]
pub struct StageRecord {
    /// Which stage.
    pub stage: Stage,
    /// Became due in it.
    pub scheduled: u64,
    /// Of these, answered rightly.
    pub answered: u64,
    /// Of these, ended by an error.
    pub failed: u64,
    /// Response times, nanoseconds, as in [`super::times::Times::response`].
    pub response: Histogram<u64>,
}

impl StageRecord {
    /// Records a response time, nanoseconds.
    pub fn respond(&mut self, nanos: u64) {
        self.response.saturating_record(nanos.min(HIGHEST));
    }
}

/// A record for each stage; none where the rate does not change in stages.
#[derive(Debug, Clone, Default)]
pub struct StageRecords {
    /// When each ends, nanoseconds from the start of the measured time.
    ends: Vec<u64>,
    records: Vec<StageRecord>,
}

impl StageRecords {
    /// Empty records for these stages.
    pub fn new(stages: &[Stage]) -> Self {
        let mut end = 0;
        let ends = stages.iter().map(|stage| {
            end += stage.length.as_nanos() as u64;
            end
        });
        let records = stages.iter().map(|&stage| StageRecord {
            stage,
            scheduled: 0,
            answered: 0,
            failed: 0,
            response: histogram(),
        });
        Self {
            ends: ends.collect(),
            records: records.collect(),
        }
    }

    /// The record of requests that were due at this time, nanoseconds from the start of the measured time.
    pub fn at(&mut self, due: u64) -> Option<&mut StageRecord> {
        let number = self.ends.partition_point(|end| *end <= due);
        self.records.get_mut(number)
    }

    /// Adds what another thread recorded of the same stages.
    pub fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.records.iter_mut().zip(&other.records) {
            mine.scheduled += theirs.scheduled;
            mine.answered += theirs.answered;
            mine.failed += theirs.failed;
            mine.response
                .add(&theirs.response)
                .expect("all have the same bounds");
        }
    }

    /// The records in the order of the stages.
    pub fn records(&self) -> &[StageRecord] {
        &self.records
    }
}
