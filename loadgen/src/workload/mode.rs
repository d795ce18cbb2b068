//! Which protocol the generator speaks.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The protocol spoken with the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Every byte comes back; each is compared
    Echo,
    /// A connection for each request: connect, ask, be answered, closed
    Once,
    /// HTTP/1.1 requests
    Http,
    /// Any protocol of requests and answers: --send is the request, --expect or --until its answer
    Raw,
}

impl Mode {
    /// What a server of the workspace speaks then: to it, raw bytes are bytes that come back.
    pub fn of_server(self) -> supervisor::Mode {
        match self {
            Self::Echo | Self::Raw => supervisor::Mode::Echo,
            Self::Once => supervisor::Mode::Once,
            Self::Http => supervisor::Mode::Http,
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Echo => "echo",
            Self::Once => "once",
            Self::Http => "http",
            Self::Raw => "raw",
        })
    }
}
