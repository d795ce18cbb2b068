//! The commit of the sources at hand.

use std::process::{Command, Stdio};

use serde::{Deserialize, Serialize};

/// What the tool adds to the hash of a tree with changes.
const DIRTY: &str = "-dirty";

/// A state of a git repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Commit {
    /// The hash of its commit, in full.
    pub hash: String,
    /// Whether files that git tracks differed from it.
    pub dirty: bool,
}

impl Commit {
    /// Of the repository that the current directory is in. `None`: it is in none, the repository is empty, or there
    /// is no `git` here.
    pub fn here() -> Option<Self> {
        let described = Command::new("git")
            // The full hash: no tag may take its place, and no hash has more than 64 digits.
            .args(["describe", "--always", "--dirty", "--abbrev=64"])
            .arg("--exclude=*")
            // It writes nothing into the repository.
            .env("GIT_OPTIONAL_LOCKS", "0")
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .output()
            .ok()?;
        let text = String::from_utf8(described.stdout).ok()?;
        described.status.success().then_some(())?;
        Self::parse(text.trim())
    }

    fn parse(text: &str) -> Option<Self> {
        let (hash, dirty) = match text.strip_suffix(DIRTY) {
            Some(hash) => (hash, true),
            None => (text, false),
        };
        let whole = [40, 64].contains(&hash.len()) && hash.bytes().all(|b| b.is_ascii_hexdigit());
        whole.then(|| Self {
            hash: hash.to_owned(),
            dirty,
        })
    }
}

impl std::fmt::Display for Commit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let changed = if self.dirty { " with changes" } else { "" };
        write!(f, "{:.12}{changed}", self.hash)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_is_its_whole_hash_and_whether_files_differ() {
        let hash = "3facc1628bb3f99f33d35a8c94c49e935aa395ee";
        let commit = |dirty| Commit {
            hash: hash.to_owned(),
            dirty,
        };
        assert_eq!(Commit::parse(hash), Some(commit(false)));
        assert_eq!(Commit::parse(&format!("{hash}-dirty")), Some(commit(true)));
        for other in ["", "3facc16", "v1.0-3-g3facc16", "fatal: no names found"] {
            assert_eq!(Commit::parse(other), None, "{other}");
        }
        assert_eq!(commit(true).to_string(), "3facc1628bb3 with changes");
    }
}
