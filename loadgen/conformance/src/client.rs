//! A client: it sends, receives and compares, waits for progress, and can behave badly.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng as _, RngExt as _, SeedableRng as _};
use socket2::SockRef;

use crate::kernel::{self, End};
use crate::outcome::{NotPassed, Outcome, failed, prevented};
use crate::patience::{Patience, eventually, pause};

/// `length` bytes that differ for each seed.
pub fn pattern(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    StdRng::seed_from_u64(seed).fill_bytes(&mut bytes);
    bytes
}

/// One connection to the server.
#[derive(Debug)]
pub struct Client {
    pub stream: TcpStream,
    pub patience: Patience,
}

impl Client {
    pub fn connect(address: SocketAddr, patience: Patience) -> Outcome<Self> {
        let connect = || {
            patience.check()?;
            let stream = TcpStream::connect_timeout(&address, patience.still)?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(patience.still))?;
            stream.set_write_timeout(Some(patience.still))?;
            Ok::<_, io::Error>(stream)
        };
        match connect() {
            Ok(stream) => Ok(Self { stream, patience }),
            Err(e) => prevented("a connection", &e),
        }
    }

    /// Sends all of `bytes`.
    pub fn send(&mut self, bytes: &[u8]) -> Outcome {
        self.send_all(bytes)
    }

    fn send_all(&self, bytes: &[u8]) -> Outcome {
        let mut sent = 0;
        while sent < bytes.len() {
            let write = || {
                self.patience.check()?;
                (&self.stream).write(&bytes[sent..])
            };
            match write() {
                Ok(n) => sent += n,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => {
                    let expected = format!("{} taken", count(bytes.len()));
                    return failed(expected, format!("{} after {sent}", self.describe(&e)));
                }
            }
        }
        Ok(())
    }

    /// Reads once. The kernel interrupts a wait with a timeout when this process is stopped and continued.
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            self.patience.check()?;
            match (&self.stream).read(buffer) {
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    }

    /// What an error means to a client.
    pub fn describe(&self, error: &io::Error) -> String {
        match error.kind() {
            // An error with a text is the suite's own: the limit of the case.
            ErrorKind::TimedOut if error.get_ref().is_some() => error.to_string(),
            ErrorKind::WouldBlock | ErrorKind::TimedOut => {
                format!("nothing more for {:?}", self.patience.still)
            }
            ErrorKind::ConnectionReset => "a reset".into(),
            ErrorKind::BrokenPipe => "a connection closed by the server".into(),
            _ => error.to_string(),
        }
    }

    /// Sends `bytes`, over and over, as far as it goes without waiting; how many were sent.
    pub fn flood(&mut self, bytes: &[u8]) -> Outcome<usize> {
        self.flood_from(bytes, 0)
    }

    /// The same, beginning where `sent` bytes had ended.
    pub fn flood_from(&mut self, bytes: &[u8], sent: usize) -> Outcome<usize> {
        self.set_nonblocking(true)?;
        let mut now = sent;
        let mut over = Ok(());
        while let Ok(n) = self.stream.write(&bytes[now % bytes.len()..]) {
            now += n;
            over = self.patience.check();
            if over.is_err() {
                break;
            }
        }
        self.set_nonblocking(false)?;
        match over {
            Ok(()) => Ok(now - sent),
            Err(e) => failed("a server that takes no more", e),
        }
    }

    /// Reads as many bytes as `bytes` and compares them.
    pub fn expect(&mut self, bytes: &[u8]) -> Outcome {
        self.expect_slices(bytes, Slices::Whole.of(0))
    }

    /// Sends a message and expects it back. Messages above some 10,000 bytes need [`Client::exchange`]: who
    /// sends and does not read fills all buffers, and waits for ever.
    pub fn round_trip(&mut self, bytes: &[u8]) -> Outcome {
        self.send(bytes)?;
        self.expect(bytes)
    }

    /// Sends `bytes` in slices and half-closes. Meanwhile another thread reads the echo and compares it, up to the
    /// end of the connection.
    pub fn exchange(self, bytes: &[u8], slices: Slices) -> Outcome {
        std::thread::scope(|scope| {
            let sender = scope.spawn(|| {
                let mut rest = bytes;
                let mut next = slices.of(bytes.len());
                while !rest.is_empty() {
                    let (slice, left) = rest.split_at(next().min(rest.len()));
                    self.send_all(slice)?;
                    rest = left;
                }
                self.half_close()
            });
            let received = self.expect_slices(bytes, slices.of(!bytes.len()));
            if received.is_err() {
                let _ = self.stream.shutdown(Shutdown::Both);
            }
            let sent = sender.join().expect("the sender does not panic");
            received.and(sent)
        })?;
        self.expect_end()
    }

    /// Says that no more will be sent.
    pub fn half_close(&self) -> Outcome {
        self.stream
            .shutdown(Shutdown::Write)
            .or_else(|e| failed("an open connection to half-close", e))
    }

    /// The server closes, and sends nothing before.
    pub fn expect_end(self) -> Outcome {
        let mut byte = [0];
        let expected = "the end of the connection";
        match self.receive(&mut byte) {
            Ok(0) => Ok(()),
            Ok(_) => failed(expected, format!("another byte, {:#04x}", byte[0])),
            Err(e) => failed(expected, self.describe(&e)),
        }
    }

    /// The server ends the connection, cleanly or with a reset; what comes before does not matter.
    pub fn expect_gone(self) -> Outcome {
        let mut sink = [0; 16 * 1024];
        loop {
            match self.receive(&mut sink) {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                Err(e) if is_timeout(&e) => {
                    return failed("the end of the connection", self.describe(&e));
                }
                Err(_) => return Ok(()),
            }
        }
    }

    /// Reads all up to the end of the connection.
    pub fn read_to_end(&mut self) -> Outcome<Vec<u8>> {
        let mut all = Vec::new();
        match self.read_up_to_the_end(&mut all) {
            Ok(()) => Ok(all),
            Err(e) => {
                let seen = self.describe(&e);
                failed(
                    "the end of the connection",
                    format!("{seen} after {} bytes", all.len()),
                )
            }
        }
    }

    /// The same; `all` keeps what came before an error.
    pub fn read_up_to_the_end(&mut self, all: &mut Vec<u8>) -> io::Result<()> {
        let mut part = [0; 16 * 1024];
        loop {
            match self.receive(&mut part)? {
                0 => return Ok(()),
                n => all.extend_from_slice(&part[..n]),
            }
        }
    }

    /// What has come and was not yet read.
    pub fn receive_without_waiting(&self) -> Outcome<Vec<u8>> {
        let mut all = Vec::new();
        let mut part = vec![0; 64 * 1024];
        self.set_nonblocking(true)?;
        while let Ok(n @ 1..) = (&self.stream).read(&mut part) {
            all.extend_from_slice(&part[..n]);
        }
        self.set_nonblocking(false)?;
        Ok(all)
    }

    /// Ends the connection with a reset.
    pub fn reset(self) -> Outcome {
        option(SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)))
    }

    /// Sends the bytes and the end of input in one packet: the server sees both at the same time.
    pub fn send_and_half_close_at_once(&mut self, bytes: &[u8]) -> Outcome {
        option(SockRef::from(&self.stream).set_tcp_cork(true))?;
        self.send(bytes)?;
        self.half_close()
    }

    /// Sends one urgent byte.
    pub fn send_urgent(&mut self, byte: u8) -> Outcome {
        option(
            SockRef::from(&self.stream)
                .send_out_of_band(&[byte])
                .map(drop),
        )
    }

    /// Sets the size of the socket's buffers in both directions, bytes.
    pub fn set_buffers(&self, size: usize) -> Outcome {
        let socket = SockRef::from(&self.stream);
        option(
            socket
                .set_recv_buffer_size(size)
                .and(socket.set_send_buffer_size(size)),
        )
    }

    /// Whether the server has answered or closed: a read would not block.
    pub fn has_news(&self) -> Outcome<bool> {
        self.set_nonblocking(true)?;
        let waits =
            matches!(self.stream.peek(&mut [0]), Err(e) if e.kind() == ErrorKind::WouldBlock);
        self.set_nonblocking(false)?;
        Ok(!waits)
    }

    /// Waits until all that was sent has reached the other side's kernel.
    pub fn wait_until_arrived(&self) -> Outcome {
        let what = "the bytes arrive at the server's kernel";
        eventually(self.patience, what, || {
            self.own_end().is_some_and(|end| end.unacknowledged == 0)
        })
    }

    /// Whether all that was sent reaches the other side's kernel at once, though nobody reads there.
    pub fn arrives_at_once(&self) -> bool {
        const MOMENT: Duration = Duration::from_millis(300);
        let deadline = Instant::now() + MOMENT;
        let arrived = || self.own_end().is_some_and(|end| end.unacknowledged == 0);
        while !arrived() {
            if Instant::now() > deadline {
                return false;
            }
            pause();
        }
        true
    }

    /// Waits until the server's process has taken the connection from the backlog.
    pub fn wait_until_accepted(&self) -> Outcome {
        eventually(self.patience, "the connection is accepted", || {
            // A socket has an inode from the accept on.
            self.servers_end().is_some_and(|end| end.inode != 0)
        })
    }

    /// Gives the server a moment to accept. Where the backlog is full, the kernel tries the next connection again only
    /// after a second.
    pub fn let_in(&self) {
        const MOMENT: Duration = Duration::from_millis(10);
        let deadline = Instant::now() + MOMENT;
        let waits = || self.servers_end().is_some_and(|end| end.inode == 0);
        while waits() && Instant::now() < deadline {
            std::thread::yield_now();
        }
    }

    /// Sends bytes and waits until the server has read them, so that it reads what follows apart from them. Waits only
    /// a moment where that does not happen or cannot be seen.
    pub fn send_alone(&mut self, bytes: &[u8]) -> Outcome {
        const MOMENT: Duration = Duration::from_millis(100);
        self.send(bytes)?;
        let deadline = Instant::now() + MOMENT;
        loop {
            match self.servers_end() {
                Some(end) if end.unread == 0 => return Ok(()),
                Some(_) if Instant::now() < deadline => std::thread::yield_now(),
                _ => {
                    pause();
                    return Ok(());
                }
            }
        }
    }

    fn own_end(&self) -> Option<End> {
        kernel::end(
            self.stream.local_addr().ok()?,
            self.stream.peer_addr().ok()?,
        )
    }

    fn servers_end(&self) -> Option<End> {
        kernel::end(
            self.stream.peer_addr().ok()?,
            self.stream.local_addr().ok()?,
        )
    }

    /// Reads as many bytes as `bytes`, at most this many at a time as `slices` says, and compares them.
    fn expect_slices(&self, bytes: &[u8], mut slices: impl FnMut() -> usize) -> Outcome {
        let expected = || format!("{}, the same as sent", count(bytes.len()));
        let mut buffer = vec![0; 64 * 1024];
        let mut got = 0;
        while got < bytes.len() {
            let most = slices().min(bytes.len() - got).min(buffer.len());
            match self.receive(&mut buffer[..most]) {
                Ok(0) => {
                    return failed(expected(), format!("the end of the connection after {got}"));
                }
                Ok(n) => {
                    let (should, is) = (&bytes[got..got + n], &buffer[..n]);
                    if let Some(i) = (0..n).find(|&i| should[i] != is[i]) {
                        let seen = format!(
                            "byte {} is {:#04x} instead of {:#04x}",
                            got + i,
                            is[i],
                            should[i]
                        );
                        return failed(expected(), seen);
                    }
                    got += n;
                }
                Err(e) => {
                    return failed(expected(), format!("{} after {got}", self.describe(&e)));
                }
            }
        }
        Ok(())
    }

    fn set_nonblocking(&self, on: bool) -> Outcome {
        option(self.stream.set_nonblocking(on))
    }
}

