//! What is answered.

pub(crate) mod http;

/// The protocol a server speaks on every connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Mode {
    /// Every byte comes back, in order.
    Echo,
    /// One fixed answer to the first bytes, then the server closes.
    Once,
    /// HTTP/1.1: a short text for GET and HEAD.
    Http,
}

/// The answer of [`Mode::Once`].
pub const ONCE_ANSWER: &[u8] = b"Hello from server!\n";
