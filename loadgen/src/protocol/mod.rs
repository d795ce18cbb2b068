//! What is said on a connection, from the client's side, without a socket and without a clock.
//!
//! *In:* the bytes that arrived. *Out:* the bytes to send, and how each request ended. *Must not know:* sockets, times
//! and how many connections there are; the engine moves the bytes and takes the times.

pub mod client;
pub(crate) mod draw;
pub(crate) mod echo;
pub(crate) mod error;
pub mod http;
pub(crate) mod once;
pub(crate) mod raw;
