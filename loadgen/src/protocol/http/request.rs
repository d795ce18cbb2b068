//! Requests as they are sent. All are rendered before the load begins.

use crate::protocol::client::Request;
use crate::protocol::draw::{draw, mix};
use crate::workload::requests::{HttpLoad, HttpRequest};

/// The requests of a load, among which the seed draws.
#[derive(Debug)]
pub struct Requests {
    all: Vec<Rendered>,
    /// The weights of all requests up to each one, added up.
    up_to: Vec<u64>,
    seed: u64,
}

/// A request.
#[derive(Debug)]
pub struct Rendered {
    /// Head and body.
    pub bytes: Vec<u8>,
    /// Its answer has no body, whatever its head says.
    pub is_head: bool,
}

impl Requests {
    /// The requests of `load` to `host`.
    pub fn new(load: &HttpLoad, host: &str, seed: u64) -> Self {
        let render = |request: &HttpRequest| Rendered {
            bytes: render(request, host, load.keep_alive),
            is_head: request.method == "HEAD",
        };
        let mut total = 0;
        let up_to = load.requests.iter().map(|request| {
            total += u64::from(request.weight);
            total
        });
        Self {
            up_to: up_to.collect(),
            all: load.requests.iter().map(render).collect(),
            seed: mix(seed),
        }
    }

    /// The bytes that are sent for this request.
    pub fn of(&self, request: Request) -> &Rendered {
        let [several @ .., last] = self.up_to.as_slice() else {
            unreachable!("a load has a request");
        };
        if several.is_empty() {
            return &self.all[0];
        }
        // The upper half of the product is even over all weights.
        let product = u128::from(draw(self.seed, request)) * u128::from(*last);
        let drawn = (product >> 64) as u64;
        &self.all[several.partition_point(|up_to| *up_to <= drawn)]
    }
}

fn render(request: &HttpRequest, host: &str, keep_alive: bool) -> Vec<u8> {
    let mut head = format!("{} {} HTTP/1.1\r\n", request.method, request.path);
    let mut field = |line: &str| {
        head.push_str(line);
        head.push_str("\r\n");
    };
    if !request.has("host") {
        field(&format!("Host: {host}"));
    }
    for header in &request.headers {
        field(header);
    }
    let framed = request.has("content-length") || request.has("transfer-encoding");
    // A server may refuse these without a length (RFC 9110, 8.6).
    let has_content = ["POST", "PUT", "PATCH"].contains(&request.method.as_str());
    if !framed && (has_content || !request.body.is_empty()) {
        field(&format!("Content-Length: {}", request.body.len()));
    }
    if !keep_alive {
        field("Connection: close");
    }
    field("");
    let mut bytes = head.into_bytes();
    bytes.extend_from_slice(&request.body);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(request: &HttpRequest, keep_alive: bool) -> String {
        String::from_utf8(render(request, "h", keep_alive)).unwrap()
    }

    #[test]
    fn a_request_says_its_host_and_its_length() {
        let get = HttpRequest::default();
        assert_eq!(rendered(&get, true), "GET / HTTP/1.1\r\nHost: h\r\n\r\n");
        let post = HttpRequest {
            method: "POST".to_owned(),
            headers: vec!["host: own".to_owned()],
            ..get.clone()
        };
        assert_eq!(
            rendered(&post, false),
            "POST / HTTP/1.1\r\nhost: own\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
        let with_body = HttpRequest {
            body: b"abc".to_vec(),
            ..get.clone()
        };
        let text = rendered(&with_body, true);
        assert!(text.ends_with("\r\nContent-Length: 3\r\n\r\nabc"), "{text}");
        let chunked = HttpRequest {
            headers: vec!["Transfer-Encoding: chunked".to_owned()],
            body: b"0\r\n\r\n".to_vec(),
            ..get
        };
        let text = rendered(&chunked, true);
        assert!(!text.contains("Content-Length"), "{text}");
    }

    #[test]
    fn requests_are_drawn_by_their_weights() {
        let weights = [1, 3, 6];
        let load = HttpLoad {
            requests: weights
                .map(|weight| HttpRequest {
                    path: format!("/{weight}"),
                    weight,
                    ..HttpRequest::default()
                })
                .to_vec(),
            ..HttpLoad::default()
        };
        let count = |seed| {
            let requests = Requests::new(&load, "h", seed);
            let mut drawn = Vec::new();
            for connection in 0..100 {
                for number in 0..100 {
                    let rendered = requests.of(Request { connection, number });
                    let text = String::from_utf8_lossy(&rendered.bytes);
                    let weight = text.split(['/', ' ']).nth(2).unwrap().parse::<u32>();
                    drawn.push(weight.unwrap());
                }
            }
            drawn
        };
        let drawn = count(1);
        assert_eq!(drawn, count(1));
        assert_ne!(drawn, count(2));
        for weight in weights {
            let share = f64::from(weight) / 10.0;
            let expected = 10_000.0 * share;
            let found = drawn.iter().filter(|drawn| **drawn == weight).count() as f64;
            let deviation = (expected * (1.0 - share)).sqrt();
            assert!(
                (found - expected).abs() < 5.0 * deviation,
                "{weight}: {found}"
            );
        }
    }
}
