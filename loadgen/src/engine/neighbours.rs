//! Clients that disturb the server beside the measured ones. They have their own thread and loop, and none of
//! their times is in a histogram.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};

use super::clock;
use super::connector::Connector;
use super::transport::{Buffers, Fault, Transport};
use crate::protocol::client::{Protocol, Request};
use crate::protocol::error::ErrorKind;
use crate::recording::account::NeighbourCounts;
use crate::workload::load::{Arrivals, Mode, Shard, Workload};
use crate::workload::schedule::Schedule;

/// The most connections that are being opened at the same time, so that no backlog overflows.
const MAX_CONNECTING: usize = 128;
/// A connection that ended is opened again after this time, nanoseconds.
const REST: u64 = 100_000_000;
/// A slow reader reads one byte in this time, nanoseconds.
const SIP_EVERY: u64 = 100_000_000;
/// When no neighbour was connected for this time, the trial starts without those that are missing, ns.
const PATIENCE: u64 = 3_000_000_000;
/// The longest wait of the loop, milliseconds.
const HEARTBEAT: u8 = 10;
/// Events taken from the kernel at once.
const BATCH: usize = 128;
/// The most bytes of one write in clear text.
const BUFFER: usize = 16 * 1024;
/// The first number of a neighbour's connection. It is above those of all measured connections, so the payloads
/// differ.
const FIRST_NAME: u64 = 1 << 48;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Idle,
    SlowReader,
    HalfSender,
    Flood,
    /// Closed as soon as it is open.
    Churn,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Down,
    Connecting,
    /// In the TLS handshake.
    Shaking,
    Open,
    /// The generator's own limits do not allow it.
    Missing,
}

struct Neighbour {
    kind: Kind,
    transport: Option<Transport>,
    state: State,
    /// Distinguishes an event of this socket from one of the socket before it.
    generation: u32,
    /// Whole requests since it was opened.
    sent: u64,
    /// Bytes of the next one.
    offset: usize,
}

struct Loop<'a, P: Protocol> {
    protocol: &'a P,
    connector: &'a Connector,
    shard: Shard,
    /// The number of the first neighbour among all connections.
    first: usize,
    epoll: Epoll,
    neighbours: Vec<Neighbour>,
    /// Connections to be opened, and when.
    due: VecDeque<(u64, u32)>,
    /// Entries of the churn that are not in use.
    churn: Vec<u32>,
    connecting: usize,
    present: usize,
    missing: usize,
    churned: u64,
    refused: bool,
    /// The server answers one request on each connection and closes it.
    one_request: bool,
    buffers: Buffers,
    now: u64,
}

/// Keeps the neighbours of a workload busy until `stop`. Tells `ready` when all that can be are connected.
///
/// # Errors
/// When the kernel has no epoll or memory for them.
pub fn run<P: Protocol>(
    protocol: &P,
    workload: &Workload,
    connector: &Connector,
    stop: &AtomicBool,
    ready: &mpsc::Sender<()>,
) -> io::Result<NeighbourCounts> {
    let wanted = workload.neighbours;
    let churn = if wanted.churn > 0.0 {
        MAX_CONNECTING
    } else {
        0
    };
    let kinds = [
        (Kind::Idle, wanted.idle),
        (Kind::SlowReader, wanted.slow_readers),
        (Kind::HalfSender, wanted.half_senders),
        (Kind::Flood, wanted.floods),
        (Kind::Churn, churn),
    ];
    let asked = wanted.connections();
    let neighbours: Vec<Neighbour> = kinds
        .into_iter()
        .flat_map(|(kind, count)| std::iter::repeat_n(kind, count))
        .map(|kind| Neighbour {
            kind,
            transport: None,
            state: State::Down,
            generation: 0,
            sent: 0,
            offset: 0,
        })
        .collect();
    let now = clock::now();
    let mut state = Loop {
        protocol,
        connector,
        shard: workload.shard,
        first: workload.connections,
        epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?,
        due: (0..asked as u32).map(|n| (now, n)).collect(),
        churn: (asked as u32..neighbours.len() as u32).collect(),
        neighbours,
        connecting: 0,
        present: 0,
        missing: 0,
        churned: 0,
        refused: false,
        one_request: workload.mode == Mode::Once,
        buffers: Buffers::new(workload),
        now,
    };
    let churn_due = state.turn_until(stop, ready, asked, wanted.churn, workload.seed)?;
    Ok(NeighbourCounts {
        asked,
        present: state.present,
        missing: state.missing,
        churn_due,
        churned: state.churned,
    })
}

