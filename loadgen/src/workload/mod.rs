//! What is asked of a server.

pub mod goal;
pub mod load;
pub mod scenario;
pub mod schedule;

pub use load::Mode;
