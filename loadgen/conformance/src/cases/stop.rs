//! SIGTERM and SIGINT: the listener closes, what has arrived is answered, and the server ends.

use nix::sys::signal::Signal;
use supervisor::Mode::{self, Echo, Http, Once};

use super::http::answer::Http1;
use super::http::dialogue::GET;
use super::once::expect_answer;
use crate::case::{Case, program_case};
use crate::client::{Client, pattern};
use crate::outcome::{NotPassed, Outcome, ensure, skipped};
use crate::patience::eventually;
use crate::resources::Holdings;
use crate::server::Server;
use crate::target::Target;

pub const CASES: &[Case] = &[
    program_case(Echo, "stop::idle", "SIGTERM without clients: exit 0", idle),
    program_case(
        Echo,
        "stop::by_sigint",
        "SIGINT without clients: exit 0",
        by_sigint,
    ),
    program_case(
        Echo,
        "stop::with_clients",
        "SIGTERM with idle clients: they see the end at once, exit 0",
        with_clients,
    ),
    program_case(
        Echo,
        "stop::in_mid_stream",
        "SIGTERM with input unread: all that had arrived is answered first",
        in_mid_stream,
    ),
    program_case(
        Echo,
        "stop::data_ends_with_a_turn",
        "SIGTERM when the unread bytes end with the last read of a turn: they are answered, and the end comes at once",
        data_ends_with_a_turn,
    ),
    program_case(
        Once,
        "stop::before_the_answer",
        "SIGTERM in mode once: a request that had arrived is answered",
        before_the_answer,
    ),
    program_case(
        Http,
        "stop::with_requests_unread",
        "SIGTERM in mode http: requests that had arrived are answered",
        with_requests_unread,
    ),
    program_case(
        Echo,
        "stop::backlog",
        "SIGTERM with clients in the backlog whose bytes have arrived: they are served",
        |target| backlog(target, Echo),
    ),
    program_case(
        Once,
        "stop::backlog_once",
        "the same in mode once",
        |target| backlog(target, Once),
    ),
    program_case(
        Http,
        "stop::backlog_http",
        "the same in mode http",
        |target| backlog(target, Http),
    ),
    program_case(
        Echo,
        "stop::with_stuck_clients",
        "SIGTERM with clients that never read: exit 0 when --grace is over",
        with_stuck_clients,
    ),
    program_case(
        Echo,
        "stop::with_busy_workers",
        "SIGTERM while a worker burns --work for longer than --grace: exit 0 when --grace is over",
        with_busy_workers,
    ),
    program_case(
        Echo,
        "stop::at_capacity",
        "SIGTERM while clients wait to be served: exit 0",
        at_capacity,
    ),
    program_case(
        Echo,
        "stop::twice",
        "a second SIGTERM does not wait for --grace",
        twice,
    ),
    program_case(
        Echo,
        "stop::no_new_clients",
        "SIGTERM closes the listener while old clients are drained",
        no_new_clients,
    ),
    program_case(
        Echo,
        "stop::port_free_at_once",
        "the port can be used again as soon as the server has ended",
        port_free_at_once,
    ),
    program_case(
        Echo,
        "stop::interrupt_from_the_terminal",
        "SIGINT to the whole process group: exit 0",
        interrupt_from_the_terminal,
    ),
];

/// Much longer than a case waits.
const LONG_GRACE: &[&str] = &["--grace", "60s"];
/// Much shorter than a case waits.
const SHORT_GRACE: &[&str] = &["--grace", "500ms"];

/// Stops the server's processes, sends what `arrive` sends and then SIGTERM, and continues them: the server sees all
/// of it at the same time.
fn term_after(server: &Server, arrive: impl FnOnce() -> Outcome) -> Outcome {
    let group = server.group()?;
    group.signal(Signal::SIGSTOP);
    let arrived = arrive();
    group.signal_leader(Signal::SIGTERM);
    group.signal(Signal::SIGCONT);
    arrived
}

fn idle(target: &Target) -> Outcome {
    let server = target.serve(Echo)?;
    server.still_serves()?;
    server.stop().map(drop)
}

fn by_sigint(target: &Target) -> Outcome {
    let server = target.serve(Echo)?;
    server.group()?.signal_leader(Signal::SIGINT);
    server.ended_cleanly("SIGINT").map(drop)
}

