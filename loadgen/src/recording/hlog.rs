//! The `HdrHistogram` interval log, version 1.3, which its Java, C and Python readers can read: one line for each
//! second and tag.

use std::io::{BufRead, Lines, Read, Write};
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
/// How the line begins that says the version of the format, and the versions that there are. They differ in what the
/// lines may hold.
const VERSION: &str = "#[Histogram log format version ";
const KNOWN_VERSIONS: [&str; 4] = ["1.0", "1.1", "1.2", "1.3"];
/// The first bytes of a histogram, and of one that is compressed.
const V2: [u8; 4] = [0x1c, 0x84, 0x93, 0x13];
const V2_COMPRESSED: [u8; 4] = [0x1c, 0x84, 0x93, 0x14];
/// The length of a histogram's header, bytes.
const V2_HEADER: usize = 40;
/// The longest histogram that is read, bytes. One that covers all of `u64` with five digits is shorter.
const MOST_BYTES: u64 = 64 << 20;

/// The tag of a trial's connect times, and that of its TLS handshakes.
pub const CONNECT: &str = "connect";
/// The tag of the TLS handshakes.
pub const TLS: &str = "tls";

/// The tag of the response times of a stage, counted from 0.
pub fn stage_tag(number: usize) -> String {
    format!("stage-{}", number + 1)
}

/// The log of a recording, whole. A shard's log also has, in a line each, what is not known by the second: the connect
/// times, the TLS handshakes, and the response times by stage.
pub fn render(recording: &Recording, is_shard: bool) -> anyhow::Result<Vec<u8>> {
    let base = recording.started.duration_since(UNIX_EPOCH);
    let base = base.context("the clock showed a time before 1970")?;
    let seconds = recording.intervals.iter().flat_map(|interval| {
        interval.unpack().map(|(tag, histogram)| Interval {
            tag: tag.to_owned(),
            start: interval.start,
            length: interval.length,
            histogram,
        })
    });
    let stages = recording.stages.records().iter().enumerate();
    let stages = stages.map(|(number, record)| (stage_tag(number), &record.response));
    let whole = [
        (CONNECT.to_owned(), &recording.connect),
        (TLS.to_owned(), &recording.tls),
    ];
    let measured = recording
        .measured
        .end
        .saturating_sub(recording.measured.begin);
    let whole = whole.into_iter().chain(stages).filter(|_| is_shard);
    let whole = whole.map(|(tag, histogram)| Interval {
        tag,
        start: Duration::ZERO,
        // No longer than those by the second, with which they are merged.
        length: measured.min(Duration::from_secs(1)),
        histogram: histogram.clone(),
    });
    write(base, whole.chain(seconds))
}

/// The log of these intervals of nanoseconds, whose times count from `base` (since 1970).
pub fn write(
    base: Duration,
    intervals: impl IntoIterator<Item = Interval>,
) -> anyhow::Result<Vec<u8>> {
    let mut log = Vec::new();
    let mut serializer = V2DeflateSerializer::new();
    let mut lines = begin(&mut log, &mut serializer, base)?;
    for interval in intervals {
        lines(&interval)?;
    }
    drop(lines);
    Ok(log)
}

/// Begins a log whose times count from `base` (since 1970); the function that it returns writes an interval.
pub fn begin<'a>(
    log: &'a mut impl Write,
    serializer: &'a mut V2DeflateSerializer,
    base: Duration,
) -> anyhow::Result<impl FnMut(&Interval) -> anyhow::Result<()> + 'a> {
    ensure!(base <= LATEST, "the start is after the year 9999");
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
    let mut writer = IntervalLogWriterBuilder::new()
        .with_max_value_divisor(NANOS_PER_MILLI)
        .begin_log_with(log, serializer)?;
    Ok(move |interval: &Interval| {
        let tag = Some(interval.tag.as_str()).filter(|tag| !tag.is_empty());
        writer
            .write_histogram(
                &interval.histogram,
                interval.start,
                interval.length,
                tag.and_then(Tag::new),
            )
            .map_err(|error| anyhow!("{error}"))
    })
}

/// A log that was read.
#[derive(Debug)]
pub struct Log {
    /// The time from which the intervals count, since 1970.
    pub base: Duration,
    /// In the order of the file.
    pub intervals: Vec<Interval>,
}

