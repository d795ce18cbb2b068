//! What the servers share, so that each can show its way of waiting and nothing else.
//!
//! A server's `main` calls [`main`] with its [`Model`] and its `serve` function. From there:
//!
//! * [`options`]: the flags, the same for all;
//! * [`listener`] and [`accept`]: the socket, the ready line, who is let in and when;
//! * [`session`] and [`mode`]: one connection's bytes, without a socket or a clock;
//! * [`blocking`] and [`nonblocking`]: the two ways to move those bytes over a socket;
//! * [`clients`] and [`deadlines`]: a loop's clients, and when it must wake though nothing is ready;
//! * [`child`]: a process that serves for its parent;
//! * [`workers`]: threads that share the work, where a model has them;
//! * [`stop`] and [`stats`]: how it ends, and what it counted.
//!
//! The loop, the interest set and the ready list are each server's own: they are the lesson.
#![deny(unsafe_code)]

pub mod accept;
pub mod blocking;
pub mod buffer;
pub mod child;
pub mod clients;
pub mod context;
pub mod deadlines;
#[cfg(test)]
mod driver_tests;
pub mod listener;
pub mod mode;
pub mod nonblocking;
pub mod options;
pub mod session;
pub mod stats;
pub mod stop;
pub mod work;
pub mod workers;

pub use context::{Context, Limits, Model, NoFlags, main};
pub use mode::Mode;
pub use options::Options;
