//! The rows of a bench: which program is started, with which flags.

use anyhow::{bail, ensure};
use serde::{Deserialize, Serialize};
use supervisor::has_placeholder;

use super::load::Mode;

/// One row of the line-up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerEntry {
    /// The row's name, unique in the line-up.
    pub name: String,
    /// A crate of this workspace: its binary is `<crate>-server`.
    #[serde(rename = "crate", default, skip_serializing_if = "Option::is_none")]
    pub package: Option<String>,
    /// Flags of the crate's binary; `{cores}` is the number of cores it is given.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub flags: Vec<String>,
    /// A foreign server's command; `{port}` and `{addr}` say where to listen.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    /// The foreign server's first line on standard output is `listening on ADDR` when it accepts connections. Then
    /// its command needs no placeholder.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ready_line: bool,
    /// The protocols that a foreign server speaks.
    #[serde(default = "echo_only")]
    pub modes: Vec<Mode>,
    /// The foreign server speaks TLS, and nothing in clear text.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub tls: bool,
    /// What the row is, in a few words.
    #[serde(default)]
    pub about: String,
    /// How it learns what there is to do: the colour of the row on the page.
    #[serde(default, skip_serializing_if = "Family::is_other")]
    pub family: Family,
}

/// How servers learn what there is to do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// A thread or a process blocks on one client.
    Blocking,
    /// A loop asks about all clients.
    Asking,
    /// The kernel reports to a loop which clients are ready.
    Told,
    /// The kernel reports what it has done.
    Completed,
    /// A library or a runtime waits, and calls or resumes the server's code.
    Runtime,
    /// Not known.
    #[default]
    Other,
}

impl Family {
    #[expect(
        clippy::trivially_copy_pass_by_ref,
        reason = "serde passes a reference"
    )]
    fn is_other(&self) -> bool {
        *self == Self::Other
    }
}

fn echo_only() -> Vec<Mode> {
    vec![Mode::Echo]
}

impl ServerEntry {
    /// Whether its command has a placeholder for the address.
    pub fn is_told_where(&self) -> bool {
        let mut words = self.command.iter();
        words.any(|word| has_placeholder(word.as_ref()))
    }

    /// Whether it can be started.
    pub(super) fn check(&self) -> anyhow::Result<()> {
        match (&self.package, self.command.as_slice()) {
            (Some(_), []) => Ok(()),
            (None, [_, ..]) => {
                ensure!(
                    self.flags.is_empty(),
                    "`flags` are for a `crate`; add them to `command`"
                );
                ensure!(
                    self.ready_line || self.is_told_where(),
                    "`command` needs {{port}} or {{addr}}, so that the bench can say where to listen, or \
                     `ready_line = true` if the server says where it listens"
                );
                Ok(())
            }
            _ => bail!("it needs either `crate` or `command`"),
        }
    }
}
