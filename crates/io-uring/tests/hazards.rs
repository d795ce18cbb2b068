//! Here everything happens that can go wrong with completions, and no byte is lost. The trace shows
//! that it happened.

use std::process::ExitCode;

use conformance::{OwnServer, completions, pattern};

const PROGRAM: &str = env!("CARGO_BIN_EXE_io-uring-server");

fn main() -> ExitCode {
    completions::run(
        uring::IoUring::new(1).is_err(),
        [
            ("short_sends", short_sends),
            ("a_full_completion_queue", || {
                completions::full_queue(PROGRAM, 2);
            }),
            ("closed_with_operations_in_flight", || {
                completions::closed_in_flight(PROGRAM);
            }),
            // The first poll is for its first byte.
            ("long_messages", || completions::long_messages(PROGRAM, 2)),
        ],
    )
}

/// The kernel takes a part of what waits to be sent: the rest is sent before anything else.
fn short_sends() {
    let server = OwnServer::start(PROGRAM, "--trace --buffer-size 1MiB");
    // More than all buffers on the way take, so that the kernel cannot take all that is sent.
    let sent = pattern(1, 24 << 20);
    assert!(server.slow_echo(&sent) == sent, "it came back changed");
    let (_, trace) = server.stop();
    // One operation at a time: two sends in a row are one send and the rest of it.
    let moves: Vec<&str> = trace
        .lines()
        .filter_map(|line| {
            ["read", "wrote"]
                .into_iter()
                .find(|verb| line.contains(verb))
        })
        .collect();
    let short = moves.windows(2).any(|pair| pair == ["wrote", "wrote"]);
    assert!(short, "every send was whole");
}
