//! The session against an oracle, over a scripted socket.

mod http;
mod kernel;

use std::time::{Duration, Instant};

use kernel::{Driver, Kernel, Turn, drive, drivers, session, turns};
use proptest::prelude::*;
use serverkit::Mode;
use serverkit::mode::ONCE_ANSWER;
use serverkit::session::{LINGER_BYTES, LINGER_TIME, LINGER_TIME_AT_STOP, Session};

const DRIVERS: [Driver; 3] = [Driver::Blocking, Driver::Level, Driver::Edge];

/// All ways to cut `n` bytes into pieces, as the pieces' lengths.
fn cuts(n: usize) -> impl Iterator<Item = Vec<usize>> {
    (0..1_u32 << n.saturating_sub(1)).map(move |mask| {
        let mut pieces = Vec::new();
        let mut piece = 0;
        for i in 0..n {
            piece += 1;
            if i + 1 == n || mask >> i & 1 == 1 {
                pieces.push(std::mem::take(&mut piece));
            }
        }
        pieces
    })
}

#[test]
fn echo_is_exact_at_every_split_of_reads_and_writes() {
    for n in 0..=6 {
        let message: Vec<u8> = (0..n as u8).collect();
        for buffer_size in 1..=n + 1 {
            for reads in cuts(n) {
                for writes in cuts(n) {
                    let now = Instant::now();
                    let mut session = session(Mode::Echo, buffer_size);
                    let mut output = Vec::new();
                    let mut unread = &message[..];
                    let mut writes = writes.iter();
                    for &piece in &reads {
                        let mut piece = &unread[..piece];
                        unread = &unread[piece.len()..];
                        while !piece.is_empty() {
                            let space = session.read_space();
                            let n = piece.len().min(space.len());
                            space[..n].copy_from_slice(&piece[..n]);
                            piece = &piece[n..];
                            session.did_read(n, now);
                            assert_eq!(session.answer(9), 1);
                            assert!(session.pending().len() <= buffer_size);
                            let n = writes
                                .next()
                                .map_or(usize::MAX, |&n| n)
                                .min(session.pending().len());
                            output.extend_from_slice(&session.pending()[..n]);
                            session.did_write(n, now);
                        }
                    }
                    session.did_read(0, now);
                    output.extend_from_slice(session.pending());
                    session.did_write(session.pending().len(), now);
                    assert!(session.is_done());
                    assert_eq!(output, message);
                }
            }
        }
    }
}

proptest! {
    #[test]
    fn echo_gives_back_every_byte_in_order(
        message in prop::collection::vec(any::<u8>(), 0..20_000),
        buffer_size in prop_oneof![1_usize..20, 1_usize..20_000],
        script in turns(),
        driver in drivers(),
    ) {
        let session = session(Mode::Echo, buffer_size);
        let outcome = drive(session, Kernel::new(&message, true, script), driver, None);
        prop_assert!(outcome.done);
        prop_assert!(!outcome.shut_down, "the client closed first");
        prop_assert!(outcome.most_held <= buffer_size);
        prop_assert_eq!(outcome.output, message);
    }

    #[test]
    fn echo_keeps_an_open_client(
        message in prop::collection::vec(any::<u8>(), 0..5000),
        buffer_size in 1_usize..5000,
        script in turns(),
        driver in drivers(),
    ) {
        let session = session(Mode::Echo, buffer_size);
        let outcome = drive(session, Kernel::new(&message, false, script), driver, None);
        prop_assert!(!outcome.done && !outcome.shut_down);
        prop_assert_eq!(outcome.output, message);
    }

    #[test]
    fn a_stopped_echo_gives_back_what_it_had_read(
        message in prop::collection::vec(any::<u8>(), 1..5000),
        buffer_size in prop_oneof![1_usize..20, 1_usize..5000],
        script in turns(),
        driver in drivers(),
        half_closes: bool,
        stop_after in 0_usize..5000,
    ) {
        let session = session(Mode::Echo, buffer_size);
        let kernel = Kernel::new(&message, half_closes, script);
        let stops = stop_after <= message.len();
        let outcome = drive(session, kernel, driver, Some(stop_after));
        prop_assert_eq!(&outcome.output, &message[..outcome.used]);
        prop_assert!(outcome.used >= stop_after.min(message.len()));
        prop_assert_eq!(outcome.done, half_closes);
        prop_assert!(outcome.shut_down || !stops || half_closes);
        prop_assert_eq!(outcome.read, message.len(), "the rest was thrown away");
    }

    #[test]
    fn once_answers_once_and_then_waits_for_the_client(
        message in prop::collection::vec(any::<u8>(), 0..100),
        buffer_size in 1_usize..200,
        script in turns(),
        driver in drivers(),
        half_closes: bool,
    ) {
        let session = session(Mode::Once, buffer_size);
        let kernel = Kernel::new(&message, half_closes, script);
        let outcome = drive(session, kernel, driver, None);
        let asked = !message.is_empty();
        prop_assert_eq!(outcome.output, if asked { ONCE_ANSWER } else { b"" });
        prop_assert_eq!(outcome.shut_down, asked);
        prop_assert_eq!(outcome.requests, u32::from(asked));
        prop_assert_eq!(outcome.done, half_closes);
    }
}

