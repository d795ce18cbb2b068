//! The two drivers over real sockets.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};
use serde_json::Value;
use socket2::SockRef;

use crate::accept::Socket;
use crate::blocking;
use crate::context::Context;
use crate::mode::ONCE_ANSWER;
use crate::nonblocking::{Client, Next, Trigger};
use crate::session::{Interest, LINGER_TIME};

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\
    Content-Length: 19\r\n\r\nHello from server!\n";

/// A client and the server's end of its connection.
fn pair() -> (TcpStream, Socket) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let client = TcpStream::connect(listener.local_addr().expect("bound")).expect("it listens");
    let (server, _) = listener.accept().expect("a client");
    (client, Socket::new(server, 1))
}

fn client_of(context: &'static Context) -> (TcpStream, Client) {
    let (client, server) = pair();
    server.set_nonblocking(true).expect("a socket");
    (client, Client::new(context, server))
}

fn counted(context: &Context, what: &str) -> u64 {
    context.stats.to_json()[what].as_u64().unwrap_or(u64::MAX)
}

/// Closes with a reset.
fn reset(client: TcpStream) {
    SockRef::from(&client)
        .set_linger(Some(Duration::ZERO))
        .expect("a socket");
    drop(client);
}

fn read_to_end(mut client: &TcpStream) -> Vec<u8> {
    let mut all = Vec::new();
    client.read_to_end(&mut all).expect("no reset");
    all
}

fn cpu_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)
        .expect("the clock of this thread")
        .into()
}

/// Steps until there is nothing to do.
fn settle(served: &mut Client) -> Next {
    loop {
        match served.step(Trigger::Edge) {
            Next::Again => {}
            next => return next,
        }
    }
}

#[test]
fn a_turn_ends_while_there_is_more_to_read() {
    let context = Context::of_flags(&["--buffer-size", "16"]);
    let (mut client, mut served) = client_of(context);
    let message: Vec<u8> = (0..=255).cycle().take(1000).collect();
    client.write_all(&message).expect("room");
    assert_eq!(served.step(Trigger::Edge), Next::Again);
    let mut answer = [0; 1000];
    let first = client.read(&mut answer).expect("an answer");
    assert!(first < 500, "{first} bytes in one turn");
    assert_eq!(settle(&mut served), Next::Wait);
    client.read_exact(&mut answer[first..]).expect("the rest");
    assert_eq!(answer[..], message);
}

#[test]
fn the_end_of_input_may_come_with_any_read_of_a_turn() {
    for trigger in [Trigger::Level, Trigger::Edge] {
        for length in 0..70 {
            let context = Context::of_flags(&["--buffer-size", "1"]);
            let (mut client, mut served) = client_of(context);
            client.write_all(&vec![7; length]).expect("room");
            client.shutdown(Shutdown::Write).expect("open");
            // No more events come: as long as the client waits, its interest must not be empty.
            while served.step(trigger) != Next::Closed {
                let interest = served.interest();
                assert!(
                    interest.read || interest.write,
                    "{length} bytes, {trigger:?}"
                );
            }
            drop(served);
            assert_eq!(read_to_end(&client).len(), length);
        }
    }
}

#[test]
fn a_short_read_ends_a_turn_without_another_read() {
    let context = Context::of_flags(&[]);
    let (mut client, mut served) = client_of(context);
    client.write_all(b"hi").expect("room");
    client.shutdown(Shutdown::Write).expect("open");
    assert_eq!(served.step(Trigger::Level), Next::Wait);
    assert_eq!(served.step(Trigger::Level), Next::Closed);
    drop(served);
    assert_eq!(read_to_end(&client), b"hi");
}

#[test]
fn a_stop_answers_what_has_arrived_and_awaits_the_close() {
    for trigger in [Trigger::Level, Trigger::Edge] {
        let context = Context::of_flags(&[]);
        let (mut client, mut served) = client_of(context);
        client.write_all(b"hi").expect("room");
        served.stop(Instant::now() + Duration::from_hours(1));
        // A stopped client gets at least one step.
        assert_eq!(served.step(trigger), Next::Wait);
        assert_eq!(read_to_end(&client), b"hi");
        let linger = served.deadline().expect("it waits for the close");
        assert!(linger <= Instant::now() + LINGER_TIME);
        drop(served);
        assert_eq!(counted(context, "reset"), 0);
    }
}

#[test]
fn an_idle_client_is_closed_and_counted() {
    let context = Context::of_flags(&["--idle-timeout", "1ns"]);
    let (_client, mut served) = client_of(context);
    assert_eq!(served.step(Trigger::Level), Next::Closed);
    drop(served);
    assert_eq!(counted(context, "reset"), 1);
}

