//! How connections end, and that no end of one harms the server.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::client::{Slices, pattern, stuck};
use crate::leaks::{same_again, settled};
use crate::subject::Server;
use crate::{Case, Subject, Tried, case, failed, owning, skipped, watching};
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
    watching(
        Echo,
        "life::end_at_any_read",
        "1 to 16 full buffers and the end of input are there at once: all come back, then the end",
        end_at_any_read,
    ),
    owning(
        Echo,
        "life::end_at_any_read_of_one_byte",
        "the same with --buffer-size 1 and 1 to 70 bytes",
        end_at_any_read_of_one_byte,
    ),
    case(
        Echo,
        "life::connect_and_close",
        "clients that come and go without a word",
        connect_and_close,
    ),
    case(
        Echo,
        "life::connect_and_reset",
        "clients that come and reset without a word",
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
    owning(
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
    owning(
        Echo,
        "life::idle_timeout",
        "--idle-timeout closes a silent client, not before its time",
        idle_timeout,
    ),
    owning(
        Echo,
        "life::idle_timeout_spares_the_active",
        "--idle-timeout does not close a client that talks now and then",
        idle_timeout_spares_the_active,
    ),
    owning(
        Echo,
        "life::idle_timeout_while_writing",
        "--idle-timeout covers a client that never reads",
        idle_timeout_while_writing,
    ),
];

/// What a flood repeats, bytes.
const FLOOD: usize = 64 * 1024;
/// How long bytes take to the server's kernel, generously.
const ARRIVES: Duration = Duration::from_millis(5);

/// The server is as good as new.
pub fn still_serves(server: &Server) -> Tried {
    server
        .connect()?
        .exchange(&pattern(99, 3_000), Slices::Whole)
}

fn half_close_then_drain(s: &Subject) -> Tried {
    let server = s.serve(Echo)?;
    let mut client = server.connect()?;
    // The kernels take all of it, so that the end arrives with the last of the bytes.
    client.set_buffers(200_000)?;
    let bytes = pattern(1, 100_000);
    client.send_and_half_close_at_once(&bytes)?;
    client.expect(&bytes)?;
    client.expect_end()
}

fn input_and_end_at_once(s: &Subject) -> Tried {
    let server = s.serve(Echo)?;
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

/// A server that bounds the reads of a turn may find the end with the last of them: there nothing new will
/// come that would make it look again.
fn end_at_any_read(s: &Subject) -> Tried {
    const BUFFER: usize = 16 * 1024;
    let server = s.serve(Echo)?;
    ends_after_each(&server, (1..=16).map(|buffers| buffers * BUFFER))
}

fn end_at_any_read_of_one_byte(s: &Subject) -> Tried {
    let server = s.launch(Echo).flags(&["--buffer-size", "1"])?.start()?;
    ends_after_each(&server, 1..=70)
}

/// Of each of these sizes all is in the kernel, with the end of input, before the server reads.
fn ends_after_each(server: &Server, sizes: impl Iterator<Item = usize>) -> Tried {
    still_serves(server)?;
    let before = settled(server)?;
    let tree = server.tree()?;
    for size in sizes {
        let bytes = pattern(size as u64, size);
        // Before the client is there, so that no process is being forked for it.
        tree.signal_all(Signal::SIGSTOP);
        let mut client = server.connect()?;
        client.set_buffers(1 << 20)?;
        let sent = client.send_and_half_close_at_once(&bytes);
        // What the server's side has no room for follows as soon as it reads.
        std::thread::sleep(ARRIVES);
        tree.signal_all(Signal::SIGCONT);
        sent?;
        let ended = client.expect(&bytes).and_then(|()| client.expect_end());
        ended.map_err(|outcome| outcome.about(format_args!("{size} bytes and the end")))?;
    }
    same_again(server, before)
}

fn connect_and_close(s: &Subject) -> Tried {
    let server = s.serve(Echo)?;
    for _ in 0..100 {
        drop(server.connect()?);
    }
    still_serves(&server)
}

fn connect_and_reset(s: &Subject) -> Tried {
    let server = s.serve(Echo)?;
    for _ in 0..100 {
        server.connect()?.reset()?;
    }
    still_serves(&server)
}

fn reset_idle(s: &Subject) -> Tried {
    let server = s.serve(Echo)?;
    for _ in 0..20 {
        let mut client = server.connect()?;
        client.round_trip(b"hello")?;
        client.reset()?;
    }
    still_serves(&server)
}

fn reset_in_mid_read(s: &Subject) -> Tried {
    let server = s.serve(Echo)?;
    for i in 0..20 {
        let mut client = server.connect()?;
        client.send(&pattern(i, 5_000))?;
        client.reset()?;
    }
    still_serves(&server)
}

fn reset_in_mid_write(s: &Subject) -> Tried {
    let (server, clients) = s.serve_up_to(Echo, 5)?;
    for (client, _) in stuck(&server, clients, &pattern(1, FLOOD))? {
        client.reset()?;
    }
    still_serves(&server)
}

fn close_with_answer_unread(s: &Subject) -> Tried {
    let server = s.serve(Echo)?;
    for i in 0..20 {
        let mut client = server.connect()?;
        client.send(&pattern(i, 5_000))?;
    }
    still_serves(&server)
}

fn reset_before_accept(s: &Subject) -> Tried {
    let server = s.serve(Echo)?;
    still_serves(&server)?;
    let tree = server.tree()?;
    tree.signal_all(Signal::SIGSTOP);
    for i in 0..20 {
        let mut client = server.connect()?;
        if i % 2 == 0 {
            client.send(b"and gone")?;
        }
        client.reset()?;
    }
    tree.signal_all(Signal::SIGCONT);
    still_serves(&server)
}

fn half_close_never_reads(s: &Subject) -> Tried {
    s.stands_silence()?;
    let server = s.serve_many(Echo, 2)?;
    let mut clients = stuck(&server, 1, &pattern(1, FLOOD))?;
    for (client, _) in &mut clients {
        client.half_close()?;
    }
    still_serves(&server)?;
    drop(clients);
    still_serves(&server)
}

fn random_disconnects(s: &Subject) -> Tried {
    let server = s.serve(Echo)?;
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
    still_serves(&server)
}

fn idle_timeout(s: &Subject) -> Tried {
    let server = s
        .launch(Echo)
        .flags(&["--idle-timeout", "300ms"])?
        .start()?;
    let mut client = server.connect()?;
    // The server's clock starts after this, when it reads.
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
    still_serves(&server)
}

fn idle_timeout_spares_the_active(s: &Subject) -> Tried {
    const TIMEOUT: Duration = Duration::from_millis(600);
    let server = s
        .launch(Echo)
        .flags(&["--idle-timeout", "600ms"])?
        .start()?;
    let mut client = server.connect()?;
    let start = Instant::now();
    let mut last_sent = start;
    while start.elapsed() < 2 * TIMEOUT {
        let sent = Instant::now();
        match client.round_trip(b"still here") {
            Ok(()) => last_sent = sent,
            // The server saw the last message later than it was sent, so this is too early.
            Err(closed) if last_sent.elapsed() < TIMEOUT => return Err(closed),
            Err(_) => return skipped("this machine is too busy to keep a client active"),
        }
        std::thread::sleep(TIMEOUT / 6);
    }
    Ok(())
}

fn idle_timeout_while_writing(s: &Subject) -> Tried {
    let server = s
        .launch(Echo)
        .flags(&["--idle-timeout", "300ms", "--max-connections", "1"])?
        .start()?;
    let _stuck = stuck(&server, 1, &pattern(1, FLOOD))?;
    // There is one place, so this is answered only after the stuck client lost it.
    still_serves(&server)
}
