//! Connections end in many ways, and the server goes on.

use std::time::{Duration, Instant};

use crate::case::{Case, case, process_case, program_case};
use crate::client::pattern;
use crate::outcome::{Outcome, ensure, failed, skipped};
use crate::server::Server;
use crate::target::Target;
use nix::sys::signal::Signal;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use supervisor::Mode::Echo;

pub const CASES: &[Case] = &[
    case(
        Echo,
        "life::half_close_then_drain",
        "100,000 bytes and half-close before the first is read: all come back, then the end",
        half_close_then_drain,
    ),
    case(
        Echo,
        "life::input_and_end_at_once",
        "the last bytes and the end of input in one packet",
        input_and_end_at_once,
    ),
    process_case(
        Echo,
        "life::end_at_any_read",
        "1 to 16 full buffers and the end of input are there at once: all come back, then the end",
        end_at_any_read,
    ),
    program_case(
        Echo,
        "life::end_at_any_read_of_one_byte",
        "the same with --buffer-size 1 and 1 to 70 bytes",
        end_at_any_read_of_one_byte,
    ),
    program_case(
        Echo,
        "life::answer_after_block",
        "with --block no answer comes before its request has waited",
        answer_after_block,
    ),
    case(
        Echo,
        "life::connect_and_close",
        "clients that connect and close",
        connect_and_close,
    ),
    case(
        Echo,
        "life::connect_and_reset",
        "clients that connect and reset",
        connect_and_reset,
    ),
    case(
        Echo,
        "life::reset_idle",
        "a reset between two messages",
        reset_idle,
    ),
    case(
        Echo,
        "life::reset_in_mid_read",
        "a reset while the server reads",
        reset_in_mid_read,
    ),
    case(
        Echo,
        "life::reset_in_mid_write",
        "a reset while the server cannot write on",
        reset_in_mid_write,
    ),
    case(
        Echo,
        "life::close_with_answer_unread",
        "a client that asks and closes without reading",
        close_with_answer_unread,
    ),
    program_case(
        Echo,
        "life::reset_before_accept",
        "connections that are reset before the server accepts them",
        reset_before_accept,
    ),
    case(
        Echo,
        "life::half_close_never_reads",
        "a client that half-closes and never reads, then one that does",
        half_close_never_reads,
    ),
    case(
        Echo,
        "life::random_disconnects",
        "1,000 clients that leave at any point, in any way",
        random_disconnects,
    ),
    program_case(
        Echo,
        "life::idle_timeout",
        "--idle-timeout closes a silent client, not before its time",
        idle_timeout,
    ),
    program_case(
        Echo,
        "life::idle_timeout_spares_the_active",
        "--idle-timeout does not close a client that talks now and then",
        idle_timeout_spares_the_active,
    ),
    program_case(
        Echo,
        "life::idle_timeout_of_a_paused_server",
        "requests that came while the server stood still, for longer than --idle-timeout, are answered",
        idle_timeout_of_a_paused_server,
    ),
    program_case(
        Echo,
        "life::idle_timeout_while_writing",
        "--idle-timeout covers a client that never reads",
        idle_timeout_while_writing,
    ),
];

/// Length of the bytes that a flood repeats.
const FLOOD: usize = 64 * 1024;
/// More than bytes need to reach the server's kernel.
const ARRIVES: Duration = Duration::from_millis(5);

fn half_close_then_drain(target: &Target) -> Outcome {
    let server = target.serve(Echo)?;
    let mut client = server.connect()?;
    // All bytes fit in the kernel's buffers, so the end arrives together with the last of them.
    client.set_buffers(200_000)?;
    let bytes = pattern(1, 100_000);
    client.send_and_half_close_at_once(&bytes)?;
    client.expect(&bytes)?;
    client.expect_end()
}

