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

    /// What the user can do about it; `None`: it is the server's.
    pub fn remedy(self) -> Option<&'static str> {
        Some(match self {
            Self::GeneratorLate => "give the generator a core of its own, or less load",
            Self::GeneratorSaturated => "give more --threads, or less load",
            Self::ConnectionsMissing => "raise ulimit -n, or use fewer connections",
            Self::NoRequest => "give a longer --duration or a higher rate",
            Self::Unchecked => "raise ulimit -n, and see that /proc is mounted",
            Self::MachineStolen => "stop what else runs on this machine",
            Self::StartedLate => "give a later --start-at",
            Self::CutShort => "let it run to its end",
            Self::ShardMissing => "merge the results of all generators",
            Self::WrongAnswers | Self::NoAnswer => return None,
        })
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

/// What these causes mean, each once, with what to do about it.
pub fn with_remedies<'a>(causes: impl IntoIterator<Item = &'a Cause>) -> String {
    let mut parts: Vec<String> = Vec::new();
    for cause in causes {
        let part = match cause.remedy() {
            Some(remedy) => format!("{} ({remedy})", cause.meaning()),
            None => cause.meaning().to_owned(),
        };
        if !parts.contains(&part) {
            parts.push(part);
        }
    }
    parts.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_remedy_fits_its_cause() {
        use Cause::{ConnectionsMissing, MachineStolen, NoAnswer, Unchecked};
        let text = with_remedies(&[Unchecked, ConnectionsMissing, Unchecked]);
        assert!(!text.contains("stop what else runs"), "{text}");
        assert_eq!(
            text.matches("a reading that the verdict needs").count(),
            1,
            "{text}"
        );
        assert!(text.contains("all connections (raise ulimit -n"), "{text}");
        assert_eq!(
            with_remedies(&[MachineStolen, NoAnswer]),
            "other programs or other virtual machines used this machine (stop what else runs on this machine); \
             the server answered nothing"
        );
    }

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
