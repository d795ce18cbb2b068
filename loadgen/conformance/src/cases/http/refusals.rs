//! Wrong requests: the status, and the end of the connection.

use supervisor::Mode::Http;

use super::answer::{Answer, Http1};
use super::dialogue::{Dialogue, GET, answers, ask_once, named, post};
use crate::case::{Case, case, program_case};
use crate::client::pattern;
use crate::outcome::{Outcome, ensure, failed};
use crate::target::Target;

pub const CASES: &[Case] = &[
    case(
        Http,
        "http::missing_host",
        "HTTP/1.1 without Host: 400",
        |target| refused(target, 400, &["GET / HTTP/1.1\r\n\r\n"]),
    ),
    case(
        Http,
        "http::double_host",
        "two Host fields: 400",
        |target| {
            refused(
                target,
                400,
                &[
                    "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
                    "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
                ],
            )
        },
    ),
    case(
        Http,
        "http::both_framings",
        "Content-Length beside Transfer-Encoding: 400",
        both_framings,
    ),
    case(
        Http,
        "http::differing_lengths",
        "two Content-Lengths that differ: 400",
        differing_lengths,
    ),
    case(
        Http,
        "http::odd_lengths",
        "a Content-Length with a sign, in hexadecimal, too large or empty: 400",
        odd_lengths,
    ),
    case(
        Http,
        "http::chunked_not_last",
        "a transfer coding after chunked: 400",
        chunked_not_last,
    ),
    case(
        Http,
        "http::unknown_coding",
        "a transfer coding that is not known: 501",
        unknown_coding,
    ),
    case(
        Http,
        "http::bad_chunks",
        "malformed chunks: 400",
        bad_chunks,
    ),
    case(
        Http,
        "http::malformed_head",
        "malformed heads: 400",
        malformed_head,
    ),
    case(
        Http,
        "http::lenient_or_not",
        "bare LF and folded lines: one answer, 200 or 400, and no desync",
        lenient_or_not,
    ),
    program_case(
        Http,
        "http::fragments_and_raw_bytes",
        "a fragment or a byte above 0x7f in the target: 400",
        fragments_and_raw_bytes,
    ),
    case(
        Http,
        "http::another_version",
        "HTTP/2.0 and others: 505",
        another_version,
    ),
    case(
        Http,
        "http::error_after_good",
        "a good request before a bad one is answered first",
        error_after_good,
    ),
    case(
        Http,
        "http::error_with_unread_input",
        "what follows a bad head does not turn the 400 into a reset",
        error_with_unread_input,
    ),
    case(
        Http,
        "http::binary_rubbish",
        "bytes that are no HTTP at all: 400 or the end",
        binary_rubbish,
    ),
];

/// One of `statuses` by the server contract; a foreign server may object to another fault of the request first.
pub fn is_refusal(target: &Target, statuses: &[u16], answer: &Answer) -> bool {
    statuses.contains(&answer.status) || !target.keeps_contract() && answer.status >= 400
}

/// Each of `requests` gets this status, and then the connection closes.
pub fn refused(target: &Target, status: u16, requests: &[&str]) -> Outcome {
    let server = target.serve(Http)?;
    for request in requests {
        let attempt = || {
            let mut client = server.connect()?;
            client.send(request.as_bytes())?;
            let answer = client.answer(false)?;
            let right = is_refusal(target, &[status], &answer);
            ensure(right, format!("status {status}"), &answer)?;
            client.expect_end()
        };
        attempt().map_err(|outcome| outcome.about(named(request)))?;
    }
    ask_once(&server)
}

/// The same for requests whose fields differ.
fn refused_fields(target: &Target, status: u16, fields: &[&str]) -> Outcome {
    let requests: Vec<String> = fields
        .iter()
        .map(|fields| post(fields, "0\r\n\r\n"))
        .collect();
    let requests: Vec<&str> = requests.iter().map(String::as_str).collect();
    refused(target, status, &requests)
}

fn both_framings(target: &Target) -> Outcome {
    refused_fields(
        target,
        400,
        &[
            "Content-Length: 5\r\nTransfer-Encoding: chunked",
            "Transfer-Encoding: chunked\r\nContent-Length: 5",
            "transfer-encoding: chunked\r\ncontent-length: 0",
        ],
    )
}

fn differing_lengths(target: &Target) -> Outcome {
    refused_fields(
        target,
        400,
        &[
            "Content-Length: 5\r\nContent-Length: 6",
            "Content-Length: 5, 6",
            "Content-Length: 0\r\nContent-Length: 5",
        ],
    )
}

