//! The http mode, rule by rule; section numbers are those of RFC 9112 unless another is named.

mod reference;
mod streams;

use proptest::prelude::*;
use serverkit::Mode;
use serverkit::session::Session;

use std::time::{Duration, Instant};

use crate::kernel::{Driver, Kernel, Outcome, drive, drivers, turns};

const HEAD_LIMIT: usize = 8192;
const CONTINUE: &str = "HTTP/1.1 100 Continue\r\n\r\n";
const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

fn session() -> Session {
    crate::kernel::session(Mode::Http, 16 * 1024)
}

/// Reads all of these bytes before any is answered.
fn read(session: &mut Session, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        let space = session.read_space();
        let n = bytes.len().min(space.len());
        space[..n].copy_from_slice(&bytes[..n]);
        bytes = &bytes[n..];
        session.did_read(n, Instant::now());
    }
}

/// Sends all at once over a connection that stays open.
fn send(input: &str) -> Outcome {
    let kernel = Kernel::new(input.as_bytes(), false, vec![]);
    drive(session(), kernel, Driver::Level, None)
}

fn text(outcome: &Outcome) -> &str {
    std::str::from_utf8(&outcome.output).unwrap()
}

/// The statuses of the answers; "closed" follows when the server has shut down its side.
fn statuses(input: &str) -> String {
    let outcome = send(input);
    let mut statuses: Vec<&str> = text(&outcome)
        .lines()
        .filter_map(|line| line.strip_prefix("HTTP/1.1 ")?.get(..3))
        .collect();
    if outcome.shut_down {
        statuses.push("closed");
    }
    statuses.join(" ")
}

/// One request with these fields, and its answer's status.
fn ask(line: &str, fields: &str) -> String {
    statuses(&format!("{line}\r\n{fields}\r\n"))
}

fn post(fields: &str, body: &str) -> String {
    statuses(&format!(
        "POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n{body}{GET}"
    ))
}

fn chunked(body: &str) -> String {
    post("Transfer-Encoding: chunked\r\n", body)
}

#[test]
fn get_is_answered_with_a_short_text() {
    let outcome = send(GET);
    assert_eq!(
        text(&outcome),
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 19\r\n\r\n\
         Hello from server!\n"
    );
    assert_eq!(outcome.requests, 1);
}

#[test]
fn head_is_answered_as_get_without_the_body() {
    let get = send(GET);
    let head = send(&GET.replace("GET", "HEAD"));
    assert_eq!(
        Some(text(&head)),
        text(&get).strip_suffix("Hello from server!\n")
    );
    // Also where something is wrong with it.
    for wrong in [
        "HEAD / HTTP/1.1\r\n\r\n",
        "HEAD / HTTP/2.0\r\n\r\n",
        "HEAD / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
    ] {
        assert!(text(&send(wrong)).ends_with("\r\n\r\n"), "{wrong:?}");
    }
}

#[test]
fn a_bare_newline_before_a_request_is_refused_at_once() {
    // Not an empty line to pass over and wait behind.
    assert_eq!(statuses("\n"), "400 closed");
    assert_eq!(statuses("\r\n\n\r\n"), "400 closed");
}

#[test]
fn a_version_is_another_one_only_in_a_whole_line() {
    assert_eq!(statuses("GET / HTTP/2.0\r"), "");
    assert_eq!(statuses("GET / HTTP/2.0\r\n"), "505 closed");
    assert_eq!(statuses("GET / HTTP/2.0\rx"), "400 closed");
}

#[test]
fn methods_that_change_something_are_not_allowed() {
    for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"] {
        let outcome = send(&GET.replace("GET", method));
        assert!(text(&outcome).starts_with("HTTP/1.1 405 "), "{method}");
        assert!(text(&outcome).contains("\r\nAllow: GET, HEAD\r\n"));
        assert!(!outcome.shut_down);
    }
}

