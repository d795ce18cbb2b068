//! What is asked of a server, as flags. Each flag is a key of a scenario too: the keys are read by the same definitions
//! (see `keys`).

pub mod ask;
mod client;
pub mod keys;
pub mod load;
mod pace;
mod raw;
mod request;
mod tls;
pub mod values;

use std::io;
use std::path::Path;

/// Flags that do not fit together, or cannot be followed here.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Usage(pub String);

/// Reads the files that flags name.
pub type Files<'a> = dyn Fn(&Path) -> io::Result<Vec<u8>> + 'a;
