//! Any bytes as HTTP requests: framed and answered as an independent reading of RFC 9112 does it, in
//! whatever pieces they come, and with bounded memory.
#![no_main]

use std::time::Instant;

use libfuzzer_sys::fuzz_target;
use reference::{End, Reading};
use serverkit::Mode;
use serverkit::session::Session;

#[path = "../../tests/session/http/reference.rs"]
mod reference;

const BUFFER: usize = 8 * 1024;
/// The reading knows no limits: with fewer bytes than this a head is within the server's.
const MOST_INPUT: usize = 8 * 1024;
const CONTINUE: &str = "HTTP/1.1 100 Continue\r\n\r\n";
/// No answer is longer, `CONTINUE` included.
const LARGEST_ANSWER: usize = 256;

/// What is answered when no read and no write moves more than `piece` bytes, and whether the server
/// closed first.
fn answers(mut input: &[u8], piece: usize) -> (String, bool) {
    let mut session = Session::new(Mode::Http, BUFFER, None, Instant::now());
    let mut output = Vec::new();
    let mut requests = 1;
    let now = Instant::now();
    loop {
        requests += session.answer(7) as usize;
        let interest = session.interest();
        assert!(interest.read || interest.write, "waits for nothing");
        if interest.write {
            let n = session.pending().len().min(piece);
            output.extend_from_slice(&session.pending()[..n]);
            session.did_write(n, now);
        } else {
            let n = session.read_space().len().min(input.len()).min(piece);
            session.read_space()[..n].copy_from_slice(&input[..n]);
            input = &input[n..];
            session.did_read(n, now);
        }
        assert!(session.pending().len() <= BUFFER);
        assert!(output.len() <= requests * LARGEST_ANSWER);
        requests += session.answer(7) as usize;
        let closes = session.take_shutdown(now);
        if closes || session.is_done() {
            let output = String::from_utf8(output).unwrap();
            // Whether the client waits for leave to send a body depends on the pieces.
            return (output.replace(CONTINUE, ""), closes);
        }
    }
}

/// Which of two refusals a head meets that is malformed and has too many fields is the server's choice.
fn with_either_refusal(answers: &str) -> String {
    let too_large = "Request Header Fields Too Large";
    let as_one = answers.replace(&format!("431 {too_large}"), "400 Bad Request");
    as_one
        .replace("Content-Length: 32\r\n", "Content-Length: 12\r\n")
        .replace(too_large, "Bad Request")
}

fuzz_target!(|input: &[u8]| {
    let [piece, input @ ..] = input else { return };
    let input = &input[..input.len().min(MOST_INPUT - 1)];
    let (answered, closed) = answers(input, BUFFER);
    let in_pieces = answers(input, usize::from(*piece) + 1);
    assert_eq!(in_pieces, (answered.clone(), closed), "in pieces and whole");
    let Reading { answers, end } = reference::read(input);
    let (answered, answers) = (
        with_either_refusal(&answered),
        with_either_refusal(&answers),
    );
    match end {
        End::Open => assert_eq!((answered, closed), (answers, false)),
        End::Closed => assert_eq!((answered, closed), (answers, true)),
        // What is cut short may be refused before its end has come.
        End::CutShort => {
            let rest = answered.strip_prefix(&answers).expect("the same answers");
            let closing = rest.matches("Connection: close\r\n").count();
            assert_eq!(closing, usize::from(closed));
            assert!(closed || rest.is_empty(), "answered before its end: {rest}");
        }
    }
});