fn input_and_end_at_once(target: &Target) -> Outcome {
    let server = target.serve(Echo)?;
    for i in 0..50 {
        let bytes = pattern(i, 500);
        let mut client = server.connect()?;
        if i % 2 == 0 {
            client.round_trip(b"a first message")?;
        }
        client.send_and_half_close_at_once(&bytes)?;
        client.expect(&bytes)?;
        client.expect_end()?;
    }
    Ok(())
}

/// A server bounds the reads of a turn. When the last of them brings the end of input, no new event will make it
/// look again.
fn end_at_any_read(target: &Target) -> Outcome {
    const BUFFER: usize = 16 * 1024;
    let server = target.serve(Echo)?;
    ends_after_each(&server, (1..=16).map(|buffers| buffers * BUFFER))
}

fn end_at_any_read_of_one_byte(target: &Target) -> Outcome {
    let server = target.start(Echo).flags(&["--buffer-size", "1"])?.ready()?;
    ends_after_each(&server, 1..=70)
}

/// For each size, all bytes and the end of input are in the kernel before the server reads.
fn ends_after_each(server: &Server, sizes: impl Iterator<Item = usize>) -> Outcome {
    server.still_serves()?;
    let before = server.holdings_at_rest()?;
    let group = server.group()?;
    for size in sizes {
        let bytes = pattern(size as u64, size);
        // Stopped before the client connects: no process is being forked for it.
        group.signal(Signal::SIGSTOP);
        let mut client = server.connect()?;
        client.set_buffers(1 << 20)?;
        let sent = client.send_and_half_close_at_once(&bytes);
        // What does not fit in the server's receive buffer follows as soon as it reads.
        std::thread::sleep(ARRIVES);
        group.signal(Signal::SIGCONT);
        sent?;
        let ended = client.expect(&bytes).and_then(|()| client.expect_end());
        ended.map_err(|outcome| outcome.about(format_args!("{size} bytes and the end")))?;
    }
    server.holds_no_more(before)
}

fn connect_and_close(target: &Target) -> Outcome {
    let server = target.serve(Echo)?;
    for _ in 0..100 {
        drop(server.connect()?);
    }
    server.still_serves()
}

fn connect_and_reset(target: &Target) -> Outcome {
    let server = target.serve(Echo)?;
    for _ in 0..100 {
        server.connect()?.reset()?;
    }
    server.still_serves()
}

fn reset_idle(target: &Target) -> Outcome {
    let server = target.serve(Echo)?;
    for _ in 0..20 {
        let mut client = server.connect()?;
        client.round_trip(b"hello")?;
        client.reset()?;
    }
    server.still_serves()
}

fn reset_in_mid_read(target: &Target) -> Outcome {
    let server = target.serve(Echo)?;
    for i in 0..20 {
        let mut client = server.connect()?;
        client.send(&pattern(i, 5_000))?;
        client.reset()?;
    }
    server.still_serves()
}

fn reset_in_mid_write(target: &Target) -> Outcome {
    let (server, clients) = target.serve_up_to(Echo, 5)?;
    for (client, _) in server.stuck_clients(clients, &pattern(1, FLOOD))? {
        client.reset()?;
    }
    server.still_serves()
}

fn close_with_answer_unread(target: &Target) -> Outcome {
    let server = target.serve(Echo)?;
    for i in 0..20 {
        let mut client = server.connect()?;
        client.send(&pattern(i, 5_000))?;
    }
    server.still_serves()
}

fn reset_before_accept(target: &Target) -> Outcome {
    let server = target.serve(Echo)?;
    server.still_serves()?;
    let group = server.group()?;
    group.signal(Signal::SIGSTOP);
    for i in 0..20 {
        let mut client = server.connect()?;
        if i % 2 == 0 {
            client.send(b"and gone")?;
        }
        client.reset()?;
    }
    group.signal(Signal::SIGCONT);
    server.still_serves()
}

fn half_close_never_reads(target: &Target) -> Outcome {
    target.require_silence()?;
    let server = target.serve_many(Echo, 2)?;
    let mut clients = server.stuck_clients(1, &pattern(1, FLOOD))?;
    for (client, _) in &mut clients {
        client.half_close()?;
    }
    server.still_serves()?;
    drop(clients);
    server.still_serves()
}

