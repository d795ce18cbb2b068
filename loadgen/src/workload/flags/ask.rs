//! All flags of what is asked of a server.

use clap::Args;

use super::load::LoadArgs;
use super::pace::PaceArgs;
use super::{Files, Usage};
use crate::workload::address::Address;
use crate::workload::load::{Shard, Workload};
use crate::workload::requirement::Requirement;

/// What `run` and each scenario ask of a server.
#[derive(Debug, Args)]
pub struct AskArgs {
    #[command(flatten)]
    pace: PaceArgs,

    /// What each trial must meet, such as p99<5ms, p99.9<=20ms or failed<0.1%; may be repeated. Exit code 4 if one misses
    #[arg(long = "goal", value_name = "GOAL")]
    pub goals: Vec<Requirement>,

    #[command(flatten)]
    load: LoadArgs,
}

impl AskArgs {
    /// The workload that these flags ask for, with this server, for one of several generators.
    ///
    /// # Errors
    /// When flags do not fit together, or a file that they name cannot be read.
    pub fn workload(
        &self,
        server: &Address,
        shard: Shard,
        files: &Files<'_>,
    ) -> Result<Workload, Usage> {
        let course = self.pace.course(files)?;
        let duration = course.length().unwrap_or(self.load.duration);
        let load = self.pace.load(&course);
        Ok(Workload {
            course,
            duration,
            spin: self.pace.spin,
            ..self.load.workload(server, load, shard, files)?
        })
    }
}
