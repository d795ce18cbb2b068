//! Streams of requests, mostly good ones.

use std::fmt::Write;

use proptest::prelude::*;

/// Streams of requests: most in order, some with one or more things wrong.
pub fn mixed() -> impl Strategy<Value = Vec<u8>> {
    let stream = prop::collection::vec(requests(), 1..5).prop_map(|all| all.concat());
    (
        stream,
        prop::option::weighted(0.2, any::<prop::sample::Index>()),
    )
        .prop_map(|(stream, cut)| {
            let mut stream = stream.into_bytes();
            if let Some(cut) = cut {
                stream.truncate(cut.index(stream.len() + 1));
            }
            stream
        })
}

fn mostly(
    usual: &'static [&'static str],
    odd: &'static [&'static str],
) -> impl Strategy<Value = &'static str> {
    prop_oneof![
        12 => prop::sample::select(usual),
        1 => prop::sample::select(odd),
    ]
}

fn requests() -> impl Strategy<Value = String> {
    let line = (
        mostly(
            &["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"],
            &["TRACE", "BREW", "get", "", "A(B"],
        ),
        mostly(
            &["/", "/a?b", "http://a/"],
            &["*", "a", "", "/ /", "http:", "/#", "/\u{fc}"],
        ),
        mostly(
            &["HTTP/1.1", "HTTP/1.1", "HTTP/1.1", "HTTP/1.0"],
            &["HTTP/1.2", "HTTP/2.0", "http/1.1", "HTTP/1.10", ""],
        ),
    );
    let host = mostly(
        &["Host: a\r\n"],
        &["", "Host: a\r\nHost: a\r\n", "Host: a b\r\n", "host:\r\n"],
    );
    let fields = prop::collection::vec(
        mostly(
            &[
                "X: y\r\n",
                "A:\t b \t\r\n",
                "Empty:\r\n",
                "Connection: keep-alive\r\n",
                "Accept: */*\r\n",
                "Expect: 100-continue\r\n",
                "X-Latin: \u{fc}\r\n",
            ],
            &[
                "Connection: x, CLOSE\r\n",
                "Connection: close\r\n",
                " folded\r\n",
                "no colon\r\n",
                "A : b\r\n",
                "A: b\nC: d\r\n",
                "A: \u{1}\r\n",
                ": b\r\n",
                "A: b\rc\r\n",
            ],
        ),
        0..4,
    );
    let body = mostly_body();
    (line, host, fields, body).prop_map(
        |((method, target, version), host, fields, (framing, body))| {
            format!(
                "{method} {target} {version}\r\n{host}{framing}{}\r\n{body}",
                fields.concat()
            )
        },
    )
}

/// Framing fields with a body that fits them, or does not.
fn mostly_body() -> impl Strategy<Value = (String, String)> {
    let text = "[a-z\r\n:0-9]{0,40}";
    let chunks = prop::collection::vec(
        (
            "[a-z\r\n]{1,20}",
            mostly(&["", ";a", " ;a=\"b\""], &[" ", "\n", ";\n", "g"]),
            mostly(&["\r\n"], &["", "\n", "x\r\n"]),
        ),
        0..4,
    );
    let chunked = (
        chunks,
        mostly(&["0", "000"], &["", "-0", "0x0", "fffffffffffffffff"]),
        mostly(
            &["\r\n", "T: u\r\n\r\n"],
            &["t\r\n\r\n", " T: u\r\n\r\n", "T: u\n\r\n"],
        ),
    )
        .prop_map(|(chunks, last, trailers)| {
            let mut body = String::new();
            for (data, extension, end) in chunks {
                let _ = write!(body, "{:x}{extension}\r\n{data}{end}", data.len());
            }
            format!("{body}{last}\r\n{trailers}")
        });
    let lengths = mostly(
        &[
            "Content-Length: N\r\n",
            "content-length:N\r\n",
            "Content-Length: 0N\r\n",
        ],
        &[
            "Content-Length: +N\r\n",
            "Content-Length: -N\r\n",
            "Content-Length: N, N\r\n",
            "Content-Length: N\r\nContent-Length: N\r\n",
            "Content-Length: N, 7\r\n",
            "Content-Length: N\r\nTransfer-Encoding: chunked\r\n",
            "Content-Length: N,\r\n",
            "Content-Length: 99999999999999999999\r\n",
            "Content-Length: Nx\r\n",
            "",
        ],
    );
    let codings = mostly(
        &[
            "Transfer-Encoding: chunked\r\n",
            "transfer-encoding:CHUNKED\r\n",
        ],
        &[
            "Transfer-Encoding: gzip, chunked\r\n",
            "Transfer-Encoding: chunked, gzip\r\n",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: gzip\r\n",
            "Transfer-Encoding:\r\n",
            "Transfer-Encoding : chunked\r\n",
            "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n",
            "",
        ],
    );
    prop_oneof![
        Just((String::new(), String::new())),
        (lengths, text)
            .prop_map(|(fields, body)| (fields.replace('N', &body.len().to_string()), body)),
        (codings, chunked).prop_map(|(fields, body)| (fields.to_owned(), body)),
    ]
}