fn with_clients(target: &Target) -> Outcome {
    let server = target.start(Echo).flags(LONG_GRACE)?.ready()?;
    let clients = server.served_clients(target.clients_at_once(5))?;
    server.stop()?;
    clients.into_iter().try_for_each(Client::expect_end)
}

fn in_mid_stream(target: &Target) -> Outcome {
    target.require_silence()?;
    let server = target.start(Echo).flags(LONG_GRACE)?.ready()?;
    let mut clients = server.served_clients(target.clients_at_once(5))?;
    term_after(&server, || {
        clients.iter_mut().zip(0..).try_for_each(|(client, seed)| {
            client.send(&pattern(seed, 30_000))?;
            client.wait_until_arrived()
        })
    })?;
    for (mut client, seed) in clients.into_iter().zip(0..) {
        client.expect(&pattern(seed, 30_000))?;
        client.expect_end()?;
    }
    server.ended_cleanly("SIGTERM").map(drop)
}

/// A server bounds the reads of a turn. When the data end with the last of them, no new event makes it look at the
/// connection again.
fn data_ends_with_a_turn(target: &Target) -> Outcome {
    /// Reads in a turn of most servers. The fixed length is for other numbers.
    const READS: usize = 8;
    target.require_silence()?;
    let mut tried = 0;
    for buffer in [1_024, 4_096, 16_384] {
        let turn = READS * buffer;
        for length in [65_536, turn - 1, turn, turn + 1, turn + buffer] {
            let ended = ends_after(target, buffer, length).map_err(|not_passed| {
                not_passed.about(format_args!("{length} bytes, --buffer-size {buffer}"))
            });
            tried += usize::from(ended?);
        }
    }
    if tried < 10 {
        return skipped("the kernel accepts too few bytes for a stopped server");
    }
    Ok(())
}

/// False when the kernel does not accept this many bytes for a stopped server.
fn ends_after(target: &Target, buffer: usize, length: usize) -> Outcome<bool> {
    let start = target.start(Echo).flags(LONG_GRACE)?;
    let server = start
        .flags(&["--buffer-size", &buffer.to_string()])?
        .ready()?;
    let bytes = pattern(length as u64, length);
    let mut client = server.connect()?;
    client.set_buffers(1 << 20)?;
    client.round_trip(b"hello")?;
    let mut arrived = false;
    term_after(&server, || {
        client.send(&bytes)?;
        arrived = client.arrives_at_once();
        Ok(())
    })?;
    if arrived {
        client.expect(&bytes)?;
        client.expect_end()?;
        server.ended_cleanly("SIGTERM")?;
    }
    Ok(arrived)
}

fn before_the_answer(target: &Target) -> Outcome {
    target.require_silence()?;
    let server = target.start(Once).flags(LONG_GRACE)?.ready()?;
    let mut client = server.connect()?;
    client.wait_until_accepted()?;
    term_after(&server, || {
        client.send(b"hello")?;
        client.wait_until_arrived()
    })?;
    expect_answer(&mut client)?;
    client.expect_end()?;
    server.ended_cleanly("SIGTERM").map(drop)
}

fn with_requests_unread(target: &Target) -> Outcome {
    target.require_silence()?;
    let server = target.start(Http).flags(LONG_GRACE)?.ready()?;
    let mut client = server.connect()?;
    client.send(GET.as_bytes())?;
    client.expect_status(200)?;
    term_after(&server, || {
        client.send(GET.repeat(10).as_bytes())?;
        client.wait_until_arrived()
    })?;
    (0..10).try_for_each(|_| client.expect_status(200).map(drop))?;
    client.expect_end()?;
    server.ended_cleanly("SIGTERM").map(drop)
}