#[test]
fn other_methods_are_not_implemented() {
    for method in ["TRACE", "BREW", "get", "G", "M-SEARCH"] {
        let request = GET.replace("GET", method);
        assert_eq!(statuses(&(request + GET)), "501 200", "{method}");
    }
    assert_eq!(ask("CONNECT a:443 HTTP/1.1", "Host: a:443\r\n"), "501");
}

#[test]
fn bodies_are_dropped() {
    assert_eq!(post("Content-Length: 5\r\n", "hello"), "405 200");
    assert_eq!(post("Content-Length: 0\r\n", ""), "405 200");
    // It may look like a request.
    let length = format!("Content-Length: {}\r\n", GET.len());
    assert_eq!(post(&length, GET), "405 200");
    assert_eq!(chunked("5\r\nhello\r\n0\r\n\r\n"), "405 200");
    assert_eq!(chunked("0\r\n\r\n"), "405 200");
    assert_eq!(
        chunked("1A\r\nabcdefghijklmnopqrstuvwxyz\r\n1\r\nx\r\n000\r\n\r\n"),
        "405 200"
    );
    let get = GET.replace("\r\n\r\n", "\r\nContent-Length: 3\r\n\r\nabc");
    assert_eq!(
        statuses(&(get + GET)),
        "200 200",
        "any request may have one"
    );
    let large = "x".repeat(1_000_000);
    assert_eq!(post("Content-Length: 1000000\r\n", &large), "405 200");
    assert_eq!(
        chunked(&format!("f4240\r\n{large}\r\n0\r\n\r\n")),
        "405 200"
    );
}

#[test]
fn a_request_is_answered_when_its_body_has_come() {
    let head = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n";
    assert_eq!(statuses(&format!("{head}hell")), "");
    assert_eq!(statuses(&format!("{head}hello")), "405");
    let huge = u64::MAX.to_string();
    assert_eq!(statuses(&format!("{}x", head.replace('5', &huge))), "");
}

#[test]
fn chunk_extensions_and_trailers_are_dropped() {
    assert_eq!(
        chunked("5;a=b;c=\"d\"\r\nhello\r\n0 ; x\r\n\r\n"),
        "405 200"
    );
    assert_eq!(
        chunked("0\r\nContent-Length: 100\r\nB: c\r\n\r\n"),
        "405 200"
    );
}

#[test]
fn wrong_chunks_are_refused() {
    for wrong in [
        "\r\n\r\n",
        "g\r\n\r\n",
        "+1\r\nx\r\n0\r\n\r\n",
        "-1\r\nx\r\n0\r\n\r\n",
        "0x1\r\nx\r\n0\r\n\r\n",
        " 1\r\nx\r\n0\r\n\r\n",
        "1 \r\nx\r\n0\r\n\r\n",
        "1\nx\r\n0\r\n\r\n",
        "1\r\nxy\r\n0\r\n\r\n",
        "1\r\nx\n0\r\n\r\n",
        "1\r\nx0\r\n\r\n",
        "1;a\nb\r\nx\r\n0\r\n\r\n",
        "1;a\rb\r\nx\r\n0\r\n\r\n",
        "10000000000000000\r\n",
        "fffffffffffffffff\r\n",
        "0\r\nno colon\r\n\r\n",
        "0\r\n folded: x\r\n\r\n",
        "0\r\na: b\n\r\n",
    ] {
        assert_eq!(chunked(wrong), "400 closed", "{wrong:?}");
    }
    assert_eq!(chunked("ffffffffffffffff\r\n"), "", "2^64 - 1 is a number");
}

