//! Whether a trial counts, and if not, why.

use serde::{Deserialize, Serialize};

/// What a trial's figures are worth. The order is that of the rows of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Verdict {
    /// The trial was measured as it should be; whatever the server did is its result.
    Valid,
    /// The server answered wrongly, or not at all.
    Failed,
    /// The trial could not be measured; `causes` says why.
    Invalid,
}

impl Verdict {
    /// The verdict for these causes. Wrong answers make it FAILED, however badly the generator did. So does
    /// silence, unless others used the machine: then the server may not have run.
    pub fn of(causes: &[Cause]) -> Self {
        let silent = causes.contains(&Cause::NoAnswer) && !causes.contains(&Cause::MachineStolen);
        if silent || causes.contains(&Cause::WrongAnswers) {
            Self::Failed
        } else if causes.is_empty() {
            Self::Valid
        } else {
            Self::Invalid
        }
    }
}

/// Why a trial is FAILED or INVALID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// The generator sent late, or its thread was runnable but not running.
    GeneratorLate,
    /// Open loop: a thread of the generator was busy all the time.
    GeneratorSaturated,
    /// The generator's own limits did not allow all connections.
    ConnectionsMissing,
    /// No request was sent in the measured time.
    NoRequest,
    /// A reading that the verdict needs could not be taken.
    Unchecked,
    /// The hypervisor or another process took the machine.
    MachineStolen,
    /// The measured time began after the time that was set for it.
    StartedLate,
    /// It was ended before its time.
    CutShort,
    /// Of several generators that share a load, the result of one at least is missing.
    ShardMissing,
    /// The server answered wrongly.
    WrongAnswers,
    /// The server was asked and answered nothing.
    NoAnswer,
}

impl Cause {
    /// What it means, in plain words.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::GeneratorLate => "the generator sent late or did not get its core",
            Self::GeneratorSaturated => "the generator was busy all the time",
            Self::ConnectionsMissing => {
                "limits of this host kept the generator from opening all connections"
            }
            Self::NoRequest => "no request was sent",
            Self::Unchecked => "a reading that the verdict needs could not be taken",
            Self::MachineStolen => "other programs or other virtual machines used this machine",
            Self::StartedLate => "it began later than --start-at",
            Self::CutShort => "it was stopped before its end",
            Self::ShardMissing => "the result of one of its generators is missing",
            Self::WrongAnswers => "the server answered wrongly",
            Self::NoAnswer => "the server answered nothing",
        }
    }

    /// Whether it is the server's fault.
    pub fn is_the_servers(self) -> bool {
        match self {
            Self::WrongAnswers | Self::NoAnswer => true,
            Self::GeneratorLate
            | Self::GeneratorSaturated
            | Self::ConnectionsMissing
            | Self::NoRequest
            | Self::Unchecked
            | Self::MachineStolen
            | Self::StartedLate
            | Self::CutShort
            | Self::ShardMissing => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_server_did_wrong_counts_before_what_the_generator_did() {
        for (causes, verdict) in [
            (&[][..], Verdict::Valid),
            (&[Cause::MachineStolen], Verdict::Invalid),
            (&[Cause::NoRequest], Verdict::Invalid),
            (&[Cause::NoAnswer], Verdict::Failed),
            (&[Cause::GeneratorLate, Cause::NoAnswer], Verdict::Failed),
            (&[Cause::MachineStolen, Cause::NoAnswer], Verdict::Invalid),
            (
                &[Cause::MachineStolen, Cause::WrongAnswers],
                Verdict::Failed,
            ),
            (
                &[Cause::GeneratorLate, Cause::WrongAnswers],
                Verdict::Failed,
            ),
        ] {
            assert_eq!(Verdict::of(causes), verdict, "{causes:?}");
        }
    }
}
