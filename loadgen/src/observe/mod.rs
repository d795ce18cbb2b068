//! What is observed beside the load: the costs of the server, and the machine. It also keeps the cores awake.
//!
//! *In:* the server's process, and when the load and the measured time begin and end. *Out:* an
//! [`observed::Observed`], and the [`machine::Machine`]. *Must not know:* the load, and what is concluded from the
//! readings.

pub mod clock_error;
pub mod clock_offset;
pub(crate) mod clocks;
pub mod commit;
pub mod cores;
pub mod costs;
mod counters;
pub mod keep_awake;
pub mod machine;
pub mod observed;
mod process_tree;
pub mod program;
pub(crate) mod shortcomings;
pub(crate) mod watch;