#[test]
fn chunk_lines_extensions_and_trailers_are_bounded() {
    let line = |n| format!("0;{}\r\n\r\n", "x".repeat(n));
    assert_eq!(chunked(&line(1000)), "405 200");
    assert_eq!(chunked(&line(1024)), "400 closed");
    assert_eq!(chunked(&format!("0;{}", "x".repeat(2000))), "400 closed");
    let chunk = format!("1;{}\r\nx\r\n", "x".repeat(999));
    let chunks = |n| chunk.repeat(n) + "0\r\n\r\n";
    assert_eq!(chunked(&chunks(8)), "405 200");
    assert_eq!(chunked(&chunks(9)), "400 closed");
    let trailer = |n| format!("0\r\na: {}\r\n\r\n", "x".repeat(n - 7));
    assert_eq!(chunked(&trailer(HEAD_LIMIT)), "405 200");
    assert_eq!(chunked(&trailer(HEAD_LIMIT + 1)), "431 closed");
    assert_eq!(
        chunked(&format!("0\r\n{}\r\n", "a: b\r\n".repeat(64))),
        "405 200"
    );
    assert_eq!(
        chunked(&format!("0\r\n{}\r\n", "a: b\r\n".repeat(65))),
        "431 closed"
    );
}

#[test]
fn requests_may_be_pipelined() {
    assert_eq!(statuses(&GET.repeat(3)), "200 200 200");
    assert_eq!(send(&GET.repeat(3)).requests, 3);
    let mixed = format!(
        "{}{}{GET}",
        GET.replace("GET", "HEAD"),
        GET.replace("GET", "PUT")
    );
    assert_eq!(statuses(&mixed), "200 405 200");
}

#[test]
fn answers_that_nobody_reads_are_bounded() {
    let mut session = session();
    let requests = GET.as_bytes().repeat(10_000);
    let mut unread = &requests[..];
    let mut answered = 0;
    while session.interest().read {
        let space = session.read_space();
        let n = space.len().min(unread.len());
        space[..n].copy_from_slice(&unread[..n]);
        unread = &unread[n..];
        session.did_read(n, Instant::now());
        answered += session.answer(u32::MAX);
        assert!(session.pending().len() <= 4096);
    }
    let taken = requests.len() - unread.len();
    assert!(
        taken < 32 * 1024,
        "{taken} bytes were read and not answered"
    );
    // Now it reads, and gets them all.
    let outcome = drive(
        session,
        Kernel::new(unread, false, vec![]),
        Driver::Edge,
        None,
    );
    assert_eq!(answered + outcome.requests, 10_000);
    assert_eq!(text(&outcome), text(&send(GET)).repeat(10_000));
}

#[test]
fn connections_are_kept_and_closed_as_the_client_asks() {
    let get = |version: &str, fields: &str| {
        let request = format!("GET / HTTP/{version}\r\nHost: a\r\n{fields}\r\n");
        statuses(&request.repeat(2))
    };
    assert_eq!(get("1.1", ""), "200 200");
    assert_eq!(get("1.1", "Connection: keep-alive\r\n"), "200 200");
    assert_eq!(get("1.1", "Connection: close\r\n"), "200 closed");
    assert_eq!(get("1.1", "connection:CLOSE\r\n"), "200 closed");
    assert_eq!(get("1.1", "Connection: x, ,Close ,y\r\n"), "200 closed");
    assert_eq!(
        get("1.1", "Connection: x\r\nConnection: close\r\n"),
        "200 closed"
    );
    assert_eq!(get("1.1", "Connection: closed, enclose\r\n"), "200 200");
    assert_eq!(
        get("1.1", "Connection: close, keep-alive\r\n"),
        "200 closed"
    );
    assert_eq!(get("1.0", ""), "200 closed");
    assert_eq!(get("1.0", "Connection: Keep-Alive\r\n"), "200 200");
    assert_eq!(get("1.0", "Connection: keep-alive, x\r\n"), "200 200");
    assert_eq!(
        get("1.0", "Connection: keep-alive, close\r\n"),
        "200 closed"
    );
}

#[test]
fn the_answer_tells_what_becomes_of_the_connection() {
    let connection = |request: &str| {
        text(&send(request))
            .lines()
            .find_map(|line| line.strip_prefix("Connection: "))
            .unwrap_or("")
            .to_owned()
    };
    assert_eq!(connection(GET), "");
    assert_eq!(connection("GET / HTTP/1.0\r\n\r\n"), "close");
    assert_eq!(
        connection("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"),
        "keep-alive"
    );
    assert_eq!(
        connection("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"),
        "close"
    );
    assert_eq!(connection("rubbish\r\n\r\n"), "close");
}