fn random_disconnects(target: &Target) -> Outcome {
    let server = target.serve(Echo)?;
    let mut random = StdRng::seed_from_u64(1);
    for i in 0..1_000 {
        let mut client = server.connect()?;
        let bytes = pattern(i, random.random_range(0..3_000));
        match random.random_range(0..5) {
            0 => client.reset()?,
            1 => drop(client),
            2 => client.send(&bytes).and_then(|()| client.reset())?,
            3 => client.send(&bytes)?,
            _ => client.round_trip(&bytes)?,
        }
    }
    server.still_serves()
}

fn idle_timeout(target: &Target) -> Outcome {
    let server = target
        .start(Echo)
        .flags(&["--idle-timeout", "300ms"])?
        .ready()?;
    let mut client = server.connect()?;
    // The server's timeout starts later, when it reads.
    let start = Instant::now();
    client.round_trip(b"hello")?;
    client.expect_gone()?;
    let seen = start.elapsed();
    if seen < Duration::from_millis(300) {
        return failed(
            "the connection is closed after 300 ms of silence",
            format!("{seen:?}"),
        );
    }
    server.still_serves()
}

fn idle_timeout_spares_the_active(target: &Target) -> Outcome {
    const TIMEOUT: Duration = Duration::from_millis(600);
    let server = target
        .start(Echo)
        .flags(&["--idle-timeout", "600ms"])?
        .ready()?;
    let mut client = server.connect()?;
    let start = Instant::now();
    let mut last_sent = start;
    while start.elapsed() < 2 * TIMEOUT {
        let sent = Instant::now();
        match client.round_trip(b"still here") {
            Ok(()) => last_sent = sent,
            // The server received the last message after it was sent, so its timeout cannot be over.
            Err(closed) if last_sent.elapsed() < TIMEOUT => return Err(closed),
            Err(_) => return skipped("this machine is too busy to keep a client active"),
        }
        std::thread::sleep(TIMEOUT / 6);
    }
    Ok(())
}

fn answer_after_block(target: &Target) -> Outcome {
    const BLOCK: Duration = Duration::from_millis(50);
    let server = target.start(Echo).flags(&["--block", "50ms"])?.ready()?;
    let mut client = server.connect()?;
    for request in 1..=3 {
        let start = Instant::now();
        client.round_trip(b"hello")?;
        let took = start.elapsed();
        ensure(
            took >= BLOCK,
            format!("an answer after {BLOCK:?} at least"),
            format!("the answer to request {request} after {took:?}"),
        )?;
    }
    Ok(())
}

fn idle_timeout_of_a_paused_server(target: &Target) -> Outcome {
    const TIMEOUT: Duration = Duration::from_secs(2);
    let server = target
        .start(Echo)
        .flags(&["--idle-timeout", "2s"])?
        .ready()?;
    let mut clients = server.connect_many(target.clients_at_once(12))?;
    let group = server.group()?;
    let start = Instant::now();
    for client in &mut clients {
        client.round_trip(b"hello")?;
    }
    group.signal(Signal::SIGSTOP);
    let stopped = start.elapsed();
    for client in &mut clients {
        client.send(b"still here")?;
        client.wait_until_arrived()?;
    }
    std::thread::sleep(TIMEOUT + TIMEOUT / 4);
    group.signal(Signal::SIGCONT);
    if stopped > TIMEOUT / 2 {
        return skipped("this machine is too busy to stop the server in time");
    }
    clients
        .iter_mut()
        .try_for_each(|client| client.expect(b"still here"))
}

fn idle_timeout_while_writing(target: &Target) -> Outcome {
    let server = target
        .start(Echo)
        .flags(&["--idle-timeout", "300ms", "--max-connections", "1"])?
        .ready()?;
    let _stuck = server.stuck_clients(1, &pattern(1, FLOOD))?;
    // The server serves one client at once: this one is served only when the stuck client has been ended.
    server.still_serves()
}
