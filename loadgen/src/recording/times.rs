//! The times of the requests: a histogram for each of them, over the whole trial and by the second.

use std::time::Duration;

use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer, V2Serializer};

use super::histogram::histogram;

/// The histograms of a time span, nanoseconds.
#[derive(Debug, Clone)]
pub struct Times {
    /// Answer minus intended time.
    pub response: Histogram<u64>,
    /// Answer minus actual send.
    pub service: Histogram<u64>,
    /// How late the generator itself was.
    pub lateness: Histogram<u64>,
    /// Time queued for a free connection.
    pub wait: Histogram<u64>,
    /// How long answers lay in the kernel before the generator read them; of some or of all.
    pub read_delay: Histogram<u64>,
}

impl Default for Times {
    fn default() -> Self {
        Self {
            response: histogram(),
            service: histogram(),
            lateness: histogram(),
            wait: histogram(),
            read_delay: histogram(),
        }
    }
}

impl Times {
    /// The histograms by the tags that they have in a log.
    pub fn tagged(&self) -> [(&'static str, &Histogram<u64>); 5] {
        [
            ("response", &self.response),
            ("service", &self.service),
            ("lateness", &self.lateness),
            ("wait", &self.wait),
            ("read_delay", &self.read_delay),
        ]
    }

    /// Adds all samples of `other`.
    pub fn add(&mut self, other: &Self) {
        for (mine, theirs) in [
            (&mut self.response, &other.response),
            (&mut self.service, &other.service),
            (&mut self.lateness, &other.lateness),
            (&mut self.wait, &other.wait),
            (&mut self.read_delay, &other.read_delay),
        ] {
            mine.add(theirs).expect("all have the same bounds");
        }
    }

    /// Forgets all samples.
    pub fn clear(&mut self) {
        for histogram in [
            &mut self.response,
            &mut self.service,
            &mut self.lateness,
            &mut self.wait,
            &mut self.read_delay,
        ] {
            histogram.reset();
        }
    }
}

/// One second of a trial. Kept packed: empty, a histogram is a quarter of a megabyte.
#[derive(Debug, Clone)]
pub struct Interval {
    /// From the start of the measured time.
    pub start: Duration,
    /// A second, or less at the end.
    pub length: Duration,
    packed: [Vec<u8>; 5],
}

impl Interval {
    /// Packs the histograms of one second.
    pub fn new(start: Duration, length: Duration, times: &Times) -> Self {
        let mut serializer = V2Serializer::new();
        let packed = times.tagged().map(|(_, histogram)| {
            let mut bytes = Vec::new();
            serializer
                .serialize(histogram, &mut bytes)
                .expect("a histogram of these bounds fits, and a Vec takes all");
            bytes
        });
        Self {
            start,
            length,
            packed,
        }
    }

    /// The histograms by tag.
    pub fn unpack(&self) -> [(&'static str, Histogram<u64>); 5] {
        let mut deserializer = Deserializer::new();
        let tags = ["response", "service", "lateness", "wait", "read_delay"];
        let mut packed = self.packed.iter();
        tags.map(|tag| {
            let bytes = packed.next().expect("there are five");
            let histogram = deserializer
                .deserialize(&mut bytes.as_slice())
                .expect("it was packed here");
            (tag, histogram)
        })
    }
}
