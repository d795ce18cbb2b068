//! Any text as an interval log, and any bytes as a histogram in one: refused, or read, merged and written without
//! losing a sample.
#![no_main]

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hdrhistogram::Histogram;
use libfuzzer_sys::fuzz_target;
use loadgen::recording::hlog::{self, Log};
use loadgen::recording::merge::merge;

/// The first bytes of a histogram that is not compressed, which a fuzzer can see through.
const V2: [u8; 4] = [0x1c, 0x84, 0x93, 0x13];

fn round_trip(text: &str) {
    let Ok(log) = hlog::read(text) else { return };
    let samples = |log: &Log| -> Vec<_> {
        let intervals = log.intervals.iter();
        intervals
            .map(|interval| interval.histogram.clone())
            .collect()
    };
    let before = samples(&log);
    // Intervals of different bounds cannot be merged, nor all tags be written.
    let Ok(log) = merge(vec![log]) else { return };
    let merged = samples(&log);
    let count = |all: &[Histogram<u64>]| all.iter().map(|one| u128::from(one.len())).sum::<u128>();
    let saturated = merged.iter().any(|one| one.len() == u64::MAX);
    assert!(
        saturated || count(&merged) == count(&before),
        "samples were lost"
    );
    let Ok(written) = hlog::write(log.base, log.intervals) else {
        return;
    };
    let again = hlog::read(std::str::from_utf8(&written).unwrap()).unwrap();
    assert_eq!(samples(&again), merged);
}

fuzz_target!(|input: &[u8]| {
    if let Ok(text) = std::str::from_utf8(input) {
        round_trip(text);
    }
    let encoded = BASE64_STANDARD.encode([&V2, input].concat());
    round_trip(&format!("0.0,1.0,1.0,{encoded}"));
});