#[test]
fn lingering_ends_after_a_mebibyte() {
    let flood = vec![b'x'; 2 * LINGER_BYTES];
    for driver in DRIVERS {
        for buffer_size in [1000, 16 * 1024] {
            let session = session(Mode::Once, buffer_size);
            let outcome = drive(session, Kernel::new(&flood, false, vec![]), driver, None);
            assert_eq!(outcome.output, ONCE_ANSWER);
            assert!(outcome.done);
            let discarded = outcome.read - outcome.used;
            assert!(
                (LINGER_BYTES..LINGER_BYTES + buffer_size).contains(&discarded),
                "{discarded}"
            );
        }
    }
}

#[test]
fn a_client_that_never_reads_is_not_read_from_for_ever() {
    let flood = vec![b'x'; 100_000];
    for driver in [Driver::Level, Driver::Edge] {
        let mut session = session(Mode::Echo, 1000);
        let mut taken = 0;
        while session.interest().read {
            let space = session.read_space();
            let n = space.len().min(300);
            space[..n].copy_from_slice(&flood[..n]);
            session.did_read(n, Instant::now());
            taken += n;
        }
        assert_eq!(taken, 1000);
        assert!(session.interest().write);
        // It reads after all.
        let outcome = drive(
            session,
            Kernel::new(&flood, true, vec![Turn::WouldBlock]),
            driver,
            None,
        );
        assert_eq!(outcome.output.len(), 101_000);
        assert!(outcome.done);
    }
}

#[test]
fn a_stop_between_any_two_calls_ends_a_session() {
    let now = Instant::now();
    let end_of_grace = now + Duration::from_secs(5);
    for mode in [Mode::Echo, Mode::Once] {
        for calls_before in 0..4 {
            let mut session = session(mode, 16);
            let mut calls = 0..calls_before;
            if calls.next().is_some() {
                session.read_space()[..2].copy_from_slice(b"hi");
                session.did_read(2, now);
            }
            if calls.next().is_some() {
                session.answer(1);
            }
            if calls.next().is_some() {
                session.did_write(1, now);
            }
            session.stop(end_of_grace);
            assert_eq!(session.deadline(), Some(end_of_grace));
            session.answer(1);
            session.found_no_input();
            session.did_write(session.pending().len(), now);
            assert!(session.take_shutdown(now));
            assert!(!session.take_shutdown(now), "once");
            assert!(session.is_lingering() && session.interest().read);
            session.found_no_input();
            session.did_read(0, now);
            assert!(session.is_done(), "{mode:?} after {calls_before} calls");
        }
    }
}

#[test]
fn a_stop_answers_what_comes_before_the_socket_is_empty() {
    let now = Instant::now();
    let mut session = session(Mode::Echo, 16);
    session.stop(now + Duration::from_secs(5));
    for _ in 0..3 {
        assert!(session.interest().read && !session.take_shutdown(now));
        session.read_space()[..2].copy_from_slice(b"hi");
        session.did_read(2, now);
        assert_eq!(session.answer(9), 1);
        assert_eq!(session.pending(), b"hi");
        session.did_write(2, now);
    }
    session.found_no_input();
    assert!(!session.interest().read && session.take_shutdown(now));
}

#[test]
fn the_deadline_is_the_soonest_of_idle_linger_and_grace() {
    let start = Instant::now();
    let after = |seconds| start + Duration::from_secs(seconds);
    let idle = Some(Duration::from_secs(10));
    let mut session = Session::new(Mode::Once, 16, idle, start);
    assert_eq!(session.deadline(), Some(after(10)));
    // Each byte moves it, in either direction.
    session.read_space()[0] = b'x';
    session.did_read(1, after(5));
    assert_eq!(session.deadline(), Some(after(15)));
    session.answer(1);
    session.did_write(1, after(7));
    assert_eq!(session.deadline(), Some(after(17)));
    let mut stopped = Session::new(Mode::Once, 16, idle, start);
    stopped.stop(after(6));
    assert_eq!(stopped.deadline(), Some(after(6)));
    stopped.found_no_input();
    assert!(stopped.take_shutdown(after(5)));
    assert_eq!(stopped.deadline(), Some(after(5) + LINGER_TIME_AT_STOP));
    session.did_write(session.pending().len(), after(8));
    assert!(session.take_shutdown(after(8)));
    assert_eq!(session.deadline(), Some(after(8) + LINGER_TIME));
}

#[test]
fn an_idle_session_is_small() {
    assert!(size_of::<Session>() <= 168, "{}", size_of::<Session>());
}
