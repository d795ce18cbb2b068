//! Heads and trailers that are long, or never end.

use supervisor::Mode::Http;

use super::answer::Http1;
use super::dialogue::{Dialogue, ask_once, post};
use super::refusals::{is_refusal, refused};
use crate::case::{Case, case, program_case};
use crate::outcome::{Outcome, ensure, failed, skipped};
use crate::target::Target;

pub const CASES: &[Case] = &[
    case(
        Http,
        "http::large_head",
        "a head of 8,000 bytes is served, one of 9,000 gets 431",
        large_head,
    ),
    case(
        Http,
        "http::many_fields",
        "500 header fields: 431",
        many_fields,
    ),
    case(
        Http,
        "http::endless_head",
        "500,000 bytes of head without an end: 431, and no reset destroys it",
        endless_head,
    ),
    case(
        Http,
        "http::endless_target",
        "a request line without an end: 431 or 414",
        endless_target,
    ),
    case(
        Http,
        "http::endless_trailers",
        "trailers without an end: refused",
        endless_trailers,
    ),
    program_case(
        Http,
        "http::endless_empty_lines",
        "empty lines without end before a request: refused",
        endless_empty_lines,
    ),
    program_case(
        Http,
        "http::small_buffer",
        "--buffer-size 1: a head still fits",
        small_buffer,
    ),
];

/// A head of exactly `size` bytes.
fn head_of(size: usize) -> String {
    let (start, end) = ("GET / HTTP/1.1\r\nHost: a\r\nFill: ", "\r\n\r\n");
    format!("{start}{}{end}", "x".repeat(size - start.len() - end.len()))
}

/// 431 by the server contract; a foreign server may have larger limits, and refuse with any 4xx (RFC 9110, 5.4).
fn too_large(target: &Target, request: &str) -> Outcome {
    if target.keeps_contract() {
        return refused(target, 431, &[request]);
    }
    let server = target.serve(Http)?;
    let mut dialogue = Dialogue::new(target, &server)?;
    dialogue.send(request)?;
    let answer = dialogue.answer(false)?;
    match answer.status {
        200 => dialogue.goes_on(),
        400..500 => dialogue.client.expect_end(),
        _ => failed("200 or a status of 4xx", &answer),
    }
}

fn large_head(target: &Target) -> Outcome {
    let server = target.serve(Http)?;
    let mut dialogue = Dialogue::new(target, &server)?;
    for _ in 0..5 {
        dialogue.send(&head_of(8_000))?;
        dialogue.expect_status(200)?;
    }
    too_large(target, &head_of(9_000))
}

fn many_fields(target: &Target) -> Outcome {
    let fields = "A: b\r\n".repeat(500);
    too_large(
        target,
        &format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n"),
    )
}

/// Sends a request that may be refused before its end, and reads the answer.
fn refused_before_the_end(target: &Target, statuses: &[u16], start: &str, on: &str) -> Outcome {
    let server = target.serve(Http)?;
    let mut client = server.connect()?;
    client.send(start.as_bytes())?;
    // A server discards at least this many bytes after an error, so there is no reset.
    client.send(on.repeat(500_000 / on.len()).as_bytes())?;
    let answer = client.answer(false)?;
    if !target.keeps_contract() && answer.status < 400 {
        return skipped("it answers before the end of a request");
    }
    ensure(
        is_refusal(target, statuses, &answer),
        format!("status {statuses:?}"),
        &answer,
    )?;
    client.expect_gone()?;
    ask_once(&server)
}

fn endless_head(target: &Target) -> Outcome {
    refused_before_the_end(
        target,
        &[431],
        "GET / HTTP/1.1\r\nHost: a\r\n",
        "Field: value\r\n",
    )
}

fn endless_target(target: &Target) -> Outcome {
    refused_before_the_end(target, &[431, 414], "GET /", "and/so/on/")
}

fn endless_trailers(target: &Target) -> Outcome {
    let start = post("Transfer-Encoding: chunked", "0\r\n");
    refused_before_the_end(target, &[400, 431], &start, "Field: value\r\n")
}

fn endless_empty_lines(target: &Target) -> Outcome {
    refused_before_the_end(target, &[400], "", "\r\n")
}

fn small_buffer(target: &Target) -> Outcome {
    let server = target.start(Http).flags(&["--buffer-size", "1"])?.ready()?;
    let mut dialogue = Dialogue::new(target, &server)?;
    dialogue.send(&head_of(8_000))?;
    dialogue.expect_status(200)?;
    dialogue.goes_on()
}
