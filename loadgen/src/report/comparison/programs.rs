//! Whether the two sides of a comparison ran the same programs.

use std::collections::BTreeMap;

use serde::Serialize;

use super::side::Side;
use crate::observe::commit::Commit;

/// What ran on both sides; `None`: it was not looked at in one of the runs.
#[derive(Debug, Serialize)]
pub struct SamePrograms {
    /// Whether loadgen was the same.
    pub loadgen: Option<bool>,
    /// Whether a server was the same, by the names of the rows.
    pub servers: BTreeMap<String, Option<bool>>,
    /// The commits of A and of B.
    pub commits: [Option<Commit>; 2],
}

impl SamePrograms {
    /// Of these servers: the name of each in A and in B, and that of its row.
    pub fn of<'a>(
        a: &Side,
        b: &Side,
        servers: impl Iterator<Item = (&'a str, &'a str, String)>,
    ) -> Self {
        let programs = |side: &Side| side.run().and_then(|run| run.programs.clone());
        let (in_a, in_b) = (programs(a), programs(b));
        let both = in_a.as_ref().zip(in_b.as_ref());
        let same = |server_a: &str, server_b: &str| {
            let (in_a, in_b) = both?;
            let hash_a = in_a.servers.get(server_a)?.as_ref()?;
            let hash_b = in_b.servers.get(server_b)?.as_ref()?;
            Some(hash_a == hash_b)
        };
        Self {
            loadgen: both.map(|(in_a, in_b)| in_a.loadgen == in_b.loadgen),
            servers: servers
                .map(|(server_a, server_b, row)| (row, same(server_a, server_b)))
                .collect(),
            commits: [a, b].map(|side| side.run().and_then(|run| run.commit.clone())),
        }
    }

    /// What is known of it, in plain words.
    pub fn sentences(&self) -> Vec<String> {
        let mut sentences = Vec::new();
        let named = |wanted: bool| -> Vec<&str> {
            let servers = self.servers.iter();
            servers
                .filter(|(_, same)| **same == Some(wanted))
                .map(|(server, _)| server.as_str())
                .collect()
        };
        let (same, different) = (named(true), named(false));
        let all = self.servers.len();
        if same.len() == all && all > 0 {
            sentences.push(match all {
                1 => "A and B are the same binary.".to_owned(),
                _ => "A and B have the same binaries.".to_owned(),
            });
        } else if different.len() == all && all > 0 {
            sentences.push(match all {
                1 => "A and B are different binaries.".to_owned(),
                _ => "A and B have different binaries.".to_owned(),
            });
        } else {
            for (servers, words) in [
                (same, "The same binary in A and B"),
                (different, "Different binaries"),
            ] {
                if !servers.is_empty() {
                    sentences.push(format!("{words}: {}.", servers.join(", ")));
                }
            }
        }
        if self.loadgen == Some(false) {
            sentences.push(
                "B was measured by another build of loadgen: a difference may come from that."
                    .to_owned(),
            );
        }
        if let [Some(a), Some(b)] = &self.commits
            && a != b
        {
            sentences.push(format!("A was run at commit {a}, B at {b}."));
        }
        sentences
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sentences(servers: &[(&str, Option<bool>)]) -> String {
        let servers = servers
            .iter()
            .map(|(name, same)| ((*name).to_owned(), *same));
        let programs = SamePrograms {
            loadgen: Some(true),
            servers: servers.collect(),
            commits: [None, None],
        };
        programs.sentences().join(" ")
    }

    #[test]
    fn the_same_binary_is_said_and_an_unknown_one_is_not() {
        let (same, other) = (Some(true), Some(false));
        for (servers, expected) in [
            (&[("x", same)][..], "A and B are the same binary."),
            (&[("x", other)], "A and B are different binaries."),
            (&[("x", None)], ""),
            (
                &[("x", same), ("y", same)],
                "A and B have the same binaries.",
            ),
            (
                &[("x", same), ("y", other), ("z", None)],
                "The same binary in A and B: x. Different binaries: y.",
            ),
        ] {
            assert_eq!(sentences(servers), expected);
        }
    }
}
