//! The protocols of a server, and what `--describe` prints.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The protocol spoken with the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Every byte comes back; each is compared.
    Echo,
    /// A connection for each request: connect, ask, be answered, closed.
    Once,
    /// HTTP/1.1 GET requests.
    Http,
}

impl fmt::Display for Mode {
    /// As the flag `--mode` of a server takes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Echo => "echo",
            Self::Once => "once",
            Self::Http => "http",
        })
    }
}

/// What a server prints with `--describe`.
#[derive(Debug, Clone, Deserialize)]
pub struct Description {
    /// The server's name in tables.
    pub name: String,
    /// The way of waiting it belongs to.
    pub family: String,
    /// One line about it.
    pub summary: String,
    /// The flags it has, such as `--listen`.
    pub flags: Vec<String>,
    /// How many clients it serves at once.
    pub limits: Limits,
}

/// How many clients a server serves at once.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Limits {
    /// Null: as many as its descriptors allow.
    pub clients: Option<usize>,
    /// Why there is a limit; may be null where there is none.
    pub why: Option<String>,
}
