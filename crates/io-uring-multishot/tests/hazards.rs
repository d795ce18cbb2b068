//! Here everything happens that can go wrong with completions, and no byte is lost. The trace shows
//! that it happened.

use std::process::ExitCode;

use conformance::{OwnServer, completions, pattern};

const PROGRAM: &str = env!("CARGO_BIN_EXE_io-uring-multishot-server");

fn main() -> ExitCode {
    completions::run(
        uring::IoUring::new(1).is_err(),
        [
            ("an_empty_buffer_ring", an_empty_buffer_ring),
            ("a_full_completion_queue", || {
                completions::full_queue(PROGRAM, 1);
            }),
            ("a_multishot_that_ends", a_multishot_that_ends),
            ("sends_in_order", sends_in_order),
            ("closed_with_operations_in_flight", || {
                completions::closed_in_flight(PROGRAM);
            }),
            ("long_messages", || completions::long_messages(PROGRAM, 1)),
        ],
    )
}

/// More clients send than there are buffers: each of them gets its bytes all the same.
fn an_empty_buffer_ring() {
    let server = OwnServer::start(PROGRAM, "--trace --ring-buffers 2");
    server.echo_of_many(16, 200_000);
    let (stats, trace) = server.stop();
    assert!(trace.contains("ENOBUFS"), "the ring was never empty");
    assert_eq!(stats["bytes_out"], 16 * 200_000);
}

/// A multishot may end with any completion; the server then submits it anew.
fn a_multishot_that_ends() {
    let server = OwnServer::start(PROGRAM, "--trace --entries 1");
    server.echo_of_many(16, 200_000);
    let (stats, trace) = server.stop();
    let brought_bytes = |line: &str| {
        let result = line.split_once("RECV_MULTISHOT has ended with ")?.1;
        Some(!result.starts_with('0'))
    };
    assert!(
        trace.lines().any(|line| brought_bytes(line) == Some(true)),
        "no receive ended before its client did"
    );
    assert_eq!(stats["accepted"], 16);
    assert_eq!(stats["closed"], 16);
    assert_eq!(stats["reset"], 0);
}

/// Many small requests are answered through many sends, never two of a client at once.
fn sends_in_order() {
    let server = OwnServer::start(PROGRAM, "--trace --buffer-size 64");
    let sent = pattern(2, 300_000);
    assert!(server.slow_echo(&sent) == sent, "it came back changed");
    let (_, trace) = server.stop();
    let sends: Vec<usize> = trace
        .lines()
        .filter_map(|line| line.split_once("wrote ")?.1.split(' ').next()?.parse().ok())
        .collect();
    assert!(
        sends.len() > 300_000 / 64,
        "they are small: {}",
        sends.len()
    );
    assert_eq!(sends.iter().sum::<usize>(), 300_000);
}
