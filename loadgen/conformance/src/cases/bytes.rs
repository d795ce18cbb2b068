//! Every byte comes back, in order, and no other client's bytes.

use crate::case::{Case, case, program_case};
use crate::client::{Slices, in_parallel, pattern};
use crate::outcome::{Outcome, ensure};
use crate::target::Target;
use supervisor::Mode::Echo;

pub const CASES: &[Case] = &[
    case(
        Echo,
        "bytes::none",
        "a client that half-closes at once gets nothing but the end",
        none,
    ),
    case(Echo, "bytes::one", "1 byte", |target| size(target, 1)),
    case(Echo, "bytes::size_9_999", "9,999 bytes", |target| {
        size(target, 9_999)
    }),
    case(Echo, "bytes::size_10_000", "10,000 bytes", |target| {
        size(target, 10_000)
    }),
    case(Echo, "bytes::size_10_001", "10,001 bytes", |target| {
        size(target, 10_001)
    }),
    case(
        Echo,
        "bytes::size_100_000",
        "100,000 bytes, more than any buffer",
        |target| size(target, 100_000),
    ),
    case(
        Echo,
        "bytes::eight_mib",
        "8 MiB, more than the kernel keeps as well",
        |target| size(target, 8 << 20),
    ),
    case(
        Echo,
        "bytes::every_value",
        "each of the 256 byte values alone: none has a meaning of its own",
        every_value,
    ),
    case(
        Echo,
        "bytes::around_16_kib",
        "sizes just around the usual buffer",
        around_16_kib,
    ),
    program_case(
        Echo,
        "bytes::around_the_buffer",
        "sizes just around a buffer of 512 bytes",
        around_the_buffer,
    ),
    program_case(
        Echo,
        "bytes::buffer_of_one_byte",
        "the smallest buffer there is",
        buffer_of_one_byte,
    ),
    case(
        Echo,
        "bytes::no_rest_of_a_longer_message",
        "a short message after a long one comes back alone",
        short_after_long,
    ),
    case(
        Echo,
        "bytes::one_byte_slices",
        "2,000 bytes, each sent by itself",
        one_byte_slices,
    ),
    case(
        Echo,
        "bytes::coalesced_writes",
        "1,000 messages in one write",
        coalesced_writes,
    ),
    case(
        Echo,
        "bytes::random_slices",
        "random slices in both directions",
        random_slices,
    ),
    case(
        Echo,
        "bytes::ping_pong",
        "1,200 messages of changing size, each after the answer to the last",
        ping_pong,
    ),
    case(
        Echo,
        "bytes::small_windows",
        "300,000 bytes through the smallest socket buffers",
        small_windows,
    ),
    case(
        Echo,
        "bytes::several_clients",
        "8 clients at once, each with its own 100,000 bytes",
        |target| at_once(target, 8, 100_000),
    ),
    case(
        Echo,
        "bytes::sixty_four_clients",
        "64 clients at once, each with its own bytes",
        |target| at_once(target, 64, 20_000),
    ),
    case(
        Echo,
        "bytes::clients_in_turn",
        "messages of 8 clients interleaved, answers to the right ones",
        clients_in_turn,
    ),
    case(
        Echo,
        "bytes::urgent_data",
        "an urgent byte does not disturb the others",
        urgent_data,
    ),
];

fn none(target: &Target) -> Outcome {
    size(target, 0)
}

fn size(target: &Target, size: usize) -> Outcome {
    target
        .serve(Echo)?
        .connect()?
        .exchange(&pattern(1, size), Slices::Whole)
}

fn every_value(target: &Target) -> Outcome {
    let server = target.serve(Echo)?;
    let mut client = server.connect()?;
    (0..=u8::MAX).try_for_each(|byte| client.round_trip(&[byte]))?;
    client.half_close()?;
    client.expect_end()
}

fn around_16_kib(target: &Target) -> Outcome {
    let server = target.serve(Echo)?;
    for size in [16_383, 16_384, 16_385, 32_767, 32_768, 32_769] {
        server
            .connect()?
            .exchange(&pattern(2, size), Slices::Whole)?;
    }
    Ok(())
}

