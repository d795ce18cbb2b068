//! HTTP/1.1 by RFC 9112: what a request is, where it ends, and what happens to anything else.

pub mod answer;
pub mod bodies;
pub mod clients;
pub mod dialogue;
pub mod limits;
pub mod pipelining;
pub mod plain;
pub mod refusals;
