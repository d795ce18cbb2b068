//! The servers of a line-up, as far as this machine has them.
//!
//! *In:* a row of the line-up and a load. *Out:* how the server is started for it, or why it cannot be measured.
//! *Must not know:* the load generator; to start, await and stop a process is the business of the crate `supervisor`.

pub mod contestant;
