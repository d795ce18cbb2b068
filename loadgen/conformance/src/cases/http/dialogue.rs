//! Requests and their answers, one after the other.

use super::answer::{Answer, Http1, with_status};
use crate::client::Client;
use crate::outcome::{Outcome, ensure, skipped};
use crate::server::Server;
use crate::target::Target;

/// A request whose connection stays.
pub const GET: &str = "GET / HTTP/1.1\r\nHost: doorbell\r\n\r\n";

/// A request that asks for the end of the connection.
pub const GET_AND_CLOSE: &str = "GET / HTTP/1.1\r\nHost: doorbell\r\nConnection: close\r\n\r\n";

/// Requests and answers, one after the other. A foreign server may close the connection after any answer that says so:
/// the next request then uses a new connection.
pub struct Dialogue<'a> {
    target: &'a Target,
    server: &'a Server,
    pub client: Client,
    /// Answers on this connection.
    pub answers: usize,
    said_close: bool,
}

impl<'a> Dialogue<'a> {
    pub fn new(target: &'a Target, server: &'a Server) -> Outcome<Self> {
        Ok(Self::over(server.connect()?, target, server))
    }

    pub fn over(client: Client, target: &'a Target, server: &'a Server) -> Self {
        Self {
            target,
            server,
            client,
            answers: 0,
            said_close: false,
        }
    }

    pub fn is_over(&self) -> bool {
        self.said_close && !self.target.keeps_contract()
    }

    /// The connection to send on.
    pub fn client(&mut self) -> Outcome<&mut Client> {
        if self.is_over() {
            let new = Self::new(self.target, self.server)?;
            std::mem::replace(self, new).client.expect_gone()?;
        }
        Ok(&mut self.client)
    }

    pub fn send(&mut self, request: &str) -> Outcome {
        self.client()?.send(request.as_bytes())
    }

    /// The next answer on the same connection.
    pub fn answer(&mut self, to_head: bool) -> Outcome<Answer> {
        if self.is_over() {
            return skipped(match self.answers {
                1 => "it closes after 1 answer".into(),
                n => format!("it closes after {n} answers"),
            });
        }
        let answer = self.client.answer(to_head)?;
        self.answers += 1;
        self.said_close = answer.says_close();
        Ok(answer)
    }

    pub fn expect_status(&mut self, status: u16) -> Outcome<Answer> {
        with_status(status, self.answer(false)?)
    }

    /// The server answers another request.
    pub fn goes_on(&mut self) -> Outcome {
        self.send(GET)?;
        self.expect_status(200).map(drop)
    }

    /// The same connection serves another request; skipped where the last answer said that it closes.
    pub fn stays(&mut self) -> Outcome {
        if !self.is_over() {
            self.send(GET)?;
        }
        self.expect_status(200).map(drop)
    }

    /// After the last answer only the end comes.
    pub fn end(self) -> Outcome {
        if !self.is_over() {
            self.client.half_close()?;
        }
        self.client.expect_end()
    }
}

/// The beginning of a request, for the text of a failure.
pub fn named(request: &str) -> String {
    let short: String = request.chars().take(100).collect();
    format!("{short:?}")
}

/// The status `ours` by the server contract; a foreign server may also answer with one of `others`.
pub fn either(target: &Target, ours: u16, others: &[u16]) -> Vec<u16> {
    let others = if target.keeps_contract() { &[] } else { others };
    [&[ours], others].concat()
}

/// The answer to a request that is neither GET nor HEAD: 405 by the server contract. A foreign server
/// may do something else with it, as long as it does not take the request for a wrong one.
pub fn other_method(target: &Target, dialogue: &mut Dialogue<'_>) -> Outcome<Answer> {
    if target.keeps_contract() {
        return dialogue.expect_status(405);
    }
    let answer = dialogue.answer(false)?;
    ensure(
        !matches!(answer.status, 0..200 | 400 | 408 | 431),
        "an answer to the method",
        &answer,
    )?;
    Ok(answer)
}

/// The answers to requests of which some are GET.
pub fn answers(target: &Target, dialogue: &mut Dialogue<'_>, are_get: &[bool]) -> Outcome {
    are_get.iter().try_for_each(|&is_get| {
        if is_get {
            dialogue.expect_status(200).map(drop)
        } else {
            other_method(target, dialogue).map(drop)
        }
    })
}

/// A request whose body looks like another one.
pub const POST: &str =
    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 26\r\n\r\nGET /x HTTP/1.1\r\nHost: a\r\n";

/// The same in one chunk.
pub const POST_CHUNKED: &str =
    "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nGET /\r\n0\r\n\r\n";

/// Sends the bytes one by one.
pub fn send_bytes(target: &Target, client: &mut Client, request: &str) -> Outcome {
    for byte in request.as_bytes() {
        taken(target, client.send_alone(&[*byte]))?;
    }
    Ok(())
}

/// A foreign server may answer and close before the end of the body.
pub fn taken(target: &Target, sent: Outcome) -> Outcome {
    match sent {
        Err(_) if !target.keeps_contract() => skipped("it closes before the end of a body"),
        sent => sent,
    }
}

/// The server answers a new client.
pub fn ask_once(server: &Server) -> Outcome {
    let mut client = server.connect()?;
    client.send(GET_AND_CLOSE.as_bytes())?;
    client.expect_status(200)?;
    client.expect_end()
}

/// 405 with the methods that are served, and the connection stays.
pub fn not_allowed(target: &Target, dialogue: &mut Dialogue<'_>) -> Outcome<Answer> {
    let answer = other_method(target, dialogue)?;
    if target.keeps_contract() {
        allows(&["GET", "HEAD"], &answer)?;
    }
    dialogue.goes_on()?;
    Ok(answer)
}

pub fn allows(methods: &[&str], answer: &Answer) -> Outcome {
    let allow = answer.header("allow").unwrap_or_default();
    let said = |method| allow.split(',').any(|allowed| allowed.trim() == method);
    ensure(
        methods.iter().copied().all(said),
        format!("Allow: {}", methods.join(", ")),
        answer,
    )
}

/// A POST with these header fields, and `body` after its head.
pub fn post(fields: &str, body: &str) -> String {
    format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n{body}")
}
