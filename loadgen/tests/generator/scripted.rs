//! A server that behaves as a test asks it to: one blocking thread for each connection.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use socket2::SockRef;

/// What is done with a connection's bytes.
#[derive(Debug, Clone)]
pub enum Script {
    /// All come back.
    Echo,
    /// They come back after this time, which each read takes.
    Delay(Duration),
    /// They come back in pieces of this many bytes.
    Pieces(usize),
    /// They come back, each n-th of a connection with a bit turned.
    Corrupt(usize),
    /// They come back, and after this many of a connection one more in the same write.
    Surplus(usize),
    /// This many come back, then the connection is closed.
    CloseAfter(usize),
    /// This many come back, then the connection is reset.
    ResetAfter(usize),
    /// This many come back, and then nothing does.
    SilentAfter(usize),
    /// This many come back. Then nothing does for this time, and then the connection is reset.
    ResetLate(usize, Duration),
    /// The first connection that says something gets an echo, all others nothing.
    OnlyOne(Arc<AtomicBool>),
    /// They are read, and nothing comes back.
    Silence,
    /// Nothing is read.
    Deaf,
    /// They come back one read after the other, over all connections: at the later of arrival and last answer,
    /// plus the pace's time.
    Paced(Pace),
    /// These bytes as soon as a client is there; nothing else.
    Greets(&'static [u8]),
    /// A greeting for the first bytes, then the end.
    Once(&'static [u8]),
    /// Always the same answer for each request, which ends with an empty line.
    Http(&'static [u8]),
    /// The same, and the connection stays open whatever the client says.
    HttpStays(&'static [u8]),
    /// The same for this many requests of a connection; the answer to the last one says that it closes.
    HttpTurns(usize),
}

/// One worker that all connections of a server share.
#[derive(Debug, Clone)]
pub struct Pace {
    service: Duration,
    free_at: Arc<Mutex<Instant>>,
}

impl Pace {
    /// Each read takes the worker this time.
    pub fn new(service: Duration) -> Self {
        Self {
            service,
            free_at: Arc::new(Mutex::new(Instant::now())),
        }
    }

    fn wait(&self) {
        let due = {
            let mut free_at = self.free_at.lock().unwrap();
            *free_at = Instant::now().max(*free_at) + self.service;
            *free_at
        };
        thread::sleep(due.saturating_duration_since(Instant::now()));
    }
}

/// A running server; its threads end with the connections they serve.
pub struct Server {
    pub address: SocketAddr,
    accepted: Arc<AtomicUsize>,
    asked: Arc<AtomicUsize>,
}

impl Server {
    pub fn start(script: Script) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        // The default backlog of 128 is less than what a ramp may bring at once.
        SockRef::from(&listener).listen(4096).unwrap();
        let address = listener.local_addr().unwrap();
        let [accepted, asked] = [(); 2].map(|()| Arc::new(AtomicUsize::new(0)));
        let counters = (accepted.clone(), asked.clone());
        thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { return };
                counters.0.fetch_add(1, Ordering::Relaxed);
                let (script, asked) = (script.clone(), counters.1.clone());
                // A client that breaks its connection ends this thread and nothing else.
                thread::spawn(move || serve(stream, &script, &asked));
            }
        });
        Self {
            address,
            accepted,
            asked,
        }
    }

    pub fn accepted(&self) -> usize {
        self.accepted.load(Ordering::Relaxed)
    }

    /// Waits until it has accepted this many connections. `loadgen run` makes one more, before the load, to find out
    /// whether anybody listens.
    pub fn await_accepted(&self, connections: usize) {
        wait_for(&self.accepted, connections, "connections");
    }

    /// Waits until requests have come over this many connections, so that the load has begun.
    pub fn await_asked(&self, connections: usize) {
        wait_for(&self.asked, connections, "connections with a request");
    }
}