fn odd_lengths(target: &Target) -> Outcome {
    refused_fields(
        target,
        400,
        &[
            "Content-Length: +5",
            "Content-Length: -5",
            "Content-Length: 0x5",
            "Content-Length: 5a",
            "Content-Length: 5 5",
            "Content-Length: 99999999999999999999999",
            "Content-Length:",
            "Content-Length: ,",
        ],
    )
}

fn chunked_not_last(target: &Target) -> Outcome {
    refused_fields(
        target,
        400,
        &[
            "Transfer-Encoding: chunked, gzip",
            "Transfer-Encoding: chunked, chunked",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: gzip",
        ],
    )
}

fn unknown_coding(target: &Target) -> Outcome {
    refused_fields(
        target,
        501,
        &[
            "Transfer-Encoding: gzip, chunked",
            "Transfer-Encoding: x-unknown, chunked",
            "Transfer-Encoding: xchunked, chunked",
        ],
    )
}

fn bad_chunks(target: &Target) -> Outcome {
    let bodies = [
        "zz\r\n",
        "-5\r\nhello\r\n",
        "+5\r\nhello\r\n",
        "0x5\r\nhello\r\n",
        " 5\r\nhello\r\n",
        "\r\nhello\r\n",
        "5\r\nhelloworld\r\n",
        "5\r\nhelloXX0\r\n\r\n",
        "ffffffffffffffffff\r\n",
        "5\rhello\r\n",
        "fffffffffffffffff0\r\n",
    ];
    let requests: Vec<String> = bodies
        .iter()
        .map(|body| post("Transfer-Encoding: chunked", body))
        .collect();
    let requests: Vec<&str> = requests.iter().map(String::as_str).collect();
    refused(target, 400, &requests)
}

fn malformed_head(target: &Target) -> Outcome {
    // This one must be refused (RFC 9112, 5.1). A foreign server may accept the others.
    refused(target, 400, &["GET / HTTP/1.1\r\nHost : a\r\n\r\n"])?;
    if !target.keeps_contract() {
        return Ok(());
    }
    refused(
        target,
        400,
        &[
            "GET\r\n\r\n",
            "GET /\r\nHost: a\r\n\r\n",
            " GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\n Host: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nNo colon\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\n: no name\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nNul: \0\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nBare: b\rc\r\n\r\n",
            "GE(T / HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET / HTTX/1.1\r\nHost: a\r\n\r\n",
        ],
    )
}

fn lenient_or_not(target: &Target) -> Outcome {
    let server = target.serve(Http)?;
    for request in [
        "GET / HTTP/1.1\nHost: a\n\n",
        "GET / HTTP/1.1\r\nHost: a\r\nFolded: one\r\n two\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
    ] {
        let attempt = || {
            let mut dialogue = Dialogue::new(target, &server)?;
            dialogue.send(request)?;
            let answer = dialogue.answer(false)?;
            match answer.status {
                200 => dialogue.goes_on(),
                400 => dialogue.client.expect_end(),
                _ => failed("200 or 400", &answer),
            }
        };
        attempt().map_err(|outcome| outcome.about(named(request)))?;
    }
    Ok(())
}

fn fragments_and_raw_bytes(target: &Target) -> Outcome {
    refused(
        target,
        400,
        &[
            "GET /#top HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET /a?b#c HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET /caf\u{e9} HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET /?name=\u{65e5}\u{672c} HTTP/1.1\r\nHost: a\r\n\r\n",
        ],
    )
}

fn another_version(target: &Target) -> Outcome {
    refused(
        target,
        505,
        &[
            "GET / HTTP/2.0\r\nHost: a\r\n\r\n",
            "GET / HTTP/3.0\r\nHost: a\r\n\r\n",
            "GET / HTTP/0.9\r\nHost: a\r\n\r\n",
        ],
    )
}

fn error_after_good(target: &Target) -> Outcome {
    let server = target.serve(Http)?;
    let mut dialogue = Dialogue::new(target, &server)?;
    dialogue.send(&format!("{GET}{GET}nonsense\r\n\r\n{GET}"))?;
    answers(target, &mut dialogue, &[true, true])?;
    dialogue.expect_status(400)?;
    dialogue.client.expect_end()
}

fn error_with_unread_input(target: &Target) -> Outcome {
    let server = target.serve(Http)?;
    for _ in 0..5 {
        let mut client = server.connect()?;
        client.send(format!("nonsense\r\n\r\n{}", "x".repeat(300_000)).as_bytes())?;
        client.expect_status(400)?;
        client.expect_end()?;
    }
    Ok(())
}

fn binary_rubbish(target: &Target) -> Outcome {
    let server = target.serve(Http)?;
    for seed in 0..20 {
        let mut client = server.connect()?;
        // The server may have closed before all is sent.
        let _ = client.send(&pattern(seed, 3_000));
        let _ = client.half_close();
        client.expect_gone()?;
    }
    ask_once(&server)
}
