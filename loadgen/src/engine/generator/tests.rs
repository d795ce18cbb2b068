//! A thread of the generator alone, with a protocol whose cost is known.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use clap::{Args, Command, FromArgMatches};

use super::queue::Queue;
use super::{Task, run};
use crate::engine::clock;
use crate::engine::connector::Connector;
use crate::engine::messages::{Message, Share, Window};
use crate::protocol::client::{Outcome, Protocol, Request};
use crate::protocol::error::ErrorKind;
use crate::workload::address::parse_address;
use crate::workload::flags::ask::AskArgs;
use crate::workload::load::{Shard, Workload};

/// CPU time that it takes to make a request.
const WORK: Duration = Duration::from_micros(100);

/// Requests and answers of one byte; a request is laborious.
struct Laborious;

impl Protocol for Laborious {
    type Answer = ();

    fn request_len(&self, _: Request) -> usize {
        1
    }

    fn fill(&self, _: Request, _: usize, out: &mut [u8]) {
        let end = clock::thread_cpu() + WORK;
        while clock::thread_cpu() < end {}
        out.fill(0);
    }

    fn receive(&self, (): &mut (), _: Request, _: &[u8]) -> (usize, Option<Outcome>) {
        (1, Some(Outcome::RIGHT))
    }

    fn end(&self, (): &mut ()) -> Outcome {
        Outcome::Broken(ErrorKind::ClosedEarly)
    }
}

/// An echo server that takes its time, so that no answer is there yet when a request was sent; and a load for it.
fn workload(flags: &str) -> Workload {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            thread::spawn(move || {
                let mut byte = [0];
                while stream.read(&mut byte)? > 0 {
                    thread::sleep(10 * WORK);
                    stream.write_all(&byte)?;
                }
                std::io::Result::Ok(())
            });
        }
    });
    let command = AskArgs::augment_args(Command::new("load").no_binary_name(true));
    let matches = command.get_matches_from(flags.split(' '));
    let ask = AskArgs::from_arg_matches(&matches).unwrap();
    let address = parse_address(&address).unwrap();
    ask.workload(&address, Shard::default(), &|_| unreachable!("no file"))
        .unwrap()
}

/// What one thread records that begins to measure at once.
fn share(workload: &Workload) -> Share {
    let connector = Connector::new(workload).unwrap();
    let (cancelled, cut) = (AtomicBool::new(false), AtomicBool::new(false));
    let (messages, inbox) = mpsc::channel();
    let (begin, window) = mpsc::channel();
    let (_spares, spares) = mpsc::channel();
    let task = Task {
        workload,
        connector: &connector,
        queue: Queue::new().unwrap(),
        thread: 0,
        threads: 1,
        cancelled: &cancelled,
        cut: &cut,
        messages,
        window,
        spares,
    };
    thread::scope(|scope| {
        scope.spawn(|| run(&Laborious, task));
        let mut begin = Some(begin);
        for message in inbox {
            match message {
                Message::Ramped => {
                    let start = clock::now();
                    let end = start + clock::nanos(workload.duration);
                    let limit = end + clock::nanos(workload.drain);
                    let window = Window {
                        start,
                        measure: start,
                        end,
                        limit,
                    };
                    begin.take().unwrap().send(window).unwrap();
                }
                Message::Lap { .. } => {}
                Message::Done(share) => return *share,
                Message::Failed(error) => panic!("{error:#}"),
            }
        }
        panic!("it has ended without a word");
    })
}

#[test]
fn the_time_in_which_requests_are_made_is_no_spinning() {
    let share = share(&workload(
        "-c 32 -r 500 --arrivals constant --spin --warmup 0s -d 500ms --drain 10s",
    ));
    let requests = share.counts.scheduled as u32;
    assert!(requests >= 240, "{requests}");
    // The work is 5 % of the time: on a busy machine, too, some is left to spin.
    let time = share.time;
    assert!(time.spun > Duration::ZERO, "{time:?}");
    // While it spins it may lose its core: that is no CPU time.
    let had = time.cpu + time.run_delay.unwrap_or_default();
    let useful = had.saturating_sub(time.spun);
    assert!(useful >= WORK * requests * 9 / 10, "{useful:?}: {time:?}");
}
