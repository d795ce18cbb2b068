//! Requests with a body, which is read and dropped.

use supervisor::Mode::Http;

use super::dialogue::{Dialogue, POST, named, not_allowed, post, send_bytes, taken};
use crate::case::{Case, case};
use crate::outcome::{Outcome, ensure, failed};
use crate::target::Target;

pub const CASES: &[Case] = &[
    case(
        Http,
        "http::body_of_known_length",
        "a body with Content-Length is dropped: 405 with Allow, then the next request",
        body_of_known_length,
    ),
    case(
        Http,
        "http::large_body",
        "a body of 1 MiB is dropped",
        large_body,
    ),
    case(
        Http,
        "http::chunked_body",
        "a chunked body with extensions and trailers is dropped",
        chunked_body,
    ),
    case(
        Http,
        "http::chunked_byte_by_byte",
        "a chunked body whose bytes come one by one",
        chunked_byte_by_byte,
    ),
    case(
        Http,
        "http::get_with_body",
        "the body of a GET is not taken for a request",
        get_with_body,
    ),
    case(
        Http,
        "http::expect_continue",
        "Expect: 100-continue: 100 before the body, or a final answer and the end",
        expect_continue,
    ),
];

fn body_of_known_length(target: &Target) -> Outcome {
    let server = target.serve(Http)?;
    let mut dialogue = Dialogue::new(target, &server)?;
    dialogue.send(POST)?;
    not_allowed(target, &mut dialogue)?;
    dialogue.send(&post("Content-Length: 0", ""))?;
    not_allowed(target, &mut dialogue).map(drop)
}

fn large_body(target: &Target) -> Outcome {
    let server = target.serve(Http)?;
    let mut dialogue = Dialogue::new(target, &server)?;
    dialogue.send("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 1048576\r\n\r\n")?;
    taken(target, dialogue.client.send(&vec![b'x'; 1 << 20]))?;
    not_allowed(target, &mut dialogue).map(drop)
}

const CHUNKED_FULLY: &str = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n\
    00a;name=value;other=\"a;b\"\r\n0123456789\r\n1F\r\nGET / HTTP/1.1\r\nHost: chunked\r\n\r\n\
    0\r\nTrailer: one\r\nAnother: two\r\n\r\n";

fn chunked_body(target: &Target) -> Outcome {
    let server = target.serve(Http)?;
    let mut dialogue = Dialogue::new(target, &server)?;
    dialogue.send(&post("Content-Length: 0", ""))?;
    let plain = not_allowed(target, &mut dialogue)?.status;
    // Each uses something of the grammar that a parser may lack.
    for (coding, body) in [
        ("chunked", "5\r\nhello\r\n0\r\n\r\n"),
        ("Chunked", "5\r\nhello\r\n0\r\n\r\n"),
        ("chunked", "0a\r\n0123456789\r\n0\r\n\r\n"),
        ("chunked", "A\r\n0123456789\r\n00\r\n\r\n"),
        (
            "chunked",
            "5;name=value;other=\"a;b\"\r\nhello\r\n0;last\r\n\r\n",
        ),
        (
            "chunked",
            "5\r\nhello\r\n0\r\nTrailer: one\r\nAnother: two\r\n\r\n",
        ),
    ] {
        let request = post(&format!("Transfer-Encoding: {coding}"), body);
        dialogue
            .send(&request)
            .and_then(|()| dropped(target, &mut dialogue, plain))
            .map_err(|outcome| outcome.about(named(&request)))?;
    }
    dialogue.send(CHUNKED_FULLY)?;
    dropped(target, &mut dialogue, plain)
}

/// A foreign server that does not know the method answers 501 to all its requests: then the coding is not the cause.
fn dropped(target: &Target, dialogue: &mut Dialogue<'_>, plain: u16) -> Outcome {
    let answer = not_allowed(target, dialogue)?;
    let is_known = answer.status != 501 || plain == 501;
    ensure(is_known, "chunked is a known coding", &answer)
}

fn chunked_byte_by_byte(target: &Target) -> Outcome {
    let server = target.serve(Http)?;
    let mut dialogue = Dialogue::new(target, &server)?;
    send_bytes(target, &mut dialogue.client, CHUNKED_FULLY)?;
    not_allowed(target, &mut dialogue).map(drop)
}

fn get_with_body(target: &Target) -> Outcome {
    let server = target.serve(Http)?;
    let mut dialogue = Dialogue::new(target, &server)?;
    let body = "GET /smuggled HTTP/1.1\r\n\r\n";
    let head = "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 26\r\n\r\n";
    dialogue.send(&format!("{head}{body}"))?;
    dialogue.expect_status(200)?;
    dialogue.goes_on()?;
    dialogue.end()
}

fn expect_continue(target: &Target) -> Outcome {
    let server = target.serve(Http)?;
    let mut dialogue = Dialogue::new(target, &server)?;
    dialogue.send(&post("Content-Length: 5\r\nExpect: 100-continue", ""))?;
    let first = dialogue.answer(false)?;
    match first.status {
        100 => {
            dialogue.client.send(b"hello")?;
            not_allowed(target, &mut dialogue).map(drop)
        }
        // The final answer before the body: the client may still send it or not, so the connection must close.
        405 if first.says_close() => dialogue.client.expect_end(),
        200.. if !target.keeps_contract() && first.says_close() => dialogue.client.expect_end(),
        // It has not waited for the body. The client may send it all the same, and it must be read.
        200.. if !target.keeps_contract() => {
            dialogue.send("hello")?;
            dialogue.goes_on()
        }
        _ => failed("100, or 405 with Connection: close", &first),
    }
}
