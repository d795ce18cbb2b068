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
