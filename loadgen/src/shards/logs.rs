//! The interval logs of many shards become one. They are read side by side, a second at a time, so that memory does not
//! grow with their length.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, BufWriter, Write};
use std::time::Duration;

use anyhow::{Context, ensure};
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, V2DeflateSerializer};

use super::gathered::Part;
use crate::recording::histogram::histogram;
use crate::recording::hlog::{self, Interval, Packed, Reader};

const SECOND: Duration = Duration::from_secs(1);

/// A shard's log, while it is read.
struct Log<'a> {
    part: &'a Part,
    reader: Reader<BufReader<File>>,
    /// How far its clock was ahead, seconds.
    ahead: f64,
    next: Option<Packed>,
    /// The samples up to now, by tag.
    samples: BTreeMap<String, u64>,
}

/// All samples by tag.
pub type Totals = BTreeMap<String, Histogram<u64>>;

/// Writes the log of all; the clock of each shard was this many seconds ahead.
///
/// # Errors
/// Which shard's log is damaged: its number in `parts`, and how. When it cannot be written.
pub fn merge(
    parts: &[Part],
    ahead: &[f64],
    out: &mut File,
) -> anyhow::Result<Result<Totals, (usize, String)>> {
    let mut logs = Vec::new();
    for (number, (part, ahead)) in parts.iter().zip(ahead).enumerate() {
        match Log::open(part, *ahead) {
            Ok(log) => logs.push(log),
            Err(error) => return Ok(Err((number, said(part, &error)))),
        }
    }
    let base = logs.iter().filter_map(Log::next_start).min();
    let base = base.unwrap_or_default();
    let mut totals = Totals::new();
    let mut deserializer = Deserializer::new();
    let mut serializer = V2DeflateSerializer::new();
    let mut out = BufWriter::new(out);
    let mut write = hlog::begin(&mut out, &mut serializer, base)?;
    while let Some(second) = logs.iter().filter_map(|log| log.second(base)).min() {
        let mut sums: BTreeMap<String, (Duration, Histogram<u64>)> = BTreeMap::new();
        for (number, log) in logs.iter_mut().enumerate() {
            if let Err(error) = log.add(second, base, &mut deserializer, &mut sums) {
                return Ok(Err((number, said(log.part, &error))));
            }
        }
        for (tag, (length, sum)) in sums {
            totals
                .entry(tag.clone())
                .or_insert_with(histogram)
                .add(&sum)?;
            write(&Interval {
                tag,
                start: SECOND * second,
                length,
                histogram: sum,
            })?;
        }
    }
    for (number, log) in logs.iter().enumerate() {
        if let Err(error) = log.ensure_whole() {
            return Ok(Err((number, said(log.part, &error))));
        }
    }
    drop(write);
    out.flush()?;
    Ok(Ok(totals))
}

fn said(part: &Part, error: &anyhow::Error) -> String {
    format!(
        "{}: its log {} is cut off or damaged: {error:#}",
        part.name(),
        part.log().display()
    )
}

impl<'a> Log<'a> {
    fn open(part: &'a Part, ahead: f64) -> anyhow::Result<Self> {
        let file = File::open(part.log()).context("it cannot be opened")?;
        let mut log = Self {
            part,
            // Only one line of each is in memory at a time.
            reader: Reader::new(BufReader::new(file)),
            ahead,
            next: None,
            samples: BTreeMap::new(),
        };
        log.forward()?;
        Ok(log)
    }

    /// Whether it had all samples that the trial has.
    fn ensure_whole(&self) -> anyhow::Result<()> {
        let trial = &self.part.trial;
        for (tag, times) in [
            ("response", &trial.response_us),
            ("service", &trial.service_us),
            ("lateness", &trial.lateness_us),
            ("wait", &trial.wait_us),
            ("read_delay", &trial.read_delay_us),
            (hlog::CONNECT, &trial.connect_us),
            (hlog::TLS, &trial.tls_us),
        ] {
            let found = self.samples.get(tag).copied().unwrap_or_default();
            ensure!(
                found == times.count,
                "it has {found} of {} times `{tag}`",
                times.count
            );
        }
        Ok(())
    }

    fn forward(&mut self) -> anyhow::Result<()> {
        self.next = self.reader.next().transpose()?;
        Ok(())
    }

    /// When its next interval begins, since 1970, by the common clock.
    fn next_start(&self) -> Option<Duration> {
        let interval = self.next.as_ref()?;
        let start = self.reader.base.unwrap_or_default() + interval.start;
        let start = start.as_secs_f64() - self.ahead;
        Duration::try_from_secs_f64(start).ok()
    }

    /// The second that its next interval belongs to, counted from `base`.
    fn second(&self, base: Duration) -> Option<u32> {
        let start = self.next_start()?.saturating_sub(base);
        Some(start.as_secs_f64().round() as u32)
    }

    /// Adds its intervals of this second.
    fn add(
        &mut self,
        second: u32,
        base: Duration,
        deserializer: &mut Deserializer,
        sums: &mut BTreeMap<String, (Duration, Histogram<u64>)>,
    ) -> anyhow::Result<()> {
        while self.second(base).is_some_and(|next| next <= second)
            && let Some(packed) = self.next.take()
        {
            let interval = packed.unpack(deserializer)?;
            *self.samples.entry(interval.tag.clone()).or_default() += interval.histogram.len();
            let (length, sum) = sums
                .entry(interval.tag)
                .or_insert_with(|| (Duration::ZERO, histogram()));
            *length = interval.length.max(*length);
            ensure!(
                interval.histogram.sigfig() == sum.sigfig()
                    && interval.histogram.low() == sum.low()
                    && interval.histogram.high() <= sum.high(),
                "its histograms have other bounds than those of loadgen"
            );
            sum.add(&interval.histogram)?;
            self.forward()?;
        }
        Ok(())
    }
}
