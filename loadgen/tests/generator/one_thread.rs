//! An echo server of one thread, which notes what it did and can be put to sleep.

use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use socket2::SockRef;

/// Bytes of a message.
pub const SIZE: usize = 64;

/// From when on and for how long the server shall stand still.
pub type Nap = (Instant, Duration);

/// A running server; it ends with the first of its clients.
pub struct OneThread {
    pub address: SocketAddr,
    pub naps: mpsc::Sender<Nap>,
    answered: Arc<AtomicUsize>,
    thread: JoinHandle<Notes>,
}

/// What a server did.
#[derive(Default)]
pub struct Notes {
    /// When it answered.
    pub answers: Vec<SystemTime>,
    /// When it accepted its clients.
    pub accepts: Vec<Instant>,
    /// Where they came from.
    pub sources: HashSet<IpAddr>,
}

impl OneThread {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        SockRef::from(&listener).listen(4096).unwrap();
        let address = listener.local_addr().unwrap();
        let (naps, planned) = mpsc::channel();
        let answered = Arc::new(AtomicUsize::new(0));
        let counter = answered.clone();
        let thread = thread::spawn(move || serve(&listener, &planned, &counter));
        Self {
            address,
            naps,
            answered,
            thread,
        }
    }

    /// Requests answered until now.
    pub fn answered(&self) -> usize {
        self.answered.load(Ordering::Relaxed)
    }

    /// Waits for its end.
    pub fn notes(self) -> Notes {
        self.thread.join().unwrap()
    }
}

fn serve(listener: &TcpListener, planned: &mpsc::Receiver<Nap>, answered: &AtomicUsize) -> Notes {
    let epoll = Epoll::new(EpollCreateFlags::empty()).unwrap();
    let watch = |socket: &dyn AsFd, number: usize| {
        let event = EpollEvent::new(EpollFlags::EPOLLIN, number as u64);
        epoll.add(socket.as_fd(), event).unwrap();
    };
    watch(listener, 0);
    let mut streams: Vec<TcpStream> = Vec::new();
    let mut notes = Notes::default();
    let mut next = None;
    let mut events = [EpollEvent::empty(); 64];
    loop {
        let count = epoll.wait(&mut events, 1u8).unwrap();
        next = next.or_else(|| planned.try_recv().ok());
        if let Some((start, length)) = next
            && start <= Instant::now()
        {
            thread::sleep((start + length).saturating_duration_since(Instant::now()));
            next = None;
        }
        for event in &events[..count] {
            let Some(number) = (event.data() as usize).checked_sub(1) else {
                let (stream, client) = listener.accept().unwrap();
                stream.set_nodelay(true).unwrap();
                streams.push(stream);
                watch(streams.last().unwrap(), streams.len());
                notes.accepts.push(Instant::now());
                notes.sources.insert(client.ip());
                continue;
            };
            let mut message = [0; SIZE];
            let stream = &mut streams[number];
            // Its clients send whole messages and then go all at once.
            if stream.read_exact(&mut message).is_err() || stream.write_all(&message).is_err() {
                return notes;
            }
            notes.answers.push(SystemTime::now());
            answered.fetch_add(1, Ordering::Relaxed);
        }
    }
}