#[test]
fn a_client_that_waits_with_its_body_is_told_to_send_it() {
    let head = "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\nContent-Length: 5\r\n\r\n";
    assert_eq!(statuses(head), "100");
    assert_eq!(text(&send(head)), CONTINUE);
    assert_eq!(send(head).requests, 0, "it is no answer");
    assert_eq!(
        statuses(&format!("{head}h")),
        "",
        "it does not wait for leave"
    );
    assert_eq!(statuses(&format!("{head}hello{head}")), "405 100");
    let chunked = head.replace("Content-Length: 5", "Transfer-Encoding: chunked");
    assert_eq!(statuses(&chunked), "100");
    // Nothing to wait for (RFC 9110, 10.1.1).
    assert_eq!(statuses(&head.replace('5', "0")), "405");
    assert_eq!(statuses(&head.replace("HTTP/1.1", "HTTP/1.0")), "");
    let unknown = head.replace("100-Continue", "200-maybe");
    assert_eq!(statuses(&format!("{unknown}hello")), "405");
    let wrong = head.replace("Host: a\r\n", "");
    assert_eq!(statuses(&wrong), "400 closed", "its body is not wanted");
}

#[test]
fn all_forms_of_a_target_are_understood() {
    let ask = |line: &str| ask(&format!("{line} HTTP/1.1"), "Host: a\r\n");
    for target in [
        "/",
        "/a/b?c=d&e",
        "//",
        "/%20",
        "http://a",
        "http://a/b?c",
        "http://a:80?c",
        "HTTP://[::1]:80/",
        "x+y.z-1://a/",
    ] {
        assert_eq!(ask(&format!("GET {target}")), "200", "{target}");
    }
    assert_eq!(ask("OPTIONS *"), "405");
    for target in [
        "*",
        "a",
        "a:80",
        "?",
        "http:/a",
        "http://",
        "http:///",
        "http://:80/",
        "http://a b/",
        "http://u@a/",
        "http://a#b",
        "://a",
        "1x://a",
        "a/b://c",
    ] {
        assert_eq!(ask(&format!("GET {target}")), "400 closed", "{target}");
    }
    assert_eq!(ask("CONNECT /"), "400 closed");
    assert_eq!(ask("OPTIONS **"), "400 closed");
}

#[test]
fn empty_lines_before_a_request_are_passed_over() {
    assert_eq!(statuses(&format!("\r\n{GET}")), "200");
    assert_eq!(statuses(&format!("\r\n\r\n{GET}\r\n{GET}")), "200 200");
    assert_eq!(statuses(&"\r\n".repeat(100_000)), "400 closed");
    assert_eq!(statuses(&format!("\n{GET}")), "400 closed");
    assert_eq!(statuses("\rGET"), "400 closed");
}

#[test]
fn exactly_one_host_is_needed() {
    let get = |fields: &str| ask("GET / HTTP/1.1", fields);
    assert_eq!(get(""), "400 closed");
    assert_eq!(get("Host: a\r\nHost: a\r\n"), "400 closed");
    assert_eq!(get("Host: a\r\nX: y\r\nhOST: b\r\n"), "400 closed");
    assert_eq!(ask("GET http://a/ HTTP/1.1", ""), "400 closed");
    // HTTP/1.0 did not have it yet.
    assert_eq!(ask("GET / HTTP/1.0", ""), "200 closed");
    assert_eq!(
        ask("GET / HTTP/1.0", "Host: a\r\nHost: b\r\n"),
        "400 closed"
    );
    for host in [
        "",
        "a",
        "a:",
        "a:80",
        "1.2.3.4:5",
        "[::1]",
        "[::1]:80",
        "a_b-c.d~",
        "%41",
    ] {
        assert_eq!(get(&format!("Host: {host}\r\n")), "200", "{host}");
    }
    for host in [
        "a b", "a,b c", "a/b", "a:b", "a:80:80", "u@a", "[::1", "[]", "::1", "[::1]x", "a?",
        "\u{fc}",
    ] {
        assert_eq!(get(&format!("Host: {host}\r\n")), "400 closed", "{host}");
    }
}

