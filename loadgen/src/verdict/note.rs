//! What a reader should know of a trial. Notes do not make it INVALID.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A remark. On disk it is a string: the kind, a colon, and the details.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", from = "String")]
pub enum Note {
    /// Closed loop: the generator was at its limit. The server can do at least as much as was measured.
    GeneratorBound {
        /// The server used all the CPU time that it can, too: it was at its limit, or it spins while it waits.
        server_busy: bool,
    },
    /// The answers lay in the kernel for a good part of their response time before the generator read them.
    ReadLate(String),
    /// Response and service end when the answer arrives in the kernel.
    KernelTimestamps(String),
    /// Open loop: the server did not keep up with the schedule.
    RateNotReached(String),
    /// Connections that the generator's own limits did not allow.
    ConnectionsMissing(String),
    /// Which readings could not be taken.
    Unchecked(String),
    /// How late the measured time began.
    StartedLate(String),
    /// How much of the measured time had passed when it was stopped.
    CutShort(String),
    /// Which of several generators spoil the result that they have in common.
    Spoiled(String),
    /// What was wrong with their results, and was allowed by a flag of `loadgen merge`.
    Allowed(String),
    /// Addresses of the server that are not used, because nobody listens there.
    LeftOut(String),
    /// Fewer neighbours than were asked for.
    Neighbours(String),
    /// The first half of the measured time differed from the second.
    Drift(String),
    /// Times that are too long for a histogram.
    Clamped(String),
    /// Costs of the server that cannot be counted here.
    Costs(String),
    /// The trial is not the first attempt.
    Repeated(String),
    /// The server ended with an error when it was asked to stop.
    StoppedBadly(String),
    /// The server did not stop when it was asked to.
    Killed,
    /// A note of another version of loadgen.
    Other(String),
}

/// What there is to say when the server is busy too.
const BOTH_BUSY: &str =
    "the server was busy all the time too, so the trial cannot tell which of the two was the limit";

impl Note {
    /// The kind, and the details.
    fn parts(&self) -> (&str, Option<&str>) {
        match self {
            Self::GeneratorBound { server_busy } => {
                ("generator-bound", server_busy.then_some(BOTH_BUSY))
            }
            Self::ReadLate(said) => ("generator-read-late", Some(said)),
            Self::KernelTimestamps(said) => ("kernel-timestamps", Some(said)),
            Self::RateNotReached(said) => ("rate-not-reached", Some(said)),
            Self::ConnectionsMissing(said) => ("connections-missing", Some(said)),
            Self::Unchecked(said) => ("unchecked", Some(said)),
            Self::StartedLate(said) => ("started-late", Some(said)),
            Self::CutShort(said) => ("cut-short", Some(said)),
            Self::Spoiled(said) => ("spoiled-by", Some(said)),
            Self::Allowed(said) => ("allowed", Some(said)),
            Self::LeftOut(said) => ("addresses-left-out", Some(said)),
            Self::Neighbours(said) => ("neighbours", Some(said)),
            Self::Drift(said) => ("drift", Some(said)),
            Self::Clamped(said) => ("clamped", Some(said)),
            Self::Costs(said) => ("costs", Some(said)),
            Self::Repeated(said) => ("repeated", Some(said)),
            Self::StoppedBadly(said) => ("the server stopped badly", Some(said)),
            Self::Killed => ("the server ignored SIGTERM and was killed", None),
            Self::Other(text) => text
                .split_once(": ")
                .map_or((text, None), |(word, said)| (word, Some(said))),
        }
    }

    /// The same note, with the name of the shard that has it.
    #[must_use]
    pub fn of(&self, whose: &str) -> Self {
        match self.parts() {
            // The details of this kind have a form of their own.
            ("generator-bound", _) | (_, None) => self.clone(),
            (word, Some(said)) => Self::from(format!("{word}: {whose}: {said}")),
        }
    }

    /// The kind, which notes of several trials have in common.
    pub fn word(&self) -> &str {
        self.parts().0
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.parts() {
            (word, None) => f.write_str(word),
            (word, Some(said)) => write!(f, "{word}: {said}"),
        }
    }
}

