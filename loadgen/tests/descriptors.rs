//! What becomes of requests whose connection cannot be opened again. It is a program of its own, because it lowers
//! its own limit of descriptors.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use loadgen::engine;
use loadgen::engine::observer::{Observer, Phase};
use loadgen::workload::client::Client;
use loadgen::workload::course::Course;
use loadgen::workload::load::{Load, Mode, Neighbours, Shard, Timestamps, Workload};
use loadgen::workload::raw::RawRequest;
use loadgen::workload::requests::HttpLoad;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// From the beginning of the measured time on there are no new descriptors.
struct Thief;

impl Observer for Thief {
    fn phase(&mut self, phase: Phase) {
        if phase == Phase::Measuring {
            let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
            setrlimit(Resource::RLIMIT_NOFILE, 0, hard).unwrap();
        }
    }
}

/// Each connection has one answer, and then the server closes it.
fn server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        loop {
            match listener.accept() {
                Ok((stream, _)) => {
                    thread::spawn(|| serve(stream));
                }
                // There is no descriptor left.
                Err(_) => thread::sleep(Duration::from_millis(10)),
            }
        }
    });
    address
}

fn serve(mut stream: TcpStream) -> io::Result<()> {
    let mut buffer = [0; 4096];
    if stream.read(&mut buffer)? > 0 {
        // The measured time shall begin while requests are in flight.
        thread::sleep(Duration::from_millis(20));
        stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")?;
        while stream.read(&mut buffer)? > 0 {}
    }
    Ok(())
}

#[test]
fn requests_whose_connection_cannot_be_opened_again_fail() {
    let workload = Workload {
        target: server().into(),
        mode: Mode::Http,
        tls: None,
        load: Load::Closed,
        client: Client::default(),
        connections: 4,
        pipeline: 4,
        size: 64,
        warmup: Duration::from_millis(100),
        duration: Duration::from_millis(300),
        drain: Duration::from_millis(100),
        threads: 1,
        cpus: Vec::new(),
        source_addresses: 0,
        sources: Vec::new(),
        spin: false,
        timestamps: Timestamps::default(),
        seed: 1,
        neighbours: Neighbours::default(),
        http: HttpLoad::default(),
        raw: RawRequest::default(),
        course: Course::Steady,
        start_at: None,
        shard: Shard::default(),
    };
    let recording = engine::trial::run(&workload, &mut Thief).unwrap();
    let counts = recording.counts;
    assert_eq!(
        counts.scheduled,
        counts.answered + counts.failed + counts.in_flight + counts.never_sent,
        "{counts:#?}"
    );
    assert_eq!(recording.connections_missing, 4);
    let errors = counts.errors.iter();
    let errors: Vec<(String, u64)> = errors.map(|(kind, n)| (kind.to_string(), *n)).collect();
    assert!(counts.failed > 0, "{counts:#?}");
    assert_eq!(errors, [("no-resources".to_owned(), counts.failed)]);
}