fn wait_for(counter: &AtomicUsize, number: usize, what: &str) {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let reached = counter.load(Ordering::Relaxed);
        if reached >= number {
            return;
        }
        assert!(Instant::now() < deadline, "{reached} of {number} {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

pub const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc";
const LAST: &[u8] = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 3\r\n\r\nabc";

fn serve(mut stream: TcpStream, script: &Script, asked: &AtomicUsize) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = vec![0; 64 * 1024];
    let mut total = 0;
    let mut turns = 0;
    let mut chosen = false;
    let mut request = Vec::new();
    if let Script::Greets(greeting) = script {
        stream.write_all(greeting)?;
    }
    loop {
        if let Script::Deaf = script {
            thread::sleep(Duration::from_hours(1));
        }
        let count = stream.read(&mut buffer)?;
        if count == 0 {
            return Ok(());
        }
        if total == 0 {
            asked.fetch_add(1, Ordering::Relaxed);
        }
        let data = &mut buffer[..count];
        match script {
            Script::Echo => stream.write_all(data)?,
            Script::Delay(delay) => {
                thread::sleep(*delay);
                stream.write_all(data)?;
            }
            Script::Pieces(size) => {
                for piece in data.chunks(*size) {
                    stream.write_all(piece)?;
                }
            }
            Script::Corrupt(every) => {
                let first = every - 1 - total % every;
                for byte in data.iter_mut().skip(first).step_by(*every) {
                    *byte ^= 1;
                }
                stream.write_all(data)?;
            }
            Script::Surplus(after) => {
                let mut answer = data.to_vec();
                if (total + 1..=total + count).contains(after) {
                    answer.push(0);
                }
                stream.write_all(&answer)?;
            }
            Script::CloseAfter(most) | Script::ResetAfter(most) => {
                let left = most - total;
                if count >= left {
                    stream.write_all(&data[..left])?;
                    if let Script::ResetAfter(_) = script {
                        SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
                    }
                    return Ok(());
                }
                stream.write_all(data)?;
            }
            Script::SilentAfter(most) => {
                let left = most.saturating_sub(total).min(count);
                stream.write_all(&data[..left])?;
            }
            Script::ResetLate(after, pause) => {
                if total + count > *after {
                    thread::sleep(*pause);
                    SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
                    return Ok(());
                }
                stream.write_all(data)?;
            }
            Script::OnlyOne(taken) => {
                if total == 0 {
                    chosen = !taken.swap(true, Ordering::Relaxed);
                }
                if chosen {
                    stream.write_all(data)?;
                }
            }
            Script::Paced(pace) => {
                pace.wait();
                stream.write_all(data)?;
            }
            Script::Once(answer) => {
                stream.write_all(answer)?;
                stream.shutdown(Shutdown::Write)?;
                while stream.read(&mut buffer)? > 0 {}
                return Ok(());
            }
            Script::Http(_) | Script::HttpStays(_) | Script::HttpTurns(_) => {
                request.extend_from_slice(data);
                while let Some(end) = request.windows(4).position(|w| w == b"\r\n\r\n") {
                    let head: Vec<u8> = request.drain(..end + 4).collect();
                    turns += 1;
                    let asked = head.windows(17).any(|w| w == b"Connection: close");
                    let (answer, last): (&[u8], bool) = match script {
                        Script::Http(answer) => (answer, asked),
                        Script::HttpTurns(most) if turns == *most => (LAST, true),
                        Script::HttpStays(answer) => (answer, false),
                        _ => (OK, false),
                    };
                    stream.write_all(answer)?;
                    if last {
                        // What the client sent beside it is read, or the close would be a reset.
                        stream.shutdown(Shutdown::Write)?;
                        while stream.read(&mut buffer)? > 0 {}
                        return Ok(());
                    }
                }
            }
            Script::Silence | Script::Deaf | Script::Greets(_) => {}
        }
        total += count;
    }
}

/// An echo server with one worker, each of whose requests takes exactly `service`: it answers at the later
/// of arrival and last answer, plus that. It spins on this core, so that nothing but its pace delays an answer.
pub fn exact(service: Duration, size: usize, core: usize) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    SockRef::from(&listener).listen(4096).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        supervisor::pin(&[core]).unwrap();
        let epoll = Epoll::new(EpollCreateFlags::empty()).unwrap();
        let watch = |socket: &dyn std::os::fd::AsFd, number: usize| {
            let event = EpollEvent::new(EpollFlags::EPOLLIN, number as u64);
            epoll.add(socket.as_fd(), event).unwrap();
        };
        watch(&listener, 0);
        let mut streams: Vec<TcpStream> = Vec::new();
        let mut queue = VecDeque::new();
        let mut free_at = Instant::now();
        let mut events = [EpollEvent::empty(); 64];
        loop {
            let count = epoll.wait(&mut events, 0u8).unwrap();
            for event in &events[..count] {
                let Some(number) = (event.data() as usize).checked_sub(1) else {
                    let (stream, _) = listener.accept().unwrap();
                    stream.set_nodelay(true).unwrap();
                    streams.push(stream);
                    watch(streams.last().unwrap(), streams.len());
                    continue;
                };
                let mut message = vec![0; size];
                // Its clients send whole messages and then go all at once.
                if streams[number].read_exact(&mut message).is_err() {
                    return;
                }
                queue.push_back((Instant::now(), number, message));
            }
            while let Some((arrived, number, message)) = queue.front() {
                let due = free_at.max(*arrived) + service;
                if Instant::now() < due {
                    break;
                }
                streams[*number].write_all(message).unwrap();
                free_at = due;
                queue.pop_front();
            }
        }
    });
    address
}
