//! Several requests at once, requests in pieces, and unfinished ones.

use std::time::{Duration, Instant};

use supervisor::Mode::Http;

use super::answer::Http1;
use super::dialogue::{
    Dialogue, GET, GET_AND_CLOSE, POST, POST_CHUNKED, answers, ask_once, named, send_bytes,
};
use crate::case::{Case, case};
use crate::outcome::{Outcome, ensure, failed, skipped};
use crate::target::Target;

pub const CASES: &[Case] = &[
    case(
        Http,
        "http::pipelined",
        "100 requests in one write: 100 answers",
        pipelined,
    ),
    case(
        Http,
        "http::pipelined_unread",
        "requests until the server takes no more, then all answers",
        pipelined_unread,
    ),
    case(
        Http,
        "http::pipelined_bodies",
        "requests with bodies of both kinds in one write, each ends where it should",
        pipelined_bodies,
    ),
    case(
        Http,
        "http::nothing_after_close",
        "what follows Connection: close is not answered",
        nothing_after_close,
    ),
    case(
        Http,
        "http::byte_by_byte",
        "requests whose bytes come one by one",
        byte_by_byte,
    ),
    case(
        Http,
        "http::split_everywhere",
        "a request in two parts, cut at every byte",
        split_everywhere,
    ),
    case(
        Http,
        "http::half_close",
        "request and end of input at once: answered, then the end",
        half_close,
    ),
    case(
        Http,
        "http::end_in_mid_head",
        "the end of input in the middle of a head: no hang",
        end_in_mid_head,
    ),
];

fn pipelined(target: &Target) -> Outcome {
    let server = target.serve(Http)?;
    let mut dialogue = Dialogue::new(target, &server)?;
    dialogue.send(&GET.repeat(100))?;
    answers(target, &mut dialogue, &[true; 100])?;
    dialogue.goes_on()
}

fn pipelined_unread(target: &Target) -> Outcome {
    target.require_silence()?;
    let server = target.serve(Http)?;
    if !target.keeps_contract() {
        // A server that closes after a number of answers would discard the requests that follow, and its reset would
        // destroy the last answers.
        let start = Instant::now();
        let mut dialogue = Dialogue::new(target, &server)?;
        while dialogue.answers < 1_100 && start.elapsed() < Duration::from_secs(2) {
            dialogue.stays()?;
        }
    }
    for (mut client, sent) in server.stuck_clients(1, GET.as_bytes())? {
        let mut all = Vec::new();
        let ended = client.half_close();
        let ended = match client.read_up_to_the_end(&mut all) {
            Ok(()) => ended,
            Err(e) => failed("all answers and the end", client.describe(&e)),
        };
        let is_start = |part: &[u8]| part.starts_with(b"HTTP/1.") && part.ends_with(b" 200 ");
        let answers = all.windows(13).filter(|part| is_start(part)).count();
        let whole = sent / GET.len();
        let last = all.windows(13).rposition(is_start);
        let last = String::from_utf8_lossy(&all[last.unwrap_or(0)..]).to_lowercase();
        if !target.keeps_contract() && last.contains("connection: close") {
            return skipped(format!("it closes after {answers} answers"));
        }
        ended?;
        // The last request may be incomplete, and get an answer of its own.
        ensure(
            (whole..=whole + 1).contains(&answers),
            format!("{whole} answers"),
            answers,
        )?;
    }
    Ok(())
}

fn pipelined_bodies(target: &Target) -> Outcome {
    let server = target.serve(Http)?;
    let mut dialogue = Dialogue::new(target, &server)?;
    dialogue.send(&format!(
        "{POST}{GET}{POST_CHUNKED}{GET}{POST}{POST_CHUNKED}{GET}"
    ))?;
    let are_get = [false, true, false, true, false, false, true];
    answers(target, &mut dialogue, &are_get)?;
    dialogue.goes_on()
}

fn nothing_after_close(target: &Target) -> Outcome {
    let server = target.serve(Http)?;
    let mut dialogue = Dialogue::new(target, &server)?;
    dialogue.send(&format!("{GET}{GET_AND_CLOSE}{GET}{GET}"))?;
    answers(target, &mut dialogue, &[true, true])?;
    dialogue.client.expect_end()
}

fn byte_by_byte(target: &Target) -> Outcome {
    let server = target.serve(Http)?;
    let mut dialogue = Dialogue::new(target, &server)?;
    for request in [GET, POST, GET] {
        send_bytes(target, dialogue.client()?, request)?;
        answers(target, &mut dialogue, &[request == GET])?;
    }
    Ok(())
}

fn split_everywhere(target: &Target) -> Outcome {
    let server = target.serve(Http)?;
    let mut dialogue = Dialogue::new(target, &server)?;
    let request = format!("{POST_CHUNKED}{GET}");
    for at in 1..request.len() {
        if !target.keeps_contract() {
            // It may close after any number of answers, and both requests must be on one connection.
            dialogue = Dialogue::new(target, &server)?;
        }
        let (first, second) = request.as_bytes().split_at(at);
        dialogue
            .client
            .send_alone(first)
            .and_then(|()| dialogue.client.send(second))
            .and_then(|()| answers(target, &mut dialogue, &[false, true]))
            .map_err(|outcome| outcome.about(format_args!("a cut after {at} bytes")))?;
    }
    Ok(())
}

fn half_close(target: &Target) -> Outcome {
    let server = target.serve(Http)?;
    for _ in 0..20 {
        let mut client = server.connect()?;
        client.send_and_half_close_at_once(GET.as_bytes())?;
        client.expect_status(200)?;
        client.expect_end()?;
    }
    Ok(())
}

fn end_in_mid_head(target: &Target) -> Outcome {
    let server = target.serve(Http)?;
    for part in [
        "",
        "GET",
        "GET / HTTP/1.1\r\nHo",
        "GET / HTTP/1.1\r\nHost: a\r\n",
    ] {
        let mut client = server.connect()?;
        client.send_and_half_close_at_once(part.as_bytes())?;
        client
            .expect_gone()
            .map_err(|outcome| outcome.about(named(part)))?;
    }
    ask_once(&server)
}