#[test]
fn two_framings_are_refused() {
    let both = "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n";
    assert_eq!(post(both, "0\r\n\r\n"), "400 closed");
    let both = "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n";
    assert_eq!(post(both, "0\r\n\r\n"), "400 closed");
    // HTTP/1.0 knows no transfer codings (6.1).
    assert_eq!(
        ask("POST / HTTP/1.0", "Transfer-Encoding: chunked\r\n"),
        "400 closed"
    );
}

#[test]
fn lengths_are_digits_and_agree() {
    for length in ["5", "005", "5, 5", "5,5", "5\r\nContent-Length: 5", "5 "] {
        let fields = format!("Content-Length: {length}\r\n");
        assert_eq!(post(&fields, "hello"), "405 200", "{length:?}");
    }
    for length in [
        "",
        "+5",
        "-1",
        "-0",
        "5, 6",
        "5,",
        ",5",
        "5\r\nContent-Length: 6",
        "5;",
        "5 5",
        "0x5",
        "5.0",
        "1e1",
        "five",
        "18446744073709551616",
        "\u{665}",
    ] {
        let fields = format!("Content-Length: {length}\r\n");
        assert_eq!(post(&fields, "hello"), "400 closed", "{length:?}");
    }
}

#[test]
fn chunked_comes_last() {
    let post = |codings: &str| post(&format!("Transfer-Encoding: {codings}\r\n"), "0\r\n\r\n");
    for codings in ["chunked", "Chunked", ", chunked ,"] {
        assert_eq!(post(codings), "405 200", "{codings}");
    }
    for codings in [
        "chunked, gzip",
        "chunked, chunked",
        "chunked\r\nTransfer-Encoding: gzip",
        "chunked\r\nTransfer-Encoding: chunked",
        "",
        ",",
    ] {
        assert_eq!(post(codings), "400 closed", "{codings}");
    }
}

#[test]
fn unknown_transfer_codings_are_not_implemented() {
    for codings in [
        "gzip",
        "gzip, chunked",
        "gzip\r\nTransfer-Encoding: chunked",
        "identity",
        "xchunked",
        "chunked;q=1",
        "\"chunked\"",
    ] {
        let fields = format!("Transfer-Encoding: {codings}\r\n");
        assert_eq!(post(&fields, "0\r\n\r\n"), "501 closed", "{codings}");
    }
}