impl From<Note> for String {
    fn from(note: Note) -> Self {
        note.to_string()
    }
}

impl From<String> for Note {
    fn from(text: String) -> Self {
        const THAT_SAY_MORE: [fn(String) -> Note; 16] = [
            Note::ReadLate,
            Note::KernelTimestamps,
            Note::RateNotReached,
            Note::ConnectionsMissing,
            Note::Unchecked,
            Note::StartedLate,
            Note::CutShort,
            Note::Spoiled,
            Note::Allowed,
            Note::LeftOut,
            Note::Neighbours,
            Note::Drift,
            Note::Clamped,
            Note::Costs,
            Note::Repeated,
            Note::StoppedBadly,
        ];
        let note = match text.split_once(": ") {
            None => [Self::GeneratorBound { server_busy: false }, Self::Killed]
                .into_iter()
                .find(|note| note.word() == text),
            Some(("generator-bound", _)) => Some(Self::GeneratorBound { server_busy: true }),
            Some((word, said)) => THAT_SAY_MORE
                .into_iter()
                .map(|note| note(said.to_owned()))
                .find(|note| note.word() == word),
        };
        note.unwrap_or(Self::Other(text))
    }
}

/// Whether the generator was the limit in one of the trials with these notes.
pub fn generator_bound(notes: &[Note]) -> bool {
    notes
        .iter()
        .any(|note| matches!(note, Note::GeneratorBound { .. }))
}

/// Whether the generator read its answers late in one of the trials with these notes.
pub fn read_late(notes: &[Note]) -> bool {
    notes.iter().any(|note| matches!(note, Note::ReadLate(_)))
}

/// Whether the server kept up with the schedule in all of the trials with these notes.
pub fn kept_up(notes: &[Note]) -> bool {
    !notes
        .iter()
        .any(|note| matches!(note, Note::RateNotReached(_)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_note_is_read_as_it_was_written() {
        let said = || "3 of 4: all".to_owned();
        for (note, text) in [
            (
                Note::GeneratorBound { server_busy: false },
                "generator-bound",
            ),
            (
                Note::GeneratorBound { server_busy: true },
                "generator-bound: the server was busy all the time too, so the trial cannot tell which of the two was the limit",
            ),
            (Note::ReadLate(said()), "generator-read-late: 3 of 4: all"),
            (
                Note::KernelTimestamps(said()),
                "kernel-timestamps: 3 of 4: all",
            ),
            (
                Note::RateNotReached(said()),
                "rate-not-reached: 3 of 4: all",
            ),
            (
                Note::ConnectionsMissing(said()),
                "connections-missing: 3 of 4: all",
            ),
            (Note::Unchecked(said()), "unchecked: 3 of 4: all"),
            (Note::StartedLate(said()), "started-late: 3 of 4: all"),
            (Note::CutShort(said()), "cut-short: 3 of 4: all"),
            (Note::Spoiled(said()), "spoiled-by: 3 of 4: all"),
            (Note::Allowed(said()), "allowed: 3 of 4: all"),
            (Note::LeftOut(said()), "addresses-left-out: 3 of 4: all"),
            (Note::Neighbours(said()), "neighbours: 3 of 4: all"),
            (Note::Drift(said()), "drift: 3 of 4: all"),
            (Note::Clamped(said()), "clamped: 3 of 4: all"),
            (Note::Costs(said()), "costs: 3 of 4: all"),
            (Note::Repeated(said()), "repeated: 3 of 4: all"),
            (
                Note::StoppedBadly(said()),
                "the server stopped badly: 3 of 4: all",
            ),
            (Note::Killed, "the server ignored SIGTERM and was killed"),
            (
                Note::Other("new: of a later version".to_owned()),
                "new: of a later version",
            ),
            (
                Note::Other("generator-bound?".to_owned()),
                "generator-bound?",
            ),
        ] {
            let json = serde_json::to_string(&note).unwrap();
            assert_eq!(json, format!("{text:?}"));
            assert_eq!(serde_json::from_str::<Note>(&json).unwrap(), note);
        }
    }
}
