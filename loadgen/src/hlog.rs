//! The `HdrHistogram` interval log, version 1.3, as its Java, C and Python readers take it: one line for
//! each second and tag.

use std::io::Write;
use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Context, anyhow};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::interval_log::{
    IntervalLogIterator, IntervalLogWriterBuilder, LogEntry, Tag,
};
use hdrhistogram::serialization::{Deserializer, V2DeflateSerializer};

use crate::recording::Recording;

/// The readers' convention: values are nanoseconds, and the log's column of maxima is milliseconds.
const NANOS_PER_MILLI: f64 = 1e6;

/// The log of a recording, whole.
pub fn render(recording: &Recording) -> anyhow::Result<Vec<u8>> {
    let base = recording.started.duration_since(UNIX_EPOCH)?;
    write(
        base,
        recording.intervals.iter().flat_map(|interval| {
            interval.unpack().map(|(tag, histogram)| Interval {
                tag: tag.to_owned(),
                start: interval.start,
                length: interval.length,
                histogram,
            })
        }),
    )
}

/// The log of these intervals of nanoseconds, whose times count from `base` (since 1970).
pub fn write(
    base: Duration,
    intervals: impl IntoIterator<Item = Interval>,
) -> anyhow::Result<Vec<u8>> {
    let mut log = Vec::new();
    let seconds = base.as_secs_f64();
    // The crate's builder writes neither the version nor the legend, and its comments come first.
    writeln!(log, "#[Histogram log format version 1.3]")?;
    writeln!(
        log,
        "#[StartTime: {seconds:.3} (seconds since epoch), {}]",
        humantime::format_rfc3339_millis(UNIX_EPOCH + base)
    )?;
    writeln!(log, "#[BaseTime: {seconds:.3} (seconds since epoch)]")?;
    writeln!(
        log,
        r#""StartTimestamp","Interval_Length","Interval_Max","Interval_Compressed_Histogram""#
    )?;
    let mut serializer = V2DeflateSerializer::new();
    let mut writer = IntervalLogWriterBuilder::new()
        .with_max_value_divisor(NANOS_PER_MILLI)
        .begin_log_with(&mut log, &mut serializer)?;
    for interval in intervals {
        let tag = Some(interval.tag.as_str()).filter(|tag| !tag.is_empty());
        writer
            .write_histogram(
                &interval.histogram,
                interval.start,
                interval.length,
                tag.and_then(Tag::new),
            )
            .map_err(|error| anyhow!("{error}"))?;
    }
    Ok(log)
}

/// A log that was read.
#[derive(Debug)]
pub struct Log {
    /// What the intervals' times count from, since 1970.
    pub base: Duration,
    /// In the order of the file.
    pub intervals: Vec<Interval>,
}

/// One line of a log.
#[derive(Debug)]
pub struct Interval {
    /// What was measured; empty: the log has no tags.
    pub tag: String,
    /// From the log's base.
    pub start: Duration,
    /// How long it was recorded.
    pub length: Duration,
    /// The samples.
    pub histogram: Histogram<u64>,
}

/// Reads a log as this program or another writes it. Where nothing was measured it has no interval.
///
/// # Errors
/// What is wrong with which line.
pub fn read(text: &str) -> anyhow::Result<Log> {
    let mut base = Duration::ZERO;
    let mut intervals = Vec::new();
    let mut deserializer = Deserializer::new();
    for (number, line) in (1..).zip(text.lines()) {
        // The crate's reader knows no legend.
        if line.is_empty() || line.starts_with('"') {
            continue;
        }
        let line = format!("{line}\n");
        for entry in IntervalLogIterator::new(line.as_bytes()) {
            let entry = entry.map_err(|error| anyhow!("line {number}: {error:?}"))?;
            match entry {
                LogEntry::BaseTime(time) => base = time,
                LogEntry::StartTime(_) => {}
                LogEntry::Interval(interval) => {
                    let bytes = BASE64_STANDARD
                        .decode(interval.encoded_histogram())
                        .with_context(|| format!("line {number}"))?;
                    let histogram = deserializer
                        .deserialize(&mut bytes.as_slice())
                        .map_err(|error| anyhow!("line {number}: {error}"))?;
                    intervals.push(Interval {
                        tag: interval.tag().map_or("", |tag| tag.as_str()).to_owned(),
                        start: interval.start_timestamp(),
                        length: interval.duration(),
                        histogram,
                    });
                }
            }
        }
    }
    Ok(Log { base, intervals })
}
