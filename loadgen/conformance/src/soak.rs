//! Mixed load for a long time: well-behaved clients, whose bytes are all compared, beside hostile clients of all
//! kinds. At the end nothing may be lost or leaked.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use crate::client::{Client, Slices, pattern};
use crate::outcome::{Outcome, ensure};
use crate::server::Server;
use crate::target::Target;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use supervisor::Mode::Echo;

/// The most that memory may grow over the whole time, bytes: allocators keep some.
const MOST_GROWN: u64 = 16 << 20;
/// Clients at once, both kinds together.
const CLIENTS: usize = 16;
/// The longest message of a well-behaved client, bytes.
const LONGEST: usize = 200_000;

/// What was done in a soak.
#[derive(Debug, Default)]
pub struct Soaked {
    /// Well-behaved clients that were served to the end.
    polite: AtomicU64,
    /// Their bytes, each of which was compared.
    bytes: AtomicU64,
    /// Clients that did something else.
    hostile: AtomicU64,
}

impl std::fmt::Display for Soaked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} well-behaved clients, {} MiB verified, {} hostile clients, nothing lost or leaked",
            self.polite.load(Relaxed),
            self.bytes.load(Relaxed) >> 20,
            self.hostile.load(Relaxed),
        )
    }
}

/// Keeps a server busy for `duration`.
///
/// # Errors
/// The first wrong answer, or what was lost or leaked at the end.
pub fn soak(target: &Target, duration: Duration) -> Outcome<Soaked> {
    // A server that serves fewer lets them wait. No hostile client stays for long.
    let start = target.start(Echo);
    let start = start
        .for_clients(CLIENTS)
        .or_else(|_| Ok(target.start(Echo)))?;
    let server = start.ready()?;
    let soaked = Soaked::default();
    load(
        &server,
        Instant::now() + Duration::from_millis(200),
        &soaked,
    )?;
    let before = server.holdings_at_rest()?;
    let memory = server.memory()?;
    load(&server, Instant::now() + duration, &soaked)?;
    server.still_serves()?;
    server.holds_no_more(before)?;
    let grown = server.memory()?.saturating_sub(memory);
    ensure(
        grown < MOST_GROWN,
        "at most 16 MiB more memory than at the start",
        format!("{} MiB more", grown >> 20),
    )?;
    server.stop()?;
    Ok(soaked)
}

/// Half of the clients are well-behaved; all come and go until the deadline.
fn load(server: &Server, deadline: Instant, soaked: &Soaked) -> Outcome {
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS as u64)
            .map(|seed| {
                scope.spawn(move || {
                    let mut random = StdRng::seed_from_u64(seed);
                    while Instant::now() < deadline {
                        if seed % 2 == 0 {
                            polite(server, &mut random, soaked)?;
                        } else {
                            // It does not matter how such a client ends.
                            let _ = server.connect().and_then(|c| hostile(c, &mut random));
                            soaked.hostile.fetch_add(1, Relaxed);
                        }
                    }
                    Ok(())
                })
            })
            .collect();
        clients
            .into_iter()
            .map(|client| client.join().expect("no client panics"))
            .fold(Ok(()), Outcome::and)
    })
}

fn polite(server: &Server, random: &mut StdRng, soaked: &Soaked) -> Outcome {
    let length = random.random_range(0..LONGEST);
    let slices = Slices::Random {
        seed: random.random(),
        most: random.random_range(1_000..20_000),
    };
    server
        .connect()?
        .exchange(&pattern(random.random(), length), slices)?;
    soaked.polite.fetch_add(1, Relaxed);
    soaked.bytes.fetch_add(length as u64, Relaxed);
    Ok(())
}

fn hostile(mut client: Client, random: &mut StdRng) -> Outcome {
    let bytes = pattern(random.random(), random.random_range(0..5_000));
    let stay = Duration::from_millis(random.random_range(0..30));
    match random.random_range(0..6) {
        // Connects and closes.
        0 => Ok(()),
        1 => client.reset(),
        // Does not wait for the answer.
        2 => client.send(&bytes),
        3 => client.send(&bytes).and_then(|()| client.reset()),
        // Is silent for a while.
        4 => {
            std::thread::sleep(stay);
            Ok(())
        }
        // Sends and never reads.
        _ => {
            let end = Instant::now() + stay;
            while Instant::now() < end {
                client.flood(&pattern(1, 64 * 1024))?;
                std::thread::yield_now();
            }
            client.reset()
        }
    }
}
