//! The mode `once`: one answer to the first bytes, and no reset that destroys it.

use std::time::Duration;

use crate::case::{Case, case, program_case};
use crate::client::{Client, pattern};
use crate::outcome::{NotPassed, Outcome, ensure};
use crate::patience::eventually;
use crate::target::Target;
use supervisor::Mode::Once;

pub const CASES: &[Case] = &[
    case(
        Once,
        "once::answer",
        "the answer to the first bytes, then the server closes",
        answer,
    ),
    case(Once, "once::first_byte", "one byte is enough", first_byte),
    case(
        Once,
        "once::waits_for_the_client",
        "no answer before the client has said something",
        waits_for_the_client,
    ),
    case(
        Once,
        "once::silent_half_close",
        "a client that half-closes and sends nothing: the connection ends",
        silent_half_close,
    ),
    case(
        Once,
        "once::long_request",
        "unread input does not turn the answer into a reset",
        long_request,
    ),
    case(
        Once,
        "once::request_with_end",
        "request and end of input in one packet",
        request_with_end,
    ),
    case(
        Once,
        "once::answers_once",
        "what follows the first bytes is not answered",
        answers_once,
    ),
    case(
        Once,
        "once::many_clients",
        "300 clients, one after the other",
        many_clients,
    ),
    case(
        Once,
        "once::closes_for_good",
        "a client that never closes: seconds after the answer its connection is gone",
        closes_for_good,
    ),
    program_case(
        Once,
        "once::lingering_ends",
        "a client that never closes does not keep others waiting",
        lingering_ends,
    ),
];

const ANSWER: &[u8] = b"Hello from server!\n";

/// Reads the one answer.
pub fn expect_answer(client: &mut Client) -> Outcome {
    client.expect(ANSWER).map_err(|outcome| match outcome {
        NotPassed::Failed { seen, .. } => NotPassed::Failed {
            expected: "the answer `Hello from server!`".into(),
            seen,
        },
        other => other,
    })
}

fn answer(target: &Target) -> Outcome {
    let server = target.serve(Once)?;
    let mut client = server.connect()?;
    client.send(b"Hello from client!\n")?;
    expect_answer(&mut client)?;
    client.expect_end()
}

fn first_byte(target: &Target) -> Outcome {
    let server = target.serve(Once)?;
    let mut client = server.connect()?;
    client.send(b"?")?;
    expect_answer(&mut client)?;
    client.expect_end()
}

fn waits_for_the_client(target: &Target) -> Outcome {
    target.require_silence()?;
    let server = target.serve_many(Once, 2)?;
    let mut silent = server.connect()?;
    // While others are served, the server has time to answer this one by mistake.
    for _ in 0..20 {
        let mut client = server.connect()?;
        client.send(b"hi")?;
        expect_answer(&mut client)?;
    }
    ensure(
        !silent.has_news()?,
        "silence before the first byte",
        "an answer or the end",
    )?;
    silent.send(b"now")?;
    expect_answer(&mut silent)?;
    silent.expect_end()
}

fn silent_half_close(target: &Target) -> Outcome {
    let server = target.serve(Once)?;
    let client = server.connect()?;
    client.half_close()?;
    client.expect_end()
}

fn long_request(target: &Target) -> Outcome {
    let server = target.serve(Once)?;
    for size in [20_000, 100_000, 300_000] {
        let mut client = server.connect()?;
        client.send(&pattern(1, size))?;
        expect_answer(&mut client)?;
        client.expect_end()?;
    }
    Ok(())
}

fn request_with_end(target: &Target) -> Outcome {
    let server = target.serve(Once)?;
    for _ in 0..20 {
        let mut client = server.connect()?;
        client.send_and_half_close_at_once(b"hello and goodbye")?;
        expect_answer(&mut client)?;
        client.expect_end()?;
    }
    Ok(())
}

fn answers_once(target: &Target) -> Outcome {
    let server = target.serve(Once)?;
    let mut client = server.connect()?;
    client.send(b"one")?;
    expect_answer(&mut client)?;
    // The connection may be closed already.
    let _ = client.send(b"two");
    client.expect_end()
}

fn many_clients(target: &Target) -> Outcome {
    let server = target.serve(Once)?;
    for _ in 0..300 {
        let mut client = server.connect()?;
        client.send(b"hello")?;
        expect_answer(&mut client)?;
        client.expect_end()?;
    }
    Ok(())
}

fn closes_for_good(target: &Target) -> Outcome {
    /// The contract says a second; a foreign server may discard input for longer.
    const LINGERS: Duration = Duration::from_millis(2_500);
    let server = target.serve(Once)?;
    let mut client = server.connect()?;
    client.send(b"hello")?;
    expect_answer(&mut client)?;
    std::thread::sleep(LINGERS);
    // The first byte is answered by a reset, which a later `send` reports.
    eventually(server.patience, "the connection is closed for good", || {
        client.send(b"?").is_err()
    })
}

fn lingering_ends(target: &Target) -> Outcome {
    let server = target
        .start(Once)
        .flags(&["--max-connections", "1"])?
        .ready()?;
    let mut keeps = server.connect()?;
    keeps.send(b"hello")?;
    expect_answer(&mut keeps)?;
    let mut next = server.connect()?;
    next.send(b"hello")?;
    expect_answer(&mut next)
}
