//! What a trial recorded: histograms, counters, and what the generator itself spent.

/// What a trial recorded.
#[derive(Debug, Default)]
pub struct Recording {}
