//! Several clients at once.

use supervisor::Mode::Http;

use super::answer::Http1;
use super::dialogue::{Dialogue, ask_once};
use crate::case::{Case, case};
use crate::client::in_parallel;
use crate::outcome::Outcome;
use crate::target::Target;

pub const CASES: &[Case] = &[
    case(
        Http,
        "http::slowloris",
        "50 unfinished heads beside one client that asks",
        slowloris,
    ),
    case(
        Http,
        "http::many_clients",
        "32 clients, 30 requests each",
        many_clients,
    ),
];

fn slowloris(target: &Target) -> Outcome {
    target.require_silence()?;
    let server = target.serve_many(Http, 51)?;
    let mut slow = server.connect_many(50)?;
    slow.iter_mut()
        .try_for_each(|client| client.send(b"GET / HTTP/1.1\r\nHost: "))?;
    for _ in 0..10 {
        ask_once(&server)?;
        slow.iter_mut().try_for_each(|client| client.send(b"a"))?;
    }
    slow.iter_mut().try_for_each(|client| {
        client.send(b"\r\n\r\n")?;
        client.expect_status(200).map(drop)
    })
}

fn many_clients(target: &Target) -> Outcome {
    let server = target.serve_many(Http, 32)?;
    in_parallel(server.connect_many(32)?, |_, client| {
        let mut dialogue = Dialogue::over(client, target, &server);
        (0..30).try_for_each(|_| dialogue.goes_on())
    })
}
