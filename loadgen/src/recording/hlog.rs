//! The `HdrHistogram` interval log, version 1.3, which its Java, C and Python readers can read: one line for each
//! second and tag.

use std::io::{Read, Write};
use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Context, anyhow, bail, ensure};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use flate2::read::ZlibDecoder;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::interval_log::{
    IntervalLogIterator, IntervalLogWriterBuilder, LogEntry, Tag,
};
use hdrhistogram::serialization::{Deserializer, V2DeflateSerializer};

use crate::recording::record::Recording;

/// By the readers' convention values are nanoseconds, but the column of maxima is in milliseconds.
const NANOS_PER_MILLI: f64 = 1e6;

/// The end of the year 9999, counted from 1970: a later time cannot be written as a date.
pub const LATEST: Duration = Duration::from_secs(253_402_300_799);
/// Intervals that are so much earlier than the start of their log count from it.
const YEAR: Duration = Duration::from_hours(365 * 24);
/// The first bytes of a histogram, and of one that is compressed.
const V2: [u8; 4] = [0x1c, 0x84, 0x93, 0x13];
const V2_COMPRESSED: [u8; 4] = [0x1c, 0x84, 0x93, 0x14];
/// The length of a histogram's header, bytes.
const V2_HEADER: usize = 40;
/// The longest histogram that is read, bytes. One that covers all of `u64` with five digits is shorter.
const MOST_BYTES: u64 = 64 << 20;