impl Log {
    /// Whether it says when it was recorded. Times of the first year count from some start.
    pub fn has_a_date(&self) -> bool {
        let mut starts = self.intervals.iter().map(|interval| interval.start);
        starts.any(|start| self.base.saturating_add(start) > YEAR)
    }
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

/// A line of a log whose histogram is still packed: unpacked, it is a quarter of a megabyte.
#[derive(Debug)]
pub struct Packed {
    /// As in [`Interval`].
    pub tag: String,
    /// As in [`Interval`].
    pub start: Duration,
    /// As in [`Interval`].
    pub length: Duration,
    line: usize,
    encoded: String,
}

impl Packed {
    /// The interval with its histogram.
    ///
    /// # Errors
    /// When there is no histogram in the line.
    pub fn unpack(self, deserializer: &mut Deserializer) -> anyhow::Result<Interval> {
        let line = self.line;
        let bytes = BASE64_STANDARD.decode(self.encoded);
        let bytes = bytes.with_context(|| format!("line {line}"))?;
        let bytes = plain(bytes).with_context(|| format!("line {line}"))?;
        let histogram = deserializer
            .deserialize(&mut bytes.as_slice())
            .map_err(|error| anyhow!("line {line}: {error}"))?;
        Ok(Interval {
            tag: self.tag,
            start: self.start,
            length: self.length,
            histogram,
        })
    }
}

/// Reads a log line by line.
#[derive(Debug)]
pub struct Reader<R> {
    lines: Lines<R>,
    line: usize,
    /// The base time, if it was read; since 1970.
    pub base: Option<Duration>,
    started: Option<Duration>,
}

impl<R: BufRead> Reader<R> {
    /// Reads from its beginning.
    pub fn new(log: R) -> Self {
        Self {
            lines: log.lines(),
            line: 0,
            base: None,
            started: None,
        }
    }

    /// What is in one line.
    fn entry(&mut self, line: String) -> anyhow::Result<Option<Packed>> {
        let number = self.line;
        // The crate's reader knows no legend.
        if line.is_empty() || line.starts_with('"') {
            return Ok(None);
        }
        if let Some(version) = line.strip_prefix(VERSION) {
            let version = version.trim_end_matches(']');
            ensure!(
                KNOWN_VERSIONS.contains(&version),
                "line {number}: the version of the format is {}; known are {}",
                version.escape_debug(),
                KNOWN_VERSIONS.join(", ")
            );
        }
        let says_a_time = line.starts_with("#[BaseTime") || line.starts_with("#[StartTime");
        let line = line + "\n";
        let mut packed = None;
        for entry in IntervalLogIterator::new(line.as_bytes()) {
            let entry =
                entry.map_err(|_| anyhow!("line {number} is no line of an interval log"))?;
            match entry {
                LogEntry::BaseTime(time) if time > LATEST => {
                    bail!("line {number}: the base time is after the year 9999")
                }
                LogEntry::BaseTime(time) => {
                    self.base = Some(time);
                    return Ok(None);
                }
                LogEntry::StartTime(time) if time > LATEST => {
                    bail!("line {number}: the start time is after the year 9999")
                }
                LogEntry::StartTime(time) => {
                    self.started = Some(time);
                    return Ok(None);
                }
                LogEntry::Interval(interval) => {
                    ensure!(
                        interval.start_timestamp() <= LATEST && interval.duration() <= LATEST,
                        "line {number}: the interval is too late or too long"
                    );
                    let tag = interval.tag().map_or("", |tag| tag.as_str());
                    ensure!(
                        tag.is_empty() || Tag::new(tag).is_some(),
                        "line {number}: the tag `{tag}` has a space in it, which the format does not allow"
                    );
                    packed = Some(Packed {
                        tag: tag.to_owned(),
                        start: interval.start_timestamp(),
                        length: interval.duration(),
                        line: number,
                        encoded: interval.encoded_histogram().to_owned(),
                    });
                }
            }
        }
        // To the crate's reader it is a comment.
        ensure!(
            !says_a_time,
            "line {number}: the time is not a number of seconds since 1970, such as 1700000000.5"
        );
        Ok(packed)
    }
}

impl<R: BufRead> Iterator for Reader<R> {
    type Item = anyhow::Result<Packed>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let line = self.lines.next()?;
            self.line += 1;
            let entry = line.map_err(Into::into).and_then(|line| self.entry(line));
            if let Some(entry) = entry.transpose() {
                return Some(entry);
            }
        }
    }
}