/// Clients connect and send while the server is stopped, so all are in the backlog when it gets the SIGTERM. It must
/// accept them before it closes the listener, and answer as many as it serves at once. The others may be answered as
/// well, or lose their connection.
fn backlog(target: &Target, mode: Mode) -> Outcome {
    const CLIENTS: usize = 20;
    target.require_silence()?;
    let server = target.start(mode).flags(LONG_GRACE)?.ready()?;
    let request = match mode {
        Echo => pattern(1, 300),
        Once => b"hello".to_vec(),
        Http => GET.as_bytes().to_vec(),
    };
    let mut clients = Vec::new();
    term_after(&server, || {
        for _ in 0..CLIENTS {
            let mut client = server.connect()?;
            client.send(&request)?;
            client.wait_until_arrived()?;
            clients.push(client);
        }
        Ok(())
    })?;
    let (mut answered, mut not_answered) = (0, String::new());
    for mut client in clients {
        let answer = match mode {
            Echo => client.expect(&request),
            Once => expect_answer(&mut client),
            Http => client.expect_status(200).map(drop),
        };
        match answer.and_then(|()| client.expect_end()) {
            Err(NotPassed::Failed { seen, .. }) => not_answered = seen,
            outcome => {
                outcome?;
                answered += 1;
            }
        }
    }
    let at_once = target.clients_at_once(CLIENTS);
    ensure(
        answered >= at_once,
        format!("{at_once} of {CLIENTS} clients in the backlog answered up to the end"),
        format!("{answered}; of one that was not: {not_answered}"),
    )?;
    server.ended_cleanly("SIGTERM").map(drop)
}

fn with_stuck_clients(target: &Target) -> Outcome {
    let server = target.start(Echo).flags(SHORT_GRACE)?.ready()?;
    let clients = target.clients_at_once(2);
    let _stuck = server.stuck_clients(clients, &pattern(1, 64 * 1024))?;
    server.stop().map(drop)
}

/// A worker may wait for the client for which another worker burns CPU time. It must end all the same.
fn with_busy_workers(target: &Target) -> Outcome {
    let start = target.start(Echo).flags(SHORT_GRACE)?;
    let server = start.flags(&["--work", "60s"])?.ready()?;
    let mut clients = server.connect_many(target.clients_at_once(3))?;
    clients[0].send_alone(b"one that takes long")?;
    let Holdings { threads, .. } = Holdings::of(server.group()?);
    if threads == 1 {
        return skipped("has one thread, which notices no signal while it works");
    }
    server.stop().map(drop)
}

fn at_capacity(target: &Target) -> Outcome {
    let start = target.start(Echo).flags(&["--max-connections", "1"])?;
    let server = start.ready()?;
    let _served = server.served_clients(1)?;
    let _waiting = server.connect_many(3)?;
    server.stop().map(drop)
}

fn twice(target: &Target) -> Outcome {
    // With several loops, the stuck client is sometimes with one and sometimes with another.
    for _ in 0..3 {
        let server = target.start(Echo).flags(LONG_GRACE)?.ready()?;
        let _stuck = server.stuck_clients(1, &pattern(1, 64 * 1024))?;
        let group = server.group()?;
        group.signal_leader(Signal::SIGTERM);
        // A closed listener shows that the server has taken the first signal.
        let closed = || server.connect().is_err();
        eventually(server.patience, "the listener is closed", closed)?;
        group.signal_leader(Signal::SIGTERM);
        let exit = server.wait()?;
        ensure(exit.left_behind == 0, "no process left behind", exit)?;
    }
    Ok(())
}

fn no_new_clients(target: &Target) -> Outcome {
    let server = target.start(Echo).flags(&["--grace", "2s"])?.ready()?;
    let _stuck = server.stuck_clients(1, &pattern(1, 64 * 1024))?;
    server.group()?.signal_leader(Signal::SIGTERM);
    let closed = || server.connect().is_err();
    eventually(server.patience, "the listener is closed", closed)?;
    server.ended_cleanly("SIGTERM").map(drop)
}

fn port_free_at_once(target: &Target) -> Outcome {
    let server = target.serve(Echo)?;
    let address = server.address;
    let _client = server.served_clients(1)?;
    server.stop()?;
    let again = target.start(Echo).listen(&address.to_string()).ready()?;
    again.still_serves()
}

fn interrupt_from_the_terminal(target: &Target) -> Outcome {
    let (server, clients) = target.serve_up_to(Echo, 3)?;
    let clients = server.served_clients(clients)?;
    server.group()?.signal(Signal::SIGINT);
    server.ended_cleanly("SIGINT to the group")?;
    clients.into_iter().try_for_each(Client::expect_end)
}