impl<P: Protocol> Loop<'_, P> {
    /// Returns how many connections of the churn were due.
    fn turn_until(
        &mut self,
        stop: &AtomicBool,
        ready: &mpsc::Sender<()>,
        asked: usize,
        churn: f64,
        seed: u64,
    ) -> io::Result<u64> {
        let began = self.now;
        let Shard { index, of } = self.shard;
        let mut churns = (churn > 0.0)
            .then(|| Schedule::new(churn, Arrivals::Poisson, seed, u64::MAX, index, of));
        let mut churn_due = 0;
        let mut told = false;
        let mut most = 0;
        let mut progress = self.now;
        let mut sip = self.now + SIP_EVERY;
        let mut events = [EpollEvent::empty(); BATCH];
        while !stop.load(Ordering::Relaxed) {
            while self.connecting < MAX_CONNECTING
                && let Some((_, n)) = self.due.pop_front_if(|(when, _)| *when <= self.now)
            {
                self.open(n);
            }
            if self.present > most {
                most = self.present;
                progress = self.now;
            }
            let all = self.present + self.missing >= asked;
            let hopeless = self.now - progress > PATIENCE || (self.refused && most == 0);
            if !told && (all || hopeless) {
                told = true;
                // The receiver is gone when the trial was given up.
                let _ = ready.send(());
            }
            while let Some(schedule) = &mut churns
                && schedule.peek().is_some_and(|at| began + at <= self.now)
                && let Some(n) = self.churn.pop()
            {
                schedule.advance();
                churn_due += 1;
                self.open(n);
            }
            if self.now >= sip {
                sip = self.now + SIP_EVERY;
                self.sip();
            }
            let count = match self.epoll.wait(&mut events, HEARTBEAT) {
                Err(Errno::EINTR) => 0,
                result => result?,
            };
            self.now = clock::now();
            for event in &events[..count] {
                self.handle(*event);
            }
        }
        let late = churns.into_iter().flatten();
        churn_due += late.take_while(|at| began + at <= self.now).count() as u64;
        Ok(churn_due)
    }

    fn open(&mut self, n: u32) {
        let neighbour = &mut self.neighbours[n as usize];
        let data = u64::from(neighbour.generation) << 32 | u64::from(n);
        let event = EpollEvent::new(EpollFlags::EPOLLOUT, data);
        let result = self
            .connector
            .connect(self.first + n as usize)
            .and_then(|socket| {
                self.epoll.add(&socket, event)?;
                Ok(socket)
            });
        match result {
            Ok(socket) => {
                neighbour.transport = Some(Transport::new(socket));
                neighbour.state = State::Connecting;
                self.connecting += 1;
            }
            Err(error) => self.failed(n, &error.into()),
        }
    }

    fn failed(&mut self, n: u32, fault: &Fault) {
        match fault.kind() {
            ErrorKind::NoResources => {
                self.close(n);
                self.neighbours[n as usize].state = State::Missing;
                self.missing += 1;
            }
            kind => {
                self.refused |= kind == ErrorKind::Refused;
                self.ended(n);
            }
        }
    }

    /// Neighbour `n` lost its connection and will open it again.
    fn ended(&mut self, n: u32) {
        self.close(n);
        if self.neighbours[n as usize].kind == Kind::Churn {
            self.churn.push(n);
        } else {
            self.due.push_back((self.now + REST, n));
        }
    }

    fn close(&mut self, n: u32) {
        let neighbour = &mut self.neighbours[n as usize];
        match neighbour.state {
            State::Connecting | State::Shaking => self.connecting -= 1,
            State::Open => self.present -= 1,
            State::Down | State::Missing => {}
        }
        neighbour.state = State::Down;
        if let Some(transport) = neighbour.transport.take() {
            transport.close(&mut self.buffers);
        }
        neighbour.sent = 0;
        neighbour.offset = 0;
        neighbour.generation = neighbour.generation.wrapping_add(1);
    }

    fn handle(&mut self, event: EpollEvent) {
        let n = event.data() as u32;
        let neighbour = &mut self.neighbours[n as usize];
        if neighbour.generation != (event.data() >> 32) as u32 {
            return;
        }
        let Some(transport) = &mut neighbour.transport else {
            return;
        };
        if neighbour.state == State::Connecting {
            match transport.socket.take_error() {
                Ok(None) => self.connected(n),
                Ok(Some(error)) | Err(error) => self.failed(n, &error.into()),
            }
        } else if neighbour.state == State::Shaking {
            match transport.shake(&mut self.buffers) {
                Ok(Some(_)) => self.opened(n),
                Ok(None) => {}
                Err(fault) => self.failed(n, &fault),
            }
        } else if event
            .events()
            .intersects(EpollFlags::EPOLLHUP | EpollFlags::EPOLLERR | EpollFlags::EPOLLRDHUP)
        {
            self.ended(n);
        } else {
            self.send(n);
        }
    }

    /// Begins the TLS handshake if there is one.
    fn connected(&mut self, n: u32) {
        let Some(security) = self.connector.security() else {
            self.opened(n);
            return;
        };
        let neighbour = &mut self.neighbours[n as usize];
        let Some(transport) = &mut neighbour.transport else {
            return;
        };
        neighbour.state = State::Shaking;
        match transport.secure(security, &mut self.buffers) {
            Ok(()) => self.watch(n, EpollFlags::EPOLLIN),
            Err(fault) => self.failed(n, &fault),
        }
    }

    /// The end of its TLS handshake is not sent yet.
    fn is_pending(&self, n: u32) -> bool {
        let transport = &self.neighbours[n as usize].transport;
        transport.as_ref().is_some_and(Transport::is_pending)
    }

    fn watch(&self, n: u32, flags: EpollFlags) {
        let neighbour = &self.neighbours[n as usize];
        let data = u64::from(neighbour.generation) << 32 | u64::from(n);
        if let Some(transport) = &neighbour.transport {
            self.epoll
                .modify(&transport.socket, &mut EpollEvent::new(flags, data))
                .expect("the socket is registered");
        }
    }

    fn opened(&mut self, n: u32) {
        self.connecting -= 1;
        self.present += 1;
        let neighbour = &mut self.neighbours[n as usize];
        neighbour.state = State::Open;
        let flags = match neighbour.kind {
            Kind::Churn => {
                self.churned += 1;
                self.ended(n);
                return;
            }
            Kind::Idle => {
                if self.is_pending(n) {
                    self.send(n);
                }
                EpollFlags::EPOLLRDHUP
            }
            // Its answer is left unread in the socket.
            Kind::HalfSender => {
                self.send(n);
                EpollFlags::EPOLLRDHUP
            }
            // The answer is read slowly even after the server has closed the connection.
            Kind::SlowReader if self.one_request => {
                self.send(n);
                EpollFlags::empty()
            }
            Kind::SlowReader => EpollFlags::EPOLLOUT,
            Kind::Flood => EpollFlags::EPOLLOUT | EpollFlags::EPOLLRDHUP,
        };
        self.watch(n, flags);
    }

    /// Sends as much as a neighbour of its kind does in one write.
    fn send(&mut self, n: u32) {
        let neighbour = &mut self.neighbours[n as usize];
        let Some(transport) = &mut neighbour.transport else {
            return;
        };
        // Numbers are unique over all generators, as those of the measured connections are.
        let name = n as usize * self.shard.of + self.shard.index;
        let request = |number| Request {
            connection: FIRST_NAME + name as u64,
            number,
        };
        let length = self.protocol.request_len(request(neighbour.sent));
        let most = match neighbour.kind {
            Kind::HalfSender => (length / 2).max(1),
            Kind::SlowReader if self.one_request => length,
            // An idle client sends nothing but the end of its handshake.
            Kind::Idle => 0,
            _ => BUFFER,
        };
        let most = most.min(BUFFER).min(transport.room());
        let (mut number, mut offset, mut filled) = (neighbour.sent, neighbour.offset, 0);
        while filled < most {
            let length = self.protocol.request_len(request(number));
            let end = most.min(filled + length - offset);
            let out = &mut self.buffers.output[filled..end];
            self.protocol.fill(request(number), offset, out);
            filled = end;
            number += 1;
            offset = 0;
        }
        match transport.send(filled, &mut self.buffers) {
            Ok(sent) => {
                let mut position = neighbour.offset + sent.bytes;
                loop {
                    let length = self.protocol.request_len(request(neighbour.sent));
                    if position < length {
                        break;
                    }
                    position -= length;
                    neighbour.sent += 1;
                }
                neighbour.offset = position;
            }
            Err(_) => self.ended(n),
        }
    }

    /// Each slow reader reads a byte.
    fn sip(&mut self) {
        for n in 0..self.neighbours.len() {
            let neighbour = &self.neighbours[n];
            if neighbour.kind == Kind::SlowReader
                && neighbour.state == State::Open
                && let Some(transport) = &neighbour.transport
            {
                match (&transport.socket).read(&mut [0]) {
                    Ok(1..) => {}
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Ok(0) | Err(_) => self.ended(n as u32),
                }
            }
        }
    }
}