/// The log of a recording, whole.
pub fn render(recording: &Recording) -> anyhow::Result<Vec<u8>> {
    let base = recording.started.duration_since(UNIX_EPOCH);
    let base = base.context("the clock showed a time before 1970")?;
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
    ensure!(base <= LATEST, "the start is after the year 9999");
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
    /// The time from which the intervals count, since 1970.
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

/// Reads a log that this program or another one wrote. A log of nothing has no interval.
///
/// # Errors
/// What is wrong with which line.
pub fn read(text: &str) -> anyhow::Result<Log> {
    let (mut base, mut started) = (None, None);
    let mut intervals = Vec::new();
    let mut deserializer = Deserializer::new();
    for (number, line) in (1..).zip(text.lines()) {
        // The crate's reader knows no legend.
        if line.is_empty() || line.starts_with('"') {
            continue;
        }
        let line = format!("{line}\n");
        for entry in IntervalLogIterator::new(line.as_bytes()) {
            let entry =
                entry.map_err(|_| anyhow!("line {number} is no line of an interval log"))?;
            match entry {
                LogEntry::BaseTime(time) if time > LATEST => {
                    bail!("line {number}: the base time is after the year 9999")
                }
                LogEntry::BaseTime(time) => base = Some(time),
                LogEntry::StartTime(time) if time > LATEST => {
                    bail!("line {number}: the start time is after the year 9999")
                }
                LogEntry::StartTime(time) => started = Some(time),
                LogEntry::Interval(interval) => {
                    ensure!(
                        interval.start_timestamp() <= LATEST && interval.duration() <= LATEST,
                        "line {number}: the interval is too late or too long"
                    );
                    let bytes = BASE64_STANDARD
                        .decode(interval.encoded_histogram())
                        .with_context(|| format!("line {number}"))?;
                    let bytes = plain(bytes).with_context(|| format!("line {number}"))?;
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
    // Without a base time the intervals count from the start, unless they have calendar times themselves. The readers in Java and Python decide in the same way.
    let base = base.unwrap_or_else(|| {
        let started = started.unwrap_or_default();
        let first = intervals
            .first()
            .map_or(Duration::ZERO, |first| first.start);
        if first + YEAR < started {
            started
        } else {
            Duration::ZERO
        }
    });
    Ok(Log { base, intervals })
}

/// Decompresses a histogram and checks its header. The crate's reader trusts the header and allocates as many counts
/// as it says, up to 4 GiB, before it looks for them.
fn plain(encoded: Vec<u8>) -> anyhow::Result<Vec<u8>> {
    let bytes = if encoded.starts_with(&V2_COMPRESSED) {
        let compressed = encoded.get(8..).unwrap_or_default();
        let mut bytes = Vec::new();
        ZlibDecoder::new(compressed)
            .take(MOST_BYTES)
            .read_to_end(&mut bytes)?;
        bytes
    } else {
        encoded
    };
    ensure!(bytes.starts_with(&V2), "no histogram of version 2");
    let counts = bytes.get(V2_HEADER..).context("a histogram cut short")?;
    let said = u32::from_be_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]);
    ensure!(
        said as usize <= counts.len(),
        "a histogram that has fewer bytes than it says"
    );
    // The longest possible number. As a count of empty buckets it overflows that reader.
    ensure!(
        !counts.windows(9).any(|number| number == [0xff; 9]),
        "a histogram with more empty places than there are"
    );
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The error of a log that has nothing but this histogram.
    fn refused(histogram: &[u8]) -> String {
        let histogram = BASE64_STANDARD.encode(histogram);
        let error = read(&format!("0.0,1.0,1.0,{histogram}\n")).unwrap_err();
        format!("{error:#}")
    }

    /// A histogram with these counts that says it has so many bytes of them.
    fn histogram(said: u32, counts: &[u8]) -> Vec<u8> {
        let mut bytes = V2.to_vec();
        bytes.extend(said.to_be_bytes());
        bytes.extend(0_u32.to_be_bytes());
        bytes.extend(3_u32.to_be_bytes());
        bytes.extend(1_u64.to_be_bytes());
        bytes.extend(1000_u64.to_be_bytes());
        bytes.extend(1_f64.to_be_bytes());
        assert_eq!(bytes.len(), V2_HEADER);
        bytes.extend(counts);
        bytes
    }

    #[test]
    fn a_length_that_is_not_there_is_refused_before_room_is_made_for_it() {
        let huge = histogram(u32::MAX, &[2]);
        assert!(refused(&huge).contains("fewer bytes than it says"));
        let mut compressed = V2_COMPRESSED.to_vec();
        let mut encoder = flate2::read::ZlibEncoder::new(&huge[..], flate2::Compression::fast());
        let mut body = Vec::new();
        encoder.read_to_end(&mut body).unwrap();
        compressed.extend((body.len() as u32).to_be_bytes());
        compressed.extend(body);
        assert!(refused(&compressed).contains("fewer bytes than it says"));
        assert!(refused(&V2).contains("cut short"));
        assert!(refused(b"rubbish").contains("no histogram"));
    }

    #[test]
    fn counts_that_no_histogram_has_are_refused() {
        assert!(refused(&histogram(9, &[0xff; 9])).contains("empty places"));
        assert!(refused(&histogram(12, &[0xff; 12])).contains("empty places"));
    }

    #[test]
    fn a_log_without_a_base_time_counts_from_its_start() {
        let one = BASE64_STANDARD.encode(histogram(1, &[2]));
        let base = |header: &str, start: &str| {
            let log = read(&format!("{header}{start},1.0,1.0,{one}\n")).unwrap();
            (log.base + log.intervals[0].start).as_secs()
        };
        let started = "#[StartTime: 1700000000.5 (seconds since epoch), somewhen]\n";
        let based = "#[BaseTime: 1600000000.0 (seconds since epoch)]\n";
        assert_eq!(base(started, "7.5"), 1_700_000_008);
        assert_eq!(base(started, "1700000009.5"), 1_700_000_009);
        assert_eq!(base(&format!("{started}{based}"), "7.5"), 1_600_000_007);
        assert_eq!(base("", "7.5"), 7);
    }

    #[test]
    fn times_beyond_all_dates_are_refused() {
        let one = BASE64_STANDARD.encode(histogram(1, &[2]));
        let log = |base: u64| {
            read(&format!(
                "#[BaseTime: {base}.0 (seconds since epoch)]\n0.0,1.0,1.0,{one}\n"
            ))
        };
        let error = log(u64::MAX).unwrap_err().to_string();
        assert_eq!(error, "line 1: the base time is after the year 9999");
        for times in ["18446744073709551615.0,1.0", "0.0,18446744073709551615.0"] {
            let error = read(&format!("{times},1.0,{one}\n"))
                .unwrap_err()
                .to_string();
            assert_eq!(error, "line 1: the interval is too late or too long");
        }
        let latest = log(LATEST.as_secs()).unwrap();
        assert!(write(latest.base, latest.intervals).is_ok());
        assert!(write(LATEST + Duration::from_nanos(1), []).is_err());
    }
}