/// As at the end of the grace, when a client has no turn any more.
#[test]
fn who_is_dropped_with_an_answer_on_its_way_is_counted_as_reset() {
    let context = Context::of_flags(&[]);
    let (mut client, mut served) = client_of(context);
    SockRef::from(&served)
        .set_send_buffer_size(4096)
        .expect("a socket");
    client.set_nonblocking(true).expect("a socket");
    while client.write(&[0; 1 << 12]).is_ok() {
        let _ = served.step(Trigger::Level);
    }
    assert!(served.interest().write, "all was sent");
    drop(served);
    assert_eq!(counted(context, "reset"), 1);
}

#[test]
fn bytes_that_came_in_time_are_read_before_an_idle_client_is_closed() {
    let context = Context::of_flags(&["--idle-timeout", "1h"]);
    let (mut client, mut served) = client_of(context);
    let before = served.deadline();
    client.write_all(b"hi").expect("room");
    assert_eq!(settle(&mut served), Next::Wait);
    assert!(served.deadline() > before);
}

#[test]
fn the_grace_ends_a_client_that_does_not_read() {
    let context = Context::of_flags(&[]);
    for (answered, resets) in [(false, 1), (true, 1)] {
        let (mut client, mut served) = client_of(context);
        served.stop(Instant::now());
        if answered {
            // Its answer is out: no reset, though the client has not closed.
            client.write_all(b"hi").expect("room");
        } else {
            SockRef::from(&served)
                .set_send_buffer_size(4096)
                .expect("a socket");
            client.set_nonblocking(true).expect("a socket");
            while client.write(&[0; 1 << 12]).is_ok() {}
        }
        while served.step(Trigger::Level) != Next::Closed {}
        drop(served);
        assert_eq!(counted(context, "reset"), resets, "answered: {answered}");
    }
}

#[test]
fn a_turn_answers_a_bounded_number_of_requests() {
    let context = Context::of_flags(&["--mode", "http"]);
    let (mut client, mut stepped) = client_of(context);
    client.write_all(&GET.repeat(100)).expect("room");
    let mut turns = 1;
    while stepped.step(Trigger::Level) == Next::Again {
        turns += 1;
    }
    assert!(turns >= 6, "{turns} turns for 100 requests");
    let mut answers = ANSWER.repeat(100);
    client.read_exact(&mut answers).expect("all answers");
}

#[test]
fn a_reset_counts_until_the_answer_is_out() {
    let context = Context::of_flags(&["--mode", "once"]);
    let (client, mut early) = client_of(context);
    reset(client);
    assert_eq!(settle(&mut early), Next::Closed);
    drop(early);
    assert_eq!(counted(context, "reset"), 1);

    let (mut client, mut late) = client_of(context);
    client.write_all(b"hi").expect("room");
    assert_eq!(settle(&mut late), Next::Wait);
    assert_eq!(read_to_end(&client), ONCE_ANSWER);
    reset(client);
    assert_eq!(settle(&mut late), Next::Closed);
    drop(late);
    assert_eq!(counted(context, "reset"), 1);
}

#[test]
fn a_blocking_server_counts_resets_in_the_same_way() {
    let context = Context::of_flags(&["--mode", "once"]);
    let (client, server) = pair();
    reset(client);
    blocking::serve(context, &server);
    assert_eq!(counted(context, "reset"), 1);

    let (mut client, server) = pair();
    let serving = thread::spawn(move || blocking::serve(context, &server));
    client.write_all(b"hi").expect("room");
    assert_eq!(read_to_end(&client), ONCE_ANSWER);
    reset(client);
    serving.join().expect("no panic");
    assert_eq!(counted(context, "reset"), 1);
}

#[test]
fn a_blocking_server_gives_back_more_than_fits_anywhere() {
    let context = Context::of_flags(&["--buffer-size", "999"]);
    let (client, server) = pair();
    SockRef::from(&server)
        .set_send_buffer_size(4096)
        .expect("a socket");
    let serving = thread::spawn(move || blocking::serve(context, &server));
    let message: Vec<u8> = (0..=255).cycle().take(1 << 20).collect();
    let sent = message.clone();
    let mut sender = client.try_clone().expect("a descriptor");
    let sending = thread::spawn(move || {
        sender.write_all(&sent).expect("it reads");
        sender.shutdown(Shutdown::Write).expect("open");
    });
    assert!(read_to_end(&client) == message, "other bytes came back");
    sending.join().expect("no panic");
    serving.join().expect("no panic");
    assert_eq!(counted(context, "bytes_in"), 1 << 20);
    assert_eq!(counted(context, "bytes_out"), 1 << 20);
    assert_eq!(context.stats.to_json()["reset"], Value::from(0));
}

