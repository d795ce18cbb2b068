//! What the servers share, so that each can show its way of waiting and nothing else.
//!
//! A server's `main` calls [`main`] with its [`Model`] and its `serve` function. From there:
//!
//! * [`options`]: the flags, the same for all;
//! * [`listener`] and [`accept`]: the socket, the ready line, which clients are taken and when;
//! * [`session`] and [`mode`]: one connection's protocol, without a socket or a clock;
//! * [`connection`]: the session, and what is counted and traced of it;
//! * [`blocking`] and [`nonblocking`]: the two ways to move its bytes over a socket;
//! * [`clients`] and [`deadlines`]: the clients of a loop, and when it must wake though nothing is ready;
//! * [`demand`], [`pace`] and [`work`]: what requests demand by `--work` and `--block`, and how it is done;
//! * [`child`]: processes that serve for their parent;
//! * [`limits`]: how many blocking threads the memory has room for;
//! * [`workers`]: threads that share the work, where a model has them;
//! * [`stop`] and [`stats`]: how a server ends, and what it counted;
//! * [`trace`], and [`in_flight`] for `io_uring`: what a server writes about itself while it runs;
//! * [`console`]: what it says, without waiting for a reader.
//!
//! The loop, the interest set and the ready list are each server's own: they are the lesson.
#![deny(unsafe_code)]

pub mod accept;
pub mod blocking;
pub mod buffer;
pub mod child;
pub mod clients;
pub mod connection;
pub mod console;
pub mod context;
pub mod deadlines;
pub mod demand;
#[cfg(test)]
mod driver_tests;
pub mod in_flight;
pub mod limits;
pub mod listener;
pub mod memory;
pub mod mode;
pub mod nonblocking;
pub mod options;
pub mod pace;
pub mod session;
mod shared;
pub mod stats;
pub mod stop;
pub mod trace;
pub mod work;
pub mod workers;

pub use context::{Context, Limits, Model, NoFlags, ProgramFlags, main, main_of_programs};
pub use mode::Mode;
pub use options::Options;
