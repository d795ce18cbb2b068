//! What server and machine did meanwhile.

pub mod costs;
pub mod keep_awake;
pub mod machine;
pub mod watch;
