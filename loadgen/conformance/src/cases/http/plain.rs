//! Requests without a body: the answer, and whether the connection stays.

use supervisor::Mode::Http;

use super::answer::Http1;
use super::dialogue::{Dialogue, GET, allows, answers, either, named, not_allowed};
use crate::case::{Case, case};
use crate::outcome::{Outcome, ensure, skipped};
use crate::server::Server;
use crate::target::Target;

pub const CASES: &[Case] = &[
    case(
        Http,
        "http::get",
        "GET: 200 and a text that ends in a newline",
        get,
    ),
    case(
        Http,
        "http::head",
        "HEAD: the head that GET has, and no body",
        head,
    ),
    case(
        Http,
        "http::keep_alive",
        "100 requests on one connection",
        keep_alive,
    ),
    case(
        Http,
        "http::close",
        "Connection: close, in any spelling: the answer says it too, and the connection closes",
        close,
    ),
    case(
        Http,
        "http::field_names_in_any_case",
        "HOST, cONTENT-lENGTH and others mean the same",
        field_names,
    ),
    case(
        Http,
        "http::http_1_0",
        "HTTP/1.0: no Host needed, the connection closes",
        http_1_0,
    ),
    case(
        Http,
        "http::http_1_0_keep_alive",
        "HTTP/1.0 with keep-alive: kept or closed, as the answer says",
        http_1_0_keep_alive,
    ),
    case(
        Http,
        "http::targets",
        "origin, absolute and asterisk form of the target",
        targets,
    ),
    case(
        Http,
        "http::later_minor_version",
        "HTTP/1.2 is answered as HTTP/1.1 is (RFC 9110, 2.5)",
        later_minor_version,
    ),
    case(
        Http,
        "http::leading_empty_line",
        "an empty line before a request is passed over",
        leading_empty_line,
    ),
    case(
        Http,
        "http::known_methods",
        "POST, PUT, DELETE, PATCH, OPTIONS: 405 with Allow, and the connection stays",
        known_methods,
    ),
    case(
        Http,
        "http::unknown_method",
        "any other method: 501",
        unknown_method,
    ),
];

fn get(target: &Target) -> Outcome {
    let server = target.serve(Http)?;
    let mut client = server.connect()?;
    client.send(GET.as_bytes())?;
    let answer = client.expect_status(200)?;
    // A foreign server may serve anything, for as long as it likes.
    let text = answer.body.ends_with(b"\n") && answer.body.len() < 1_000;
    ensure(
        text || !target.keeps_contract(),
        "a short text that ends in a newline",
        &answer,
    )?;
    ensure(
        !answer.says_close() || !target.keeps_contract(),
        "a connection that stays",
        &answer,
    )
}

fn head(target: &Target) -> Outcome {
    let server = target.serve(Http)?;
    let mut dialogue = Dialogue::new(target, &server)?;
    dialogue.send("HEAD / HTTP/1.1\r\nHost: doorbell\r\n\r\n")?;
    let head = dialogue.answer(true)?;
    // A body after the first head would be read as the second answer.
    if dialogue.is_over() {
        let body = dialogue.client.read_to_end()?;
        ensure(body.is_empty(), "no body after HEAD", body.len())?;
    }
    dialogue.send(GET)?;
    let get = dialogue.expect_status(200)?;
    // A server may leave it out when it would have to compute it (RFC 9110, 9.3.2).
    let length = head.header("content-length");
    let is_left_out = length.is_none() && !target.keeps_contract();
    ensure(
        head.status == 200 && (is_left_out || length == get.header("content-length")),
        "200 with the Content-Length of GET",
        &head,
    )
}

fn keep_alive(target: &Target) -> Outcome {
    let server = target.serve(Http)?;
    let mut dialogue = Dialogue::new(target, &server)?;
    (0..100).try_for_each(|_| dialogue.stays())
}

fn close(target: &Target) -> Outcome {
    let server = target.serve(Http)?;
    for value in ["close", "Close", "keep-alive, close", "close , x"] {
        let fields = format!("connection: {value}");
        closes(
            target,
            &server,
            &format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n"),
        )
        .map_err(|outcome| outcome.about(format_args!("`{fields}`")))?;
    }
    Ok(())
}

/// A request that asks for the end of the connection is answered, and the connection ends.
fn closes(target: &Target, server: &Server, request: &str) -> Outcome {
    let mut client = server.connect()?;
    client.send(request.as_bytes())?;
    let answer = client.expect_status(200)?;
    ensure(
        // To say so is a SHOULD, to close is a MUST (RFC 9112, 9.6).
        answer.says_close() || !target.keeps_contract(),
        "Connection: close in the answer",
        &answer,
    )?;
    client.expect_end()
}

