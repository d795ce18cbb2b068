//! The cases, a module for each group.

use crate::case::Case;

mod bytes;
mod command_line;
mod http;
mod inherited;
mod isolation;
pub mod leaks;
pub mod life;
mod limits;
mod once;
mod readers;
mod signals;
mod stats;
mod stop;
mod trace;

/// All cases, group by group.
pub const ALL: &[&[Case]] = &[
    bytes::CASES,
    life::CASES,
    isolation::CASES,
    once::CASES,
    http::plain::CASES,
    http::pipelining::CASES,
    http::bodies::CASES,
    http::refusals::CASES,
    http::limits::CASES,
    http::clients::CASES,
    limits::CASES,
    leaks::CASES,
    stop::CASES,
    stats::CASES,
    signals::CASES,
    inherited::CASES,
    readers::CASES,
    command_line::CASES,
    trace::CASES,
];