/// Runs `work` for all clients at the same time, each in its own thread and with its number.
pub fn in_parallel(clients: Vec<Client>, work: impl Fn(u64, Client) -> Outcome + Sync) -> Outcome {
    std::thread::scope(|scope| {
        let work = &work;
        let threads: Vec<_> = clients
            .into_iter()
            .zip(0..)
            .map(|(client, number)| scope.spawn(move || work(number, client)))
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("the client does not panic"))
            .fold(Ok(()), Outcome::and)
    })
}

/// Waits until one of `clients` was answered or closed, and takes it out.
pub fn take_first_with_news(clients: &mut Vec<Client>, patience: Patience) -> Outcome<Client> {
    let deadline = Instant::now() + patience.still;
    loop {
        for i in 0..clients.len() {
            if clients[i].has_news()? {
                return Ok(clients.remove(i));
            }
        }
        if Instant::now() > deadline {
            let still = patience.still;
            let seen = format!("none of {} was answered for {still:?}", clients.len());
            return failed("a waiting client is served", seen);
        }
        pause();
    }
}

/// The server is not to blame when an option of the client's socket cannot be set: the case is skipped.
fn option<T>(result: io::Result<T>) -> Outcome<T> {
    result.map_err(|e| NotPassed::Skipped(format!("the client's own socket: {e}")))
}

/// How a stream of bytes is cut.
#[derive(Debug, Clone, Copy)]
pub enum Slices {
    /// As large as they come.
    Whole,
    /// Each of this many bytes.
    Of(usize),
    /// Between 1 and `most` bytes each.
    Random {
        /// Of the sequence.
        seed: u64,
        /// The longest slice.
        most: usize,
    },
}

impl Slices {
    /// The lengths in turn. The same seed with another `salt` gives another sequence.
    fn of(self, salt: usize) -> impl FnMut() -> usize {
        let seed = if let Self::Random { seed, .. } = self {
            seed
        } else {
            0
        };
        let mut random = StdRng::seed_from_u64(seed ^ salt as u64);
        move || match self {
            Self::Whole => 64 * 1024,
            Self::Of(length) => length,
            Self::Random { most, .. } => random.random_range(1..=most),
        }
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

fn count(bytes: usize) -> String {
    match bytes {
        1 => "1 byte".into(),
        _ => format!("{bytes} bytes"),
    }
}
