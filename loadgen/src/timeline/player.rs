//! The clients of a scene, and what they saw.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use nix::poll::PollFlags;
use nix::time::{ClockId, clock_gettime};
use socket2::{Domain, Socket, Type};

use super::scene;

/// How long the kernel may take to connect.
const CONNECT_LIMIT: Duration = Duration::from_secs(1);
/// The receive buffer of a client that reads late, bytes: it is small, so that the server notices.
const LITTLE_ROOM: usize = 4096;

/// What the clients send.
static MESSAGE: [u8; 64 * 1024] = [b'x'; 64 * 1024];

/// `CLOCK_MONOTONIC`, nanoseconds: the clock of the traces.
pub fn now() -> u64 {
    clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(0, |time| {
        time.tv_sec() as u64 * 1_000_000_000 + time.tv_nsec() as u64
    })
}

/// What a client saw. Times are nanoseconds of `CLOCK_MONOTONIC`.
#[derive(Debug, Default, Clone)]
pub struct Seen {
    /// When it was connected: the kernel does that, whether the server accepts it or not.
    pub connected: Option<u64>,
    /// The pieces that it sent: when, and how many bytes it had sent by then.
    pub sent: Vec<Moved>,
    /// What came back: when, and how many bytes it had by then.
    pub received: Vec<Moved>,
    /// Its questions.
    pub asked: Vec<Asked>,
    /// When the connection ended, and who ended it.
    pub closed: Option<(u64, &'static str)>,
}

/// Bytes that moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moved {
    /// When.
    pub t: u64,
    /// How many bytes have moved in this direction, with these.
    pub total: u64,
}

/// A question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    /// When its first byte was sent.
    pub first: u64,
    /// When its last byte was sent.
    pub last: Option<u64>,
    /// How many bytes it has.
    pub bytes: u64,
    /// When its answer was complete.
    pub answered: Option<u64>,
}

/// A client of a scene while it is played.
pub struct Player<'a> {
    script: &'a scene::Client,
    /// When the scene began.
    start: u64,
    stream: Option<TcpStream>,
    /// The question that is asked, and how many pieces of it were begun.
    ask: usize,
    pieces: u64,
    /// Bytes of the piece that is sent which the kernel has not taken.
    unsent: u64,
    /// All bytes that were sent, and that came back.
    sent: u64,
    received: u64,
    seen: Seen,
}

impl<'a> Player<'a> {
    /// A client that has done nothing yet.
    pub fn new(script: &'a scene::Client, start: u64) -> Self {
        Self {
            script,
            start,
            stream: None,
            ask: 0,
            pieces: 0,
            unsent: 0,
            sent: 0,
            received: 0,
            seen: Seen::default(),
        }
    }

    /// What it saw.
    pub fn into_seen(self) -> Seen {
        self.seen
    }

    /// Whether it is connected, or was.
    pub fn has_come(&self) -> bool {
        self.seen.connected.is_some()
    }

    /// Whether its connection has ended.
    pub fn has_left(&self) -> bool {
        self.seen.closed.is_some()
    }

    /// Whether it has nothing more to do by itself.
    pub fn is_done(&self) -> bool {
        let stays = self.script.close.is_none() && self.seen.connected.is_some();
        self.seen.closed.is_some() || stays && self.ask == self.script.ask.len()
    }

    fn at(&self, time: Duration) -> u64 {
        self.start + time.as_nanos() as u64
    }

    fn may_read(&self, now: u64) -> bool {
        self.script
            .read_from
            .is_none_or(|from| now >= self.at(from))
    }

    /// When it does the next thing by itself; `None`: it waits for the server.
    pub fn due(&self) -> Option<u64> {
        if self.seen.closed.is_some() {
            return None;
        }
        if self.stream.is_none() {
            return Some(self.at(self.script.connect));
        }
        let reads = self.script.read_from.map(|from| self.at(from));
        let reads = reads.filter(|&from| from > now());
        let acts = match self.next_piece() {
            Some((at, _)) => Some(at),
            None if self.ask == self.script.ask.len() => {
                self.script.close.map(|close| self.at(close))
            }
            None => None,
        };
        acts.into_iter().chain(reads).min()
    }

    /// When the next piece is sent, and its size; `None`: not before something else has happened.
    fn next_piece(&self) -> Option<(u64, u64)> {
        let ask = self.script.ask.get(self.ask)?;
        if self.unsent > 0 || self.pieces == ask.pieces {
            return None;
        }
        // The last piece takes what does not divide.
        let size = ask.bytes / ask.pieces;
        let rest = ask.bytes - size * self.pieces;
        let last = self.pieces + 1 == ask.pieces;
        let wait = ask.every * u32::try_from(self.pieces).unwrap_or(u32::MAX);
        Some((self.at(ask.at + wait), if last { rest } else { size }))
    }

    /// Does what is due.
    pub fn act(&mut self, address: SocketAddr) -> io::Result<()> {
        if self.seen.closed.is_some() || self.due().is_none_or(|due| now() < due) {
            return Ok(());
        }
        if self.stream.is_none() {
            self.stream = Some(self.connect(address)?);
            self.seen.connected = Some(now());
            return Ok(());
        }
        match self.next_piece() {
            Some((at, size)) if now() >= at => {
                self.begin_piece(size);
                self.send();
            }
            None if self.ask == self.script.ask.len() => self.close("the client closes"),
            _ => {}
        }
        Ok(())
    }