#[test]
fn malformed_heads_are_refused() {
    for head in [
        "GET\r\n\r\n",
        "GET /\r\n\r\n",
        "GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1 \r\nHost: a\r\n\r\n",
        " GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "G(T / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / b HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /\u{1} HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost : a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n: empty\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nx y: z\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nx: \0\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nx: y\rz\r\n\r\n",
        "\u{16}\u{3}\u{1}\u{2}\0\u{1}",
        "\0",
    ] {
        assert_eq!(statuses(head), "400 closed", "{head:?}");
    }
}

#[test]
fn bare_newlines_are_refused() {
    for head in [
        "GET / HTTP/1.1\nHost: a\n\n",
        "GET / HTTP/1.1\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n\n",
    ] {
        assert_eq!(statuses(head), "400 closed", "{head:?}");
    }
}

#[test]
fn folded_lines_are_refused() {
    for fold in [" ", "\t"] {
        let fields = format!("Host: a\r\nX: y\r\n{fold}z\r\n");
        assert_eq!(ask("GET / HTTP/1.1", &fields), "400 closed");
        assert_eq!(
            ask("GET / HTTP/1.1", &format!("{fold}Host: a\r\n")),
            "400 closed"
        );
    }
}

#[test]
fn other_versions_are_not_supported() {
    for version in ["HTTP/2.0", "HTTP/2.1", "HTTP/0.9", "HTTP/3.0"] {
        assert_eq!(
            ask(&format!("GET / {version}"), "Host: a\r\n"),
            "505 closed",
            "{version}"
        );
    }
    assert_eq!(statuses("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), "505 closed");
    for version in [
        "http/1.1",
        "HTTP/1",
        "HTTP/1.10",
        "HTTP/11.1",
        "HTTP/2",
        "HTTP/2.0x",
        "FTP/1.1",
    ] {
        assert_eq!(
            ask(&format!("GET / {version}"), "Host: a\r\n"),
            "400 closed",
            "{version}"
        );
    }
}

#[test]
fn a_later_minor_version_is_served_as_1_1() {
    for version in ["HTTP/1.2", "HTTP/1.9"] {
        let get = format!("GET / {version}");
        assert_eq!(ask(&get, "Host: a\r\n"), "200", "{version}");
        assert_eq!(ask(&get, ""), "400 closed", "no Host, {version}");
    }
    assert_eq!(statuses("GET / HTTP/1.2"), "");
    assert_eq!(statuses("GET / HTTP/1.2\r\nHost: a\r\n"), "");
    let pipelined = format!("{GET}{}{GET}", GET.replace("1.1", "1.2"));
    assert_eq!(statuses(&pipelined), "200 200 200");
}

#[test]
fn empty_lines_before_a_request_are_bounded() {
    let after = |lines: usize| statuses(&format!("{}{GET}", "\r\n".repeat(lines)));
    assert_eq!(after(16), "200");
    assert_eq!(after(17), "400 closed");
    let each = format!("{}{GET}", "\r\n".repeat(10)).repeat(3);
    assert_eq!(statuses(&each), "200 200 200");
}

#[test]
fn a_target_has_no_fragment_and_is_ascii() {
    for target in ["/#top", "/a?b#c", "http://a/#", "/\u{e9}", "/?q=\u{20ac}"] {
        let get = format!("GET {target} HTTP/1.1");
        assert_eq!(ask(&get, "Host: a\r\n"), "400 closed", "{target}");
    }
    assert_eq!(ask("GET /%C3%A9?%23 HTTP/1.1", "Host: a\r\n"), "200");
}

#[test]
fn heads_are_bounded() {
    let head = |n: usize| {
        let fixed = GET.len() + "x: \r\n".len();
        GET.replace(
            "\r\n\r\n",
            &format!("\r\nx: {}\r\n\r\n", "y".repeat(n - fixed)),
        )
    };
    assert_eq!(head(HEAD_LIMIT).len(), HEAD_LIMIT);
    assert_eq!(statuses(&head(HEAD_LIMIT).repeat(3)), "200 200 200");
    assert_eq!(statuses(&head(HEAD_LIMIT + 1)), "431 closed");
    assert_eq!(statuses(&head(20_000)), "431 closed");
    // As soon as it is clear, though no line has ended.
    let target = format!("GET /{}", "x".repeat(HEAD_LIMIT));
    assert_eq!(statuses(&target), "431 closed");
    assert_eq!(statuses(&target[..HEAD_LIMIT - 1]), "");
    let fields = |n: usize| {
        ask(
            "GET / HTTP/1.1",
            &format!("Host: a\r\n{}", "x: y\r\n".repeat(n)),
        )
    };
    assert_eq!(fields(63), "200");
    assert_eq!(fields(64), "431 closed");
}

#[test]
fn small_buffers_hold_a_whole_head() {
    let head = format!(
        "GET / HTTP/1.1\r\nHost: a\r\nx: {}\r\n\r\n",
        "y".repeat(8000)
    );
    let outcome = drive(
        crate::kernel::session(Mode::Http, 1),
        Kernel::new(head.as_bytes(), true, vec![]),
        Driver::Blocking,
        None,
    );
    assert!(text(&outcome).starts_with("HTTP/1.1 200 "));
    assert!(outcome.done);
}

#[test]
fn after_a_refusal_the_rest_is_thrown_away() {
    let outcome = send(&format!("rubbish\r\n\r\n{}", GET.repeat(1000)));
    assert_eq!(outcome.requests, 1);
    assert!(
        outcome.shut_down && !outcome.done,
        "it waits for the client"
    );
    assert_eq!(text(&outcome).matches("HTTP/1.1").count(), 1);
    assert_eq!(outcome.read, 11 + 1000 * GET.len());
}

#[test]
fn a_client_that_half_closes_is_answered() {
    for (input, answers) in [
        ("", 0),
        (GET, 1),
        (&GET.repeat(500), 500),
        (&GET[..20], 0),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhell",
            0,
        ),
    ] {
        for driver in [Driver::Blocking, Driver::Level, Driver::Edge] {
            let kernel = Kernel::new(input.as_bytes(), true, vec![]);
            let outcome = drive(session(), kernel, driver, None);
            assert_eq!(outcome.requests, answers);
            assert_eq!(
                text(&outcome).matches("HTTP/1.1 200").count(),
                answers as usize
            );
            assert!(outcome.done && !outcome.shut_down);
        }
    }
}

#[test]
fn a_stop_answers_what_has_come() {
    let requests = GET.repeat(300);
    let mut session = session();
    read(&mut session, requests.as_bytes());
    session.stop(Instant::now() + Duration::from_secs(5));
    let outcome = drive(
        session,
        Kernel::new(b"", false, vec![]),
        Driver::Level,
        None,
    );
    assert_eq!(text(&outcome).matches("HTTP/1.1 200").count(), 300);
    assert!(outcome.shut_down);
}

#[test]
fn a_batch_of_requests_is_answered_and_the_rest_waits() {
    let now = Instant::now();
    let requests = GET.repeat(30);
    let mut session = session();
    read(&mut session, requests.as_bytes());
    session.did_read(0, now);
    for _ in 0..3 {
        assert!(session.can_answer() && !session.is_done());
        assert_eq!(session.answer(10), 10);
        assert!(!session.can_answer(), "the answers are written first");
        session.did_write(session.pending().len(), now);
    }
    assert_eq!(session.answer(10), 0);
    assert!(session.is_done());
}

/// Streams that are all in order, and some that end in an error, with their answers.
fn streams() -> Vec<(String, &'static str)> {
    vec![
        (GET.repeat(3), "200 200 200"),
        (
            format!(
                "\r\nPOST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
                 5;e=f\r\nhello\r\n0\r\nT: u\r\n\r\n{GET}"
            ),
            "405 200",
        ),
        (
            format!("PUT /x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc{GET}"),
            "405 200",
        ),
        (
            format!("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\nHEAD / HTTP/1.0\r\n\r\n{GET}"),
            "200 200 closed",
        ),
        (
            format!("{GET}GET / HTTP/2.0\r\n\r\n{GET}"),
            "200 505 closed",
        ),
        (format!("{GET}GET / HTTP/2\r\n\r\n{GET}"), "200 400 closed"),
        (format!("GET / HTTP/1.1\nHost: a\n\n{GET}"), "400 closed"),
        (
            format!("\n\nGET / HTTP/9.9\r\nHost: a\r\n\r\n{GET}"),
            "400 closed",
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nxx\r\n"
                .to_owned(),
            "400 closed",
        ),
        (
            format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "x: y\r\n".repeat(70)),
            "431 closed",
        ),
    ]
}

fn without_continue(output: &[u8]) -> String {
    String::from_utf8_lossy(output).replace(CONTINUE, "")
}

#[test]
fn answers_do_not_depend_on_how_requests_are_split() {
    for (stream, expected) in streams() {
        assert_eq!(statuses(&stream), expected, "{stream:?}");
        let whole = send(&stream);
        for first in 1..stream.len() {
            for then in [1, usize::MAX] {
                let mut session = session();
                let mut output = Vec::new();
                let mut requests = 0;
                let now = Instant::now();
                let (head, tail) = stream.as_bytes().split_at(first);
                for piece in std::iter::once(head).chain(tail.chunks(then.min(tail.len()))) {
                    if session.interest().read {
                        read(&mut session, piece);
                        requests += session.answer(u32::MAX);
                        output.extend_from_slice(session.pending());
                        session.did_write(session.pending().len(), now);
                    }
                }
                assert_eq!(output, whole.output, "{stream:?} split at {first}");
                assert_eq!(session.take_shutdown(now), whole.shut_down);
                assert_eq!(requests, whole.requests);
            }
        }
    }
}

/// Pieces of which malformed and misleading streams are made.
fn fragments() -> impl Strategy<Value = Vec<u8>> {
    let known = prop::sample::select(vec![
        "GET ",
        "HEAD ",
        "POST ",
        "/ ",
        "* ",
        "http://a/ ",
        "HTTP/1.1\r\n",
        "HTTP/1.0\r\n",
        "HTTP/2.0\r\n",
        "Host: a\r\n",
        "Content-Length: 3\r\n",
        "Content-Length: 99999999999\r\n",
        "Transfer-Encoding: chunked\r\n",
        "Connection: close\r\n",
        "Expect: 100-continue\r\n",
        "\r\n",
        "\n",
        "\r",
        "3\r\nabc\r\n",
        "0\r\n\r\n",
        "ffffffffffffffff\r\n",
        " ",
        ":",
        "\0",
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
    ])
    .prop_map(|text| text.as_bytes().to_vec());
    let fragment = prop_oneof![
        8 => known,
        1 => prop::collection::vec(any::<u8>(), 0..40),
        1 => (any::<u8>(), 0_usize..9000).prop_map(|(byte, n)| vec![byte; n]),
    ];
    prop::collection::vec(fragment, 0..40).prop_map(|fragments| fragments.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn any_bytes_are_answered_or_waited_for(
        input in fragments(),
        script in turns(),
        driver in drivers(),
        half_closes: bool,
    ) {
        let whole = drive(
            session(),
            Kernel::new(&input, half_closes, vec![]),
            Driver::Level,
            None,
        );
        // `drive` checks that the session waits for something that comes.
        let outcome = drive(session(), Kernel::new(&input, half_closes, script), driver, None);
        prop_assert_eq!(without_continue(&outcome.output), without_continue(&whole.output));
        prop_assert_eq!(outcome.requests, whole.requests);
        prop_assert_eq!(outcome.done, half_closes);
        prop_assert_eq!(outcome.read, input.len());
    }

    #[test]
    fn a_stop_at_any_moment_ends_it(
        input in fragments(),
        script in turns(),
        driver in drivers(),
        stop_after in 0_usize..2000,
    ) {
        let kernel = Kernel::new(&input, false, script);
        let outcome = drive(session(), kernel, driver, Some(stop_after));
        prop_assert!(outcome.shut_down || outcome.read < stop_after);
        // What had come is answered as if nothing else were to come.
        let kernel = Kernel::new(&input[..outcome.used], true, vec![]);
        let whole = drive(session(), kernel, Driver::Level, None);
        prop_assert_eq!(without_continue(&outcome.output), without_continue(&whole.output));
    }

    #[test]
    fn framing_is_that_of_an_independent_reading(
        stream in streams::mixed(),
        script in turns(),
        driver in drivers(),
    ) {
        let outcome = drive(session(), Kernel::new(&stream, false, script), driver, None);
        let reading = reference::read(&stream);
        let output = without_continue(&outcome.output);
        let rest = output.strip_prefix(&reading.answers);
        prop_assert!(rest.is_some(), "answered\n{output}\nexpected\n{}", reading.answers);
        match reading.end {
            reference::End::Open => prop_assert_eq!((rest, outcome.shut_down), (Some(""), false)),
            reference::End::Closed => prop_assert_eq!((rest, outcome.shut_down), (Some(""), true)),
            // A request that is cut short may be refused before its end has come.
            reference::End::CutShort => prop_assert_eq!(
                rest.unwrap_or_default().matches("Connection: close\r\n").count(),
                usize::from(outcome.shut_down)
            ),
        }
    }
}
