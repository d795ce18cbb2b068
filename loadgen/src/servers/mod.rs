//! The servers of a line-up on this machine.
//!
//! *In:* a row of the line-up and a load. *Out:* how the server is started for it, or why it cannot be measured.
//! *Must not know:* the load generator; to start, await and stop a process is the job of the crate `supervisor`.

pub mod contestant;