/// Reads a log that this program or another one wrote. A log of nothing has no interval.
///
/// # Errors
/// What is wrong with which line.
pub fn read(text: &str) -> anyhow::Result<Log> {
    let mut reader = Reader::new(text.as_bytes());
    let mut intervals = Vec::new();
    let mut deserializer = Deserializer::new();
    for packed in reader.by_ref() {
        intervals.push(packed?.unpack(&mut deserializer)?);
    }
    let Reader { base, started, .. } = reader;
    let earliest = intervals.iter().map(|interval| interval.start).min();
    let earliest = earliest.or(started).unwrap_or_default();
    // Without a base time the intervals count from the start, unless they have calendar times themselves. The readers in
    // Java and Python decide in the same way.
    let base = match (base, started) {
        (Some(base), _) => base,
        (None, Some(started)) if earliest + YEAR < started => started,
        (None, started) => {
            let base = started.map_or(earliest, |started| started.min(earliest));
            for interval in &mut intervals {
                interval.start -= base;
            }
            base
        }
    };
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
    ensure!(bytes.starts_with(&V2), "not a histogram of version 2");
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

    /// A histogram with these counts that says it has this many bytes of them.
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
        assert!(refused(b"rubbish").contains("not a histogram"));
    }

    #[test]
    fn counts_that_no_histogram_has_are_refused() {
        assert!(refused(&histogram(9, &[0xff; 9])).contains("empty places"));
        assert!(refused(&histogram(12, &[0xff; 12])).contains("empty places"));
    }

    /// The base of a log with these headers and the starts of its intervals, seconds.
    fn placed(headers: &[(&str, u64)], starts: &[u64]) -> (u64, Vec<u64>) {
        let one = BASE64_STANDARD.encode(histogram(1, &[2]));
        let headers = headers
            .iter()
            .map(|(header, time)| format!("#[{header}: {time}.0 (seconds since epoch)]\n"));
        let intervals = starts
            .iter()
            .map(|start| format!("{start}.0,1.0,1.0,{one}\n"));
        let log = read(&headers.chain(intervals).collect::<String>()).unwrap();
        let starts = log.intervals.iter();
        let starts = starts.map(|interval| interval.start.as_secs()).collect();
        (log.base.as_secs(), starts)
    }

    #[test]
    fn times_count_from_the_base_or_from_the_start_or_from_1970() {
        const START: u64 = 1_700_000_000;
        let start = ("StartTime", START);
        let base = ("BaseTime", START - 50);
        assert_eq!(placed(&[start, base], &[0, 2]), (START - 50, vec![0, 2]));
        assert_eq!(placed(&[base, start], &[0, 2]), (START - 50, vec![0, 2]));
        assert_eq!(placed(&[start], &[0, 2]), (START, vec![0, 2]));
        // Some programs write no base, and times since 1970.
        let absolute = [START + 4, START + 3];
        assert_eq!(placed(&[start], &absolute), (START, vec![4, 3]));
        assert_eq!(placed(&[], &absolute), (START + 3, vec![1, 0]));
        assert_eq!(placed(&[], &[0, 2]), (0, vec![0, 2]));
        assert_eq!(placed(&[start], &[]), (START, vec![]));
    }

    #[test]
    fn a_time_that_is_none_is_refused_with_its_line() {
        for time in ["-100000000000.0", "-1.0", "NaN", "inf", "-0.5", "1e9", ""] {
            for header in ["BaseTime", "StartTime"] {
                let log = format!("#a comment\n#[{header}: {time} (seconds since epoch)]\n");
                let error = read(&log).unwrap_err().to_string();
                assert!(
                    error.starts_with("line 2: the time is not a"),
                    "{log}: {error}"
                );
            }
        }
    }

    #[test]
    fn a_log_of_another_version_is_refused() {
        let of = |version| read(&format!("#[Histogram log format version {version}]\n"));
        for version in KNOWN_VERSIONS {
            assert!(of(version).is_ok(), "{version}");
        }
        for version in ["9.0", "2.0", "1.30", "", "x"] {
            let error = of(version).unwrap_err().to_string();
            let says = format!(
                "line 1: the version of the format is {version}; known are 1.0, 1.1, 1.2, 1.3"
            );
            assert_eq!(error, says);
        }
    }

    #[test]
    fn a_tag_that_cannot_be_written_is_refused() {
        let one = BASE64_STANDARD.encode(histogram(1, &[2]));
        let error = read(&format!("Tag=a b,0.0,1.0,1.0,{one}\n")).unwrap_err();
        let says = "line 1: the tag `a b` has a space in it, which the format does not allow";
        assert_eq!(error.to_string(), says);
        let log = read(&format!("Tag=a-b,0.0,1.0,1.0,{one}\n")).unwrap();
        assert_eq!(log.intervals[0].tag, "a-b");
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