fn field_names(target: &Target) -> Outcome {
    let server = target.serve(Http)?;
    let mut dialogue = Dialogue::new(target, &server)?;
    for request in [
        "GET / HTTP/1.1\r\nHOST: a\r\n\r\n",
        "POST / HTTP/1.1\r\nhOsT: a\r\ncONTENT-lENGTH: 5\r\n\r\nhello",
        "POST / HTTP/1.1\r\nhost: a\r\nTRANSFER-ENCODING: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    ] {
        dialogue
            .send(request)
            .and_then(|()| answers(target, &mut dialogue, &[request.starts_with("GET")]))
            .and_then(|()| dialogue.goes_on())
            .map_err(|outcome| outcome.about(named(request)))?;
    }
    // A server may serve one client at once.
    drop(dialogue);
    closes(
        target,
        &server,
        "GET / HTTP/1.1\r\nHost: a\r\nCONNECTION: close\r\n\r\n",
    )
}

fn http_1_0(target: &Target) -> Outcome {
    let server = target.serve(Http)?;
    let mut client = server.connect()?;
    client.send(b"GET / HTTP/1.0\r\n\r\n")?;
    client.expect_status(200)?;
    client.expect_end()
}

fn http_1_0_keep_alive(target: &Target) -> Outcome {
    let server = target.serve(Http)?;
    let mut dialogue = Dialogue::new(target, &server)?;
    dialogue.send("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")?;
    let answer = dialogue.expect_status(200)?;
    // An HTTP/1.0 client keeps the connection only when the answer says so.
    if answer.connection_says("keep-alive") {
        dialogue.goes_on()
    } else if target.keeps_contract() || answer.says_close() {
        dialogue.client.expect_end()
    } else {
        // In HTTP/1.1 a connection stays if nothing else is said, and may close at any time.
        let _ = dialogue.client.half_close();
        dialogue.client.expect_gone()
    }
}

fn targets(target: &Target) -> Outcome {
    let server = target.serve(Http)?;
    let mut dialogue = Dialogue::new(target, &server)?;
    for (request, statuses) in [
        // Not every server has something at every path.
        ("GET /a/b?c=d%20e HTTP/1.1", either(target, 200, &[404])),
        ("GET http://doorbell/ HTTP/1.1", vec![200]),
        (
            "OPTIONS * HTTP/1.1",
            either(target, 405, &[200, 204, 400, 404, 501]),
        ),
    ] {
        dialogue.send(&format!("{request}\r\nHost: doorbell\r\n\r\n"))?;
        let answer = dialogue.answer(false)?;
        let right = statuses.contains(&answer.status);
        ensure(right, format!("status {statuses:?} to {request}"), &answer)?;
    }
    Ok(())
}

fn later_minor_version(target: &Target) -> Outcome {
    let server = target.serve(Http)?;
    let mut dialogue = Dialogue::new(target, &server)?;
    for version in ["1.2", "1.9"] {
        dialogue.send(&format!("GET / HTTP/{version}\r\nHost: doorbell\r\n\r\n"))?;
        let statuses = either(target, 200, &[400, 505]);
        let answer = dialogue.answer(false)?;
        let right = statuses.contains(&answer.status);
        ensure(right, format!("status {statuses:?} to {version}"), &answer)?;
    }
    dialogue.goes_on()
}

fn leading_empty_line(target: &Target) -> Outcome {
    if !target.keeps_contract() {
        return skipped("it is only recommended (RFC 9112, 2.2)");
    }
    let server = target.serve(Http)?;
    let mut client = server.connect()?;
    client.send(format!("\r\n{GET}").as_bytes())?;
    client.expect_status(200)?;
    client.send(format!("\r\n{GET}").as_bytes())?;
    client.expect_status(200).map(drop)
}

fn known_methods(target: &Target) -> Outcome {
    let server = target.serve(Http)?;
    let mut dialogue = Dialogue::new(target, &server)?;
    for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"] {
        dialogue.send(&format!("{method} / HTTP/1.1\r\nHost: a\r\n\r\n"))?;
        let answer = not_allowed(target, &mut dialogue)?;
        if answer.status == 405 {
            // Not every server that knows HEAD names it.
            allows(&["GET"], &answer).map_err(|outcome| outcome.about(method))?;
        }
    }
    Ok(())
}

fn unknown_method(target: &Target) -> Outcome {
    if !target.keeps_contract() {
        return skipped("a foreign server may know other methods");
    }
    let server = target.serve(Http)?;
    for method in ["BREW", "get", "TRACE", "CONNECT", "X"] {
        let mut client = server.connect()?;
        let path = if method == "CONNECT" { "a:80" } else { "/" };
        client.send(format!("{method} {path} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes())?;
        client.expect_status(501)?;
    }
    Ok(())
}
