//! Any bytes as a server's HTTP answers: they mean the same in whatever pieces they come.
#![no_main]

use libfuzzer_sys::fuzz_target;
use loadgen::protocol::http::Http;
use loadgen::protocol::client::{Outcome, Protocol, Request};
use loadgen::workload::requests::HttpLoad;

/// The outcomes of all answers, the last one ended by the server's close.
fn outcomes(http: &Http, input: &[u8], piece: usize) -> Vec<Outcome> {
    let request = Request {
        connection: 0,
        number: 0,
    };
    let mut answer = Default::default();
    let mut outcomes = Vec::new();
    for mut data in input.chunks(piece) {
        while !data.is_empty() {
            let (taken, outcome) = http.receive(&mut answer, request, data);
            data = &data[taken..];
            outcomes.extend(outcome);
            match outcome {
                Some(Outcome::Broken(_)) => return outcomes,
                Some(Outcome::Answered { .. }) => {}
                None => assert!(data.is_empty(), "bytes were left without an answer"),
            }
        }
    }
    outcomes.push(http.end(&mut answer));
    outcomes
}

fuzz_target!(|input: &[u8]| {
    let [piece, input @ ..] = input else { return };
    for keep_alive in [true, false] {
        let load = HttpLoad {
            keep_alive,
            ..HttpLoad::default()
        };
        let http = Http::new(&load, "localhost", 1);
        let whole = outcomes(&http, input, input.len().max(1));
        assert_eq!(outcomes(&http, input, usize::from(*piece) + 1), whole);
    }
});
