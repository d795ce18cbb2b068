//! Clients that leave, or go on sending, while helpers work on their requests.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::Duration;

use conformance::OwnServer;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use socket2::SockRef;

const PROGRAM: &str = env!("CARGO_BIN_EXE_helpers-server");

fn reset(client: TcpStream) {
    let linger = SockRef::from(&client).set_linger(Some(Duration::ZERO));
    linger.expect("a socket");
    drop(client);
}

#[test]
fn those_who_stay_get_each_of_their_bytes() {
    const CLIENTS: u64 = 12;
    const TURNS: u64 = 40;
    let server = OwnServer::start(PROGRAM, "--helpers 3 --block exp:1ms@60%");
    let resets: u64 = thread::scope(|scope| {
        let run = |number| {
            let server = &server;
            scope.spawn(move || {
                let mut random = StdRng::seed_from_u64(number);
                let mut client = server.connect();
                let mut resets = 0;
                for _ in 0..TURNS {
                    let mut sent = vec![0; random.random_range(1..5000)];
                    random.fill(&mut sent[..]);
                    client.write_all(&sent).expect("room");
                    if random.random_bool(0.2) {
                        reset(std::mem::replace(&mut client, server.connect()));
                        resets += 1;
                        continue;
                    }
                    let mut back = vec![0; sent.len()];
                    client.read_exact(&mut back).expect("all of it");
                    assert!(back == sent, "other bytes came back");
                }
                client.shutdown(Shutdown::Write).expect("open");
                assert_eq!(client.read(&mut [0]).expect("no reset"), 0);
                resets
            })
        };
        let clients: Vec<_> = (0..CLIENTS).map(run).collect();
        let joined = clients.into_iter().map(thread::ScopedJoinHandle::join);
        joined.map(|resets| resets.expect("no panic")).sum()
    });
    assert!(resets > 0, "nobody has left");
    let (stats, told) = server.stop();
    assert_eq!(stats["accepted"], CLIENTS + resets, "{told}");
    assert_eq!(stats["closed"], CLIENTS + resets, "{told}");
}

#[test]
fn what_a_client_does_while_it_waits_does_not_wake_the_loop_again_and_again() {
    let server = OwnServer::start(PROGRAM, "--block 300ms --trace");
    // One sends more, one half-closes, one is gone.
    let [mut sends, mut closes, gone] = [(); 3].map(|()| server.connect());
    for mut client in [&sends, &closes, &gone] {
        client.write_all(b"a").expect("room");
    }
    // Each byte has an answer of its own only if the first one was read alone.
    server.await_told("read 1 ", 3);
    sends.write_all(b"b").expect("room");
    closes.shutdown(Shutdown::Write).expect("open");
    reset(gone);
    let mut back = [0; 2];
    sends.read_exact(&mut back).expect("both");
    assert_eq!(&back, b"ab");
    let mut rest = Vec::new();
    closes.read_to_end(&mut rest).expect("no reset");
    assert_eq!(rest, b"a");
    let (_, told) = server.stop();
    let waits = told.lines().filter(|line| line.contains("epoll_wait"));
    let waits = waits.count();
    assert!((4..60).contains(&waits), "{waits} waits: {told}");
}