#[test]
fn a_blocking_server_does_not_wait_for_an_idle_client() {
    let context = Context::of_flags(&["--idle-timeout", "10ms"]);
    let (_client, server) = pair();
    blocking::serve(context, &server);
    assert_eq!(counted(context, "reset"), 1);
}

#[test]
fn work_is_burnt_before_each_answer_of_a_pipeline() {
    // More answers than may wait at once, so that some requests become complete by a write.
    const REQUESTS: usize = 200;
    let context = Context::of_flags(&["--mode", "http", "--work", "100us"]);
    // The pace is measured and not exact; half of the requests would be too little.
    let least = Duration::from_micros(100) * REQUESTS as u32 * 3 / 4;
    let mut answers = ANSWER.repeat(REQUESTS);

    let (mut client, mut served) = client_of(context);
    client.write_all(&GET.repeat(REQUESTS)).expect("room");
    let before = cpu_time();
    assert_eq!(settle(&mut served), Next::Wait);
    assert!(cpu_time() >= before + least);
    client.read_exact(&mut answers).expect("all answers");

    let (mut client, socket) = pair();
    client.write_all(&GET.repeat(REQUESTS)).expect("room");
    let serving = thread::spawn(move || {
        let before = cpu_time();
        blocking::serve(context, &socket);
        assert!(cpu_time() >= before + least);
    });
    client.read_exact(&mut answers).expect("all answers");
    // After the reset nothing more is read, so work that was skipped is not done later.
    reset(client);
    serving.join().expect("enough work");
}

#[test]
fn what_a_request_demands_is_drawn_once() {
    // The body comes in pieces, and bytes behind the last answer are no request.
    let post = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n";
    let http: [&[u8]; 6] = [GET, post, b"1234", b"56789", &GET[..9], &GET[9..]];
    let cases: [(&str, &[&[u8]], u64); 3] = [
        ("http", &http, 3),
        ("once", &[b"a", b"b", b"c"], 1),
        ("echo", &[b"a", b"b", b"c"], 3),
    ];
    for (mode, writes, requests) in cases {
        for (trigger, work) in [
            (Trigger::Level, "--work"),
            (Trigger::Edge, "--block"),
            (Trigger::Polled, "--block"),
        ] {
            let context = Context::of_flags(&["--mode", mode, work, "exp:1us"]);
            let (mut client, mut served) = client_of(context);
            client.set_nodelay(true).expect("a socket");
            for bytes in writes {
                client.write_all(bytes).expect("room");
                while served.step(trigger) == Next::Again {}
            }
            assert_eq!(context.stats.draw(), requests, "{mode}, {trigger:?}");
        }
        let context = Context::of_flags(&["--mode", mode, "--block", "exp:1us"]);
        let (mut client, socket) = pair();
        let serving = thread::spawn(move || blocking::serve(context, &socket));
        for bytes in writes {
            client.write_all(bytes).expect("room");
            if mode == "echo" {
                // There each read is a request.
                client.read_exact(&mut [0]).expect("the byte comes back");
            }
        }
        client.shutdown(Shutdown::Write).expect("open");
        serving.join().expect("no panic");
        assert_eq!(context.stats.draw(), requests, "{mode}, blocking");
    }
}

#[test]
fn an_answer_waits_for_work_that_is_done_elsewhere() {
    let flags = ["--mode", "http", "--block", "1ms", "--idle-timeout", "1ms"];
    let context = Context::of_flags(&flags);
    let (mut client, mut served) = client_of(context);
    client.write_all(&GET.repeat(2)).expect("room");
    let mut jobs = Vec::new();
    let mut step = |served: &mut Client| {
        served.step_by(Trigger::Edge, |connection, most| {
            let (answered, job) = connection.answer_apart(most);
            jobs.extend(job);
            answered
        })
    };
    for _ in 0..2 {
        assert_eq!(step(&mut served), Next::Wait);
        // It is not idle, and nothing is read for it or written to it.
        assert_eq!(served.deadline(), None);
        assert_eq!(served.interest(), Interest::default());
        assert_eq!(step(&mut served), Next::Wait);
        client.set_nonblocking(true).expect("a socket");
        let early = client.read(&mut [0]).expect_err("it is too early");
        assert_eq!(early.kind(), ErrorKind::WouldBlock);
        served.finish();
        assert_ne!(step(&mut served), Next::Closed);
        client.set_nonblocking(false).expect("a socket");
        let mut answer = vec![0; ANSWER.len()];
        client.read_exact(&mut answer).expect("an answer");
        assert_eq!(answer, ANSWER);
    }
    assert_eq!(jobs.len(), 2);
}
