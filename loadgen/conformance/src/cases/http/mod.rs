//! HTTP/1.1 by RFC 9112: what is a request, where it ends, and what happens to what is none.

pub mod answer;
pub mod bodies;
pub mod clients;
pub mod dialogue;
pub mod limits;
pub mod pipelining;
pub mod plain;
pub mod refusals;