fn around_the_buffer(target: &Target) -> Outcome {
    let server = target
        .start(Echo)
        .flags(&["--buffer-size", "512"])?
        .ready()?;
    for size in [511, 512, 513, 1_023, 1_024, 1_025, 100_000] {
        server
            .connect()?
            .exchange(&pattern(3, size), Slices::Whole)?;
    }
    // The same on one connection: the buffer becomes full, empty and full again.
    let mut client = server.connect()?;
    for size in [512, 511, 513, 512, 1_024, 1] {
        client.round_trip(&pattern(4, size))?;
    }
    Ok(())
}

fn buffer_of_one_byte(target: &Target) -> Outcome {
    let server = target.start(Echo).flags(&["--buffer-size", "1"])?.ready()?;
    server
        .connect()?
        .exchange(&pattern(5, 3_000), Slices::Whole)
}

fn short_after_long(target: &Target) -> Outcome {
    let server = target.serve(Echo)?;
    let mut client = server.connect()?;
    client.round_trip(&pattern(6, 10_000))?;
    client.round_trip(&pattern(7, 10))?;
    client.half_close()?;
    client.expect_end()
}

fn one_byte_slices(target: &Target) -> Outcome {
    target
        .serve(Echo)?
        .connect()?
        .exchange(&pattern(8, 2_000), Slices::Of(1))
}

fn coalesced_writes(target: &Target) -> Outcome {
    let messages: Vec<u8> = (0..1_000).flat_map(|i| pattern(i, 7)).collect();
    let server = target.serve(Echo)?;
    let mut client = server.connect()?;
    client.round_trip(&messages)?;
    client.half_close()?;
    client.expect_end()
}

fn random_slices(target: &Target) -> Outcome {
    let server = target.serve(Echo)?;
    for seed in 0..4 {
        let slices = Slices::Random {
            seed,
            most: [3, 100, 3_000, 60_000][seed as usize],
        };
        let length = [5_000, 50_000, 500_000, 2_000_000][seed as usize];
        server.connect()?.exchange(&pattern(seed, length), slices)?;
    }
    Ok(())
}

fn ping_pong(target: &Target) -> Outcome {
    let server = target.serve(Echo)?;
    let mut client = server.connect()?;
    // More than 1,000: some servers close a connection after a round number of messages.
    for i in 0..1_200 {
        client.round_trip(&pattern(i, 1 + (i as usize * 37) % 4_000))?;
    }
    client.half_close()?;
    client.expect_end()
}

fn small_windows(target: &Target) -> Outcome {
    let server = target.serve(Echo)?;
    let client = server.connect()?;
    client.set_buffers(16_384)?;
    client.exchange(
        &pattern(9, 300_000),
        Slices::Random {
            seed: 9,
            most: 2_000,
        },
    )
}

/// All connections are open before the first byte is sent.
fn at_once(target: &Target, clients: usize, size: usize) -> Outcome {
    let server = target.serve_many(Echo, clients)?;
    let clients = server.connect_many(clients)?;
    in_parallel(clients, |seed, client| {
        client.exchange(&pattern(seed, size), Slices::Random { seed, most: 5_000 })
    })
}

fn clients_in_turn(target: &Target) -> Outcome {
    let server = target.serve_many(Echo, 8)?;
    let mut clients = server.connect_many(8)?;
    for round in 0..50 {
        let message = |i: usize| pattern((round * 8 + i) as u64, 100 + i);
        for (i, client) in clients.iter_mut().enumerate() {
            client.send(&message(i))?;
        }
        for (i, client) in clients.iter_mut().enumerate().rev() {
            client.expect(&message(i))?;
        }
    }
    clients.into_iter().try_for_each(|client| {
        client.half_close()?;
        client.expect_end()
    })
}

fn urgent_data(target: &Target) -> Outcome {
    let server = target.serve(Echo)?;
    let mut client = server.connect()?;
    client.round_trip(b"before")?;
    client.send_urgent(b'!')?;
    client.send(b"after")?;
    client.half_close()?;
    // A server may take the urgent byte in line with the others, or leave it aside.
    let answer = client.read_to_end()?;
    let right = answer == b"after" || answer == b"!after";
    ensure(
        right,
        "`after`, with or without the urgent `!` before it",
        format!("{:?}", String::from_utf8_lossy(&answer)),
    )
}
