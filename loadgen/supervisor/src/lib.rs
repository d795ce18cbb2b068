//! Starts a server in its own process group, waits until it is ready, stops it, and kills what is left.
//!
//! The bench and the conformance suite share this. A server is started in three steps: [`Launch::hold`]
//! makes the process and holds it before its program runs, so that counters can be opened on it;
//! [`Held::release`] runs the program; [`Process::ready`] waits until it accepts connections.
//!
//! No server outlives the process that started it: see [`keeper`].
#![deny(unsafe_code)]

mod address;
mod clock;
mod cpus;
mod group;
mod helper;
mod inheritance;
pub mod keeper;
mod launch;
pub mod limit;
mod mode;
mod output;
mod process;
mod roles;
mod unable;

pub use address::{fill, free_address, has_placeholder};
pub use clock::clock_error;
pub use cpus::pin;
pub use group::Group;
pub use helper::{ensure_able, use_helper};
pub use inheritance::{Inheritance, hear_of_children, is_ignored};
pub use launch::{Held, Launch, Orders, Outlet};
pub use mode::{Description, Limits, Mode};
pub use output::Output;
pub use process::{Exit, Process, Ready, StartError, Stopped};
pub use roles::run_helper_if_asked;
pub use unable::{Unable, no_proc};
