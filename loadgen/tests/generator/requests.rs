//! Requests and answers of a user's own, against servers with manners of their own.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use loadgen::verdict::cause::Verdict;
use loadgen::workload::load::{Mode, Workload};
use loadgen::workload::requests::{Expect, HttpLoad, HttpRequest};

use crate::{loads, run, workload};

/// A server with a thread for each connection.
fn server(serve: impl Fn(TcpStream) -> io::Result<()> + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let serve = Arc::new(serve);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let serve = serve.clone();
            thread::spawn(move || {
                stream.set_nodelay(true)?;
                serve(stream)
            });
        }
    });
    address
}

/// The request line, and the body by its Content-Length; `None`: the client has closed.
fn request(from: &mut BufReader<&TcpStream>) -> io::Result<Option<(String, Vec<u8>)>> {
    let (mut first, mut length) = (String::new(), 0);
    if from.read_line(&mut first)? == 0 {
        return Ok(None);
    }
    loop {
        let mut line = String::new();
        from.read_line(&mut line)?;
        match line.trim_end().split_once(": ") {
            Some(("Content-Length", value)) => length = value.parse().unwrap(),
            Some(_) => {}
            None => break,
        }
    }
    let mut body = vec![0; length];
    from.read_exact(&mut body)?;
    Ok(Some((first.trim_end().to_owned(), body)))
}

fn http(address: SocketAddr, requests: Vec<HttpRequest>, expect: Expect) -> Workload {
    Workload {
        mode: Mode::Http,
        http: HttpLoad {
            requests,
            expect,
            ..HttpLoad::default()
        },
        ..workload(address)
    }
}

fn post(body: &[u8]) -> HttpRequest {
    HttpRequest {
        method: "POST".to_owned(),
        body: body.to_vec(),
        ..HttpRequest::default()
    }
}

#[test]
fn requests_of_different_lengths_come_as_often_as_they_weigh() {
    for (load, pipeline) in loads() {
        let seen = Arc::new(Mutex::new(BTreeMap::new()));
        let counts = seen.clone();
        let address = server(move |stream| {
            let mut reader = BufReader::new(&stream);
            while let Some((line, body)) = request(&mut reader)? {
                *counts
                    .lock()
                    .unwrap()
                    .entry((line, body.len()))
                    .or_insert(0) += 1;
                (&stream).write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")?;
            }
            Ok(())
        });
        let many = vec![b'x'; 200_000];
        let requests = vec![
            HttpRequest {
                weight: 9,
                ..post(b"ab")
            },
            HttpRequest {
                path: "/large".to_owned(),
                ..post(&many)
            },
        ];
        let (trial, _) = run(&Workload {
            load,
            pipeline,
            ..http(address, requests, Expect::default())
        });
        assert!(trial.answered > 0 && trial.errors.is_empty(), "{trial:#?}");
        let seen = seen.lock().unwrap();
        let of = |line: &str, length| {
            let key = (line.to_owned(), length);
            f64::from(seen.get(&key).copied().unwrap_or(0))
        };
        let (small, large) = (
            of("POST / HTTP/1.1", 2),
            of("POST /large HTTP/1.1", 200_000),
        );
        assert_eq!(seen.len(), 2, "{seen:?}");
        let total = small + large;
        let deviation = (total * 0.09).sqrt();
        assert!(
            (large - total / 10.0).abs() < 5.0 * deviation + 1.0,
            "{seen:?}"
        );
    }
}

/// The server answers when it has read the head, and closes a socket with unread bytes: the client is reset.
#[test]
fn an_answer_that_comes_before_the_body_was_sent_counts() {
    let address = server(|stream| {
        let mut reader = BufReader::new(&stream);
        let mut line = String::new();
        while line != "\r\n" {
            line.clear();
            reader.read_line(&mut line)?;
        }
        (&stream).write_all(
            b"HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno",
        )
    });
    let large = vec![post(&vec![b'x'; 8 << 20])];
    for keep_alive in [true, false] {
        let mut workload = http(address, large.clone(), Expect::default());
        workload.http.keep_alive = keep_alive;
        let (trial, _) = run(&workload);
        assert!(trial.failed > 0 && trial.answered == 0, "{trial:#?}");
        assert_eq!(trial.errors.keys().collect::<Vec<_>>(), ["status-413"]);
        assert_eq!(trial.errors["status-413"], trial.failed);
        assert_eq!(trial.verdict, Verdict::Failed);
    }
    let expect = Expect {
        status: "413".parse().unwrap(),
        ..Expect::default()
    };
    let (trial, _) = run(&http(address, large, expect));
    assert!(trial.answered > 0 && trial.errors.is_empty(), "{trial:#?}");
}

#[test]
fn interim_answers_and_pieces_make_one_answer() {
    let address = server(|stream| {
        let mut reader = BufReader::new(&stream);
        while let Some((_, body)) = request(&mut reader)? {
            assert_eq!(body, b"ping");
            let text = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n\
                HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npong\r\n0\r\n\r\n";
            for byte in text.bytes() {
                (&stream).write_all(&[byte])?;
            }
        }
        Ok(())
    });
    let mut request = post(b"ping");
    request.headers.push("Expect: 100-continue".to_owned());
    let length = |bytes| Expect {
        bytes: Some(bytes),
        ..Expect::default()
    };
    let (trial, _) = run(&http(address, vec![request.clone()], length(4)));
    assert!(trial.answered > 0 && trial.errors.is_empty(), "{trial:#?}");
    let (trial, _) = run(&http(address, vec![request], length(5)));
    assert!(
        trial.answered == 0 && trial.mismatches == trial.failed,
        "{trial:#?}"
    );
    assert_eq!(trial.errors.keys().collect::<Vec<_>>(), ["mismatch"]);
}
