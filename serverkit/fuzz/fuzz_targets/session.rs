//! Echo and once under any order of reads, writes and a stop: what comes out is right and bounded.
#![no_main]

use std::time::{Duration, Instant};

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use serverkit::Mode;
use serverkit::mode::ONCE_ANSWER;
use serverkit::session::Session;

#[derive(Debug, Arbitrary)]
enum Turn {
    Read(Vec<u8>),
    Write(u8),
    EndOfInput,
    Stop,
}

fuzz_target!(|input: (bool, u8, Vec<Turn>)| {
    let (echo, size, turns) = input;
    let size = usize::from(size) + 1;
    let now = Instant::now();
    let mode = if echo { Mode::Echo } else { Mode::Once };
    let mut session = Session::new(mode, size, None, now);
    let mut expected = Vec::new();
    let mut output = Vec::new();
    // In the end the client takes all, half-closes, and takes the rest.
    let last = [Turn::Write(u8::MAX), Turn::Write(u8::MAX), Turn::EndOfInput];
    for turn in turns.into_iter().chain(last) {
        match turn {
            Turn::Stop => {
                session.stop(now + Duration::from_secs(5));
                session.found_no_input();
            }
            Turn::EndOfInput if session.interest().read => session.did_read(0, now),
            Turn::Read(bytes) if session.interest().read && !bytes.is_empty() => {
                let space = session.read_space();
                let n = bytes.len().min(space.len());
                assert!(n > 0, "no space, which reads as end of input");
                space[..n].copy_from_slice(&bytes[..n]);
                if !session.is_lingering() {
                    let answer = if echo { &bytes[..n] } else { ONCE_ANSWER };
                    expected.extend_from_slice(answer);
                }
                session.did_read(n, now);
            }
            Turn::Write(n) => {
                let n = usize::from(n).min(session.pending().len());
                output.extend_from_slice(&session.pending()[..n]);
                session.did_write(n, now);
            }
            Turn::Read(_) | Turn::EndOfInput => {}
        }
        session.answer(9);
        assert!(session.pending().len() <= size.max(ONCE_ANSWER.len()));
        assert_eq!([&output, session.pending()].concat(), expected);
        session.take_shutdown(now);
        let interest = session.interest();
        assert_eq!(interest.write, !session.pending().is_empty());
        assert!(
            interest.read || interest.write || session.is_done(),
            "waits for nothing"
        );
    }
    assert!(session.is_done());
    assert_eq!(output, expected);
});
