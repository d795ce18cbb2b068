//! The load itself: an event loop for each generator thread, and the main thread that starts them together and
//! gathers what they record.
//!
//! *In:* a [`crate::workload::load::Workload`]. *Out:* a [`crate::recording::record::Recording`]. *Must not know:*
//! who the server is, whether the figures are good, and where they go; it reports the phases to an
//! [`observer::Observer`], and does not know what that reads.

mod clock;
mod collector;
pub mod connector;
mod generator;
mod messages;
mod neighbours;
pub mod observer;
pub mod probe;
mod socket;
mod transport;
pub mod trial;
