//! A picture of how a server waited.
//!
//! *In:* the trace of a server, and what the clients of a scene saw. *Out:* an SVG file, a page, or the Trace Event
//! format. *Must not know:* how a server waits, beyond what the trace says.
//!
//! ```text
//! scene -> play -+
//!                +-> story -> limit -> axis -> svg -> page
//!        trace --+     |
//!                      +-> chrome
//! ```

mod axis;
pub mod chrome;
mod client;
pub mod limit;
pub mod page;
pub mod play;
mod player;
pub mod scene;
pub mod span;
pub mod story;
mod summary;
pub mod svg;
pub mod trace;
pub mod words;
mod worker;
