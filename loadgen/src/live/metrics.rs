//! The figures of the last second in the text format of Prometheus, by HTTP.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::console;
use crate::engine::observer::Second;

/// A scraper that is slower than this is not waited for.
const PATIENCE: Duration = Duration::from_secs(1);
/// The longest head of a request that is read, bytes.
const MOST_HEAD: usize = 8 * 1024;

type Labels = [(&'static str, &'static str); 1];
type Number = Gauge<f64, AtomicU64>;

/// The figures, and a thread that shows them.
#[derive(Debug)]
pub struct Metrics {
    answers: Counter,
    errors: Counter,
    rate: Number,
    trial: Gauge,
    response: Family<Labels, Number>,
    /// Locked while the figures change, so that a scraper sees those of one second.
    registry: Arc<Mutex<Registry>>,
}

impl Metrics {
    /// Listens at `address` until the process ends.
    pub fn at(address: SocketAddr) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(address)
            .with_context(|| format!("--metrics: cannot listen at {address}"))?;
        let address = listener.local_addr()?;
        let mut metrics = Self {
            answers: Counter::default(),
            errors: Counter::default(),
            rate: Number::default(),
            trial: Gauge::default(),
            response: Family::default(),
            registry: Arc::default(),
        };
        metrics.registry = Arc::new(Mutex::new(metrics.registry()));
        let registry = Arc::clone(&metrics.registry);
        std::thread::Builder::new()
            .name("metrics".to_owned())
            .spawn(move || {
                for client in listener.incoming().flatten() {
                    // A scraper that gives up will come again.
                    let _ = serve(&client, &registry);
                }
            })
            .context("cannot start the thread for --metrics")?;
        console::say(&format!("metrics at http://{address}/metrics"));
        Ok(metrics)
    }

    fn registry(&self) -> Registry {
        let mut registry = Registry::with_prefix("loadgen");
        registry.register(
            "answers",
            "Right answers in the measured time, over all trials",
            self.answers.clone(),
        );
        registry.register(
            "errors",
            "Errors in the measured time, over all trials",
            self.errors.clone(),
        );
        registry.register(
            "rate",
            "Right answers in the last second",
            self.rate.clone(),
        );
        registry.register("trial", "The trial that runs, from 1", self.trial.clone());
        registry.register(
            "response_seconds",
            "Response times in the last second; quantile 1 is their maximum",
            self.response.clone(),
        );
        registry
    }

    pub fn tell(&self, trial: usize, second: &Second) {
        let _shown = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        self.answers.inc_by(second.answered);
        self.errors.inc_by(second.errors);
        self.rate.set(second.answered as f64);
        self.trial.set(trial as i64);
        let times = &second.response_us;
        for (quantile, us) in [
            ("0.5", times.p50),
            ("0.9", times.p90),
            ("0.99", times.p99),
            ("0.999", times.p99_9),
            ("1", times.max),
        ] {
            let gauge = self.response.get_or_create(&[("quantile", quantile)]);
            // Prometheus' way to say that there is no value.
            gauge.set(us.map_or(f64::NAN, |us| us / 1e6));
        }
    }
}

/// Answers one request and closes.
fn serve(mut client: &TcpStream, registry: &Mutex<Registry>) -> io::Result<()> {
    client.set_read_timeout(Some(PATIENCE))?;
    client.set_write_timeout(Some(PATIENCE))?;
    let mut head = Vec::new();
    let mut part = [0; 1024];
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        let count = client.read(&mut part)?;
        if count == 0 || head.len() > MOST_HEAD {
            return Ok(());
        }
        head.extend_from_slice(&part[..count]);
    }
    let (status, body) = if head.starts_with(b"GET /metrics ") || head.starts_with(b"GET / ") {
        let mut body = String::new();
        let registry = registry.lock().unwrap_or_else(PoisonError::into_inner);
        encode(&mut body, &registry).map_err(io::Error::other)?;
        ("200 OK", body)
    } else {
        ("404 Not Found", "the figures are at /metrics\n".to_owned())
    };
    let answer = format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    client.write_all(answer.as_bytes())
}