    fn connect(&self, address: SocketAddr) -> io::Result<TcpStream> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        if self.script.read_from.is_some() {
            socket.set_recv_buffer_size(LITTLE_ROOM)?;
        }
        socket.connect_timeout(&address.into(), CONNECT_LIMIT)?;
        socket.set_tcp_nodelay(true)?;
        socket.set_nonblocking(true)?;
        Ok(socket.into())
    }

    fn begin_piece(&mut self, size: u64) {
        let t = now();
        if self.pieces == 0 {
            self.seen.asked.push(Asked {
                first: t,
                last: None,
                bytes: self.script.ask[self.ask].bytes,
                answered: None,
            });
        }
        self.pieces += 1;
        self.unsent = size;
        let total = self.sent + size;
        self.seen.sent.push(Moved { t, total });
    }

    /// Sends as much as the kernel takes.
    fn send(&mut self) {
        while self.unsent > 0
            && let Some(stream) = &mut self.stream
        {
            let size = MESSAGE.len().min(self.unsent as usize);
            // A short message is taken whole, and its answer may be here before the call returns.
            let t = now();
            match stream.write(&MESSAGE[..size]) {
                Ok(n) => {
                    self.unsent -= n as u64;
                    self.sent += n as u64;
                    let ask = self.script.ask.get(self.ask);
                    let whole = ask.is_some_and(|ask| self.pieces == ask.pieces);
                    if self.unsent == 0
                        && whole
                        && let Some(asked) = self.seen.asked.last_mut()
                    {
                        asked.last = Some(t);
                        self.see_answer(t);
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => return self.close("reset by the server"),
            }
        }
    }

    fn receive(&mut self) {
        let mut bytes = vec![0; 256 * 1024];
        while let Some(stream) = &mut self.stream {
            match stream.read(&mut bytes) {
                Ok(0) => return self.close("the server closes"),
                Ok(n) => self.received(n as u64),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => return self.close("reset by the server"),
            }
        }
    }

    fn received(&mut self, bytes: u64) {
        let t = now();
        self.received += bytes;
        let total = self.received;
        self.seen.received.push(Moved { t, total });
        self.see_answer(t);
    }

    /// Whether the last question is answered now. A server that sends more than it was asked for may do so before the
    /// whole question was sent.
    fn see_answer(&mut self, t: u64) {
        let asked: u64 = self.seen.asked.iter().map(|asked| asked.bytes).sum();
        if let Some(last) = self.seen.asked.last_mut()
            && last.last.is_some()
            && last.answered.is_none()
            && self.received >= asked
        {
            last.answered = Some(t);
            self.ask += 1;
            self.pieces = 0;
        }
    }

    fn close(&mut self, why: &'static str) {
        self.stream = None;
        self.seen.closed = Some((now(), why));
    }

    /// What it waits for at the kernel.
    pub fn interest(&self) -> Option<(BorrowedFd<'_>, PollFlags)> {
        let stream = self.stream.as_ref()?;
        let mut flags = PollFlags::empty();
        flags.set(PollFlags::POLLOUT, self.unsent > 0);
        flags.set(PollFlags::POLLIN, self.may_read(now()));
        (!flags.is_empty()).then(|| (stream.as_fd(), flags))
    }

    /// Does what the kernel says is possible.
    pub fn ready(&mut self, flags: PollFlags) {
        if flags.contains(PollFlags::POLLOUT) {
            self.send();
        }
        if flags.intersects(PollFlags::POLLIN | PollFlags::POLLHUP | PollFlags::POLLERR) {
            self.receive();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use nix::poll::{PollFd, poll};

    use super::*;

    #[test]
    fn a_server_may_say_too_much_before_it_was_asked_for_all() {
        const BYTES: u64 = 8 << 20;
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(&vec![b'y'; BYTES as usize + 1]).unwrap();
            io::copy(&mut stream, &mut io::sink()).unwrap()
        });
        let script = scene::Client {
            connect: Duration::ZERO,
            ask: vec![scene::Ask {
                at: Duration::ZERO,
                bytes: BYTES,
                pieces: 1,
                every: Duration::ZERO,
            }],
            read_from: None,
            close: Some(Duration::ZERO),
        };
        let mut player = Player::new(&script, now());
        while !player.has_left() {
            player.act(address).unwrap();
            let Some((fd, flags)) = player.interest() else {
                continue;
            };
            let mut fds = [PollFd::new(fd, flags)];
            poll(&mut fds, 10_u8).unwrap();
            let ready = fds[0].revents().unwrap();
            player.ready(ready);
        }
        assert_eq!(server.join().unwrap(), BYTES);
        let seen = player.into_seen();
        assert!(seen.asked[0].answered >= seen.asked[0].last);
        assert_eq!(seen.received.last().map(|last| last.total), Some(BYTES + 1));
    }
}
