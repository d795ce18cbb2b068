//! The `HdrHistogram` interval log, version 1.3, as its Java, C and Python readers take it: one line for
//! each second and tag.

use std::io::Write;
use std::time::UNIX_EPOCH;

use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, Tag};

use crate::recording::Recording;

/// The readers' convention: values are nanoseconds, and the log's column of maxima is milliseconds.
const NANOS_PER_MILLI: f64 = 1e6;

/// The log of a recording, whole.
pub fn render(recording: &Recording) -> anyhow::Result<Vec<u8>> {
    let intervals = recording.intervals.iter().flat_map(|interval| {
        interval
            .unpack()
            .map(|(tag, histogram)| (tag, interval.start, interval.length, histogram))
    });
    let mut log = Vec::new();
    let started = recording.started.duration_since(UNIX_EPOCH)?.as_secs_f64();
    // The crate's builder writes neither the version nor the legend, and its comments come first.
    writeln!(log, "#[Histogram log format version 1.3]")?;
    writeln!(
        log,
        "#[StartTime: {started:.3} (seconds since epoch), {}]",
        humantime::format_rfc3339_millis(recording.started)
    )?;
    writeln!(log, "#[BaseTime: {started:.3} (seconds since epoch)]")?;
    writeln!(
        log,
        r#""StartTimestamp","Interval_Length","Interval_Max","Interval_Compressed_Histogram""#
    )?;
    let mut serializer = V2DeflateSerializer::new();
    let mut writer = IntervalLogWriterBuilder::new()
        .with_max_value_divisor(NANOS_PER_MILLI)
        .begin_log_with(&mut log, &mut serializer)?;
    for (tag, start, length, histogram) in intervals {
        writer
            .write_histogram(&histogram, start, length, Tag::new(tag))
            .map_err(|error| anyhow::anyhow!("{error}"))?;
    }
    Ok(log)
}
