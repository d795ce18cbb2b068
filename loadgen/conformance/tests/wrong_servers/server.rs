//! A small right server, one thread and poll, and what makes it wrong.
//!
//! It shares no code with the servers under `crates/`: a server that tests the suite must not share their faults.

use std::ffi::OsString;
use std::io::{self, ErrorKind, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd};
use std::process::{Command, ExitCode};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use clap::Parser;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use serde_json::json;
use socket2::{Domain, SockRef, Socket, Type};
use supervisor::Mode;

use crate::client::{Client, Stats};
use crate::fault::Fault;
use crate::flags::{Flags, description};
use crate::http;
use crate::trace::Trace;

mod transfer;

pub fn run(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let name = OsString::from("wrong-server");
    let arguments: Vec<OsString> = arguments.collect();
    // If the flags are wrong, the fault is not known yet.
    let is_faulty = |fault: Fault| arguments.iter().any(|word| *word == *fault.name());
    let complain = |line: &str| {
        if is_faulty(Fault::DiesOfAMessage) {
            eprintln!("{line}");
        } else {
            say(io::stderr(), line);
        }
    };
    let told = |text: &str| match write!(io::stdout(), "{text}").and_then(|()| io::stdout().flush())
    {
        Err(error) if !is_faulty(Fault::HidesAFullDevice) => {
            complain(&format!("wrong-server: stdout: {error}"));
            ExitCode::FAILURE
        }
        _ => ExitCode::SUCCESS,
    };
    let flags = match Flags::try_parse_from(std::iter::once(&name).chain(&arguments)) {
        Ok(flags) => flags,
        Err(error) if error.use_stderr() => {
            complain(error.to_string().lines().next().unwrap_or_default());
            return ExitCode::from(2);
        }
        Err(help) => return told(&help.to_string()),
    };
    if flags.describe {
        return told(&format!("{}\n", description(flags.fault)));
    }
    let is_http = flags.mode == Mode::Http;
    let served = Server::listen(flags).and_then(|server| match server.listener {
        Some(listener) if is_http => {
            listener.set_nonblocking(false)?;
            // It is killed at the end: the stop of a server is tried in the other modes.
            http::serve(&listener, server.flags.fault, server.flags.work);
            Ok(())
        }
        _ => server.serve(),
    });
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format!("wrong-server: cannot listen: {error}"));
            ExitCode::FAILURE
        }
    }
}

struct Server {
    flags: Flags,
    listener: Option<TcpListener>,
    signals: SignalFd,
    clients: Vec<Client>,
    /// They work for clients.
    workers: Vec<JoinHandle<()>>,
    /// Descriptors that nobody needs.
    leaked: Vec<TcpStream>,
    /// No accept before.
    accept_again: Instant,
    /// The end, at the latest.
    deadline: Option<Instant>,
    /// What it has inherited keeps it from hearing a stop.
    is_deaf: bool,
    /// For each client, as much memory as its buffer may take.
    hoard: Vec<Vec<u8>>,
    stats: Stats,
    trace: Trace,
}

impl Server {
    fn listen(flags: Flags) -> io::Result<Self> {
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
        if flags.fault == Some(Fault::CountsAllDescriptors)
            && std::fs::read_dir("/proc/self/fd")?.count() as u64 > hard
        {
            return Err(io::Error::other("too few descriptors"));
        }
        let is_deaf = is_deaf(flags.fault)?;
        let mut signals = SigSet::empty();
        if flags.fault == Some(Fault::SwallowsAlarms) {
            signals.add(Signal::SIGALRM);
        }
        signals.add(Signal::SIGTERM);
        let hears_all = flags.fault == Some(Fault::HearsIgnoredInterrupts);
        if hears_all || !supervisor::is_ignored(Signal::SIGINT) {
            signals.add(Signal::SIGINT);
        }
        signals.thread_block()?;
        signals.remove(Signal::SIGALRM);
        let socket = Socket::new(Domain::for_address(flags.listen), Type::STREAM, None)?;
        socket.set_reuse_address(flags.fault != Some(Fault::CannotHaveItsPortAgain))?;
        let mut address = flags.listen;
        if flags.fault == Some(Fault::ListensEverywhere) {
            address.set_ip(Ipv4Addr::UNSPECIFIED.into());
        }
        socket.bind(&address.into())?;
        socket.listen(flags.backlog.min(i32::MAX as usize) as i32)?;
        socket.set_nonblocking(true)?;
        let listener = TcpListener::from(socket);
        let mut address = listener.local_addr()?;
        if flags.fault == Some(Fault::ListensEverywhere) {
            address.set_ip(flags.listen.ip());
        }
        let line = format!("listening on {address}");
        if flags.fault == Some(Fault::WaitsForReadersOfStdout) {
            println!("{line}");
        } else {
            say(io::stdout(), &line);
        }
        let trace = Trace::open(flags.trace_to.as_deref(), flags.fault)?;
        let (mode, pid) = (flags.mode.to_string(), std::process::id());
        trace.tell(
            "start",
            json!({"model": "wrong", "mode": mode, "address": address, "pid": pid}),
        );
        Ok(Self {
            trace,
            flags,
            listener: Some(listener),
            signals: SignalFd::with_flags(&signals, SfdFlags::SFD_NONBLOCK)?,
            clients: Vec::new(),
            workers: Vec::new(),
            leaked: Vec::new(),
            accept_again: Instant::now(),
            deadline: None,
            is_deaf,
            hoard: Vec::new(),
            stats: Stats::default(),
        })
    }

    fn has(&self, fault: Fault) -> bool {
        self.flags.fault == Some(fault)
    }

    fn serve(mut self) -> io::Result<()> {
        if self.has(Fault::LeavesAProcess) {
            let program = std::env::current_exe()?;
            Command::new(program).arg("sleep").spawn()?;
        }
        while self
            .deadline
            .is_none_or(|deadline| Instant::now() < deadline && !self.clients.is_empty())
        {
            self.turn()?;
        }
        if self.has(Fault::WaitsForBusyWorkers) {
            for worker in self.workers.drain(..) {
                worker.join().expect("no worker panics");
            }
        }
        self.close_all();
        if self.flags.stats {
            say(io::stdout(), &self.stats.to_json().to_string());
        }
        if self.has(Fault::WaitsForAllChildren) {
            while nix::sys::wait::wait().is_ok() {}
        }
        Ok(())
    }

    /// Waits once, and does what became possible.
    fn turn(&mut self) -> io::Result<()> {
        let fault = self.flags.fault;
        let places = self.flags.max_connections + usize::from(self.has(Fault::ServesOneTooMany));
        let full = self.clients.len() >= places && !self.has(Fault::DropsAtCapacity);
        let listening = !full && Instant::now() >= self.accept_again;
        let mut fds = vec![PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
        for client in &self.clients {
            fds.push(PollFd::new(client.stream.as_fd(), client.wants(fault)));
        }
        if let Some(listener) = self.listener.as_ref().filter(|_| listening) {
            fds.push(PollFd::new(listener.as_fd(), PollFlags::POLLIN));
        }
        self.trace.tell("wait", json!({"call": "poll", "for": []}));
        match poll(&mut fds, self.until_something_is_due(listening)) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        self.trace
            .tell("wake", json!({"call": "poll", "ready": [], "ns": 0}));
        let ready: Vec<PollFlags> = fds
            .iter()
            .map(|fd| fd.revents().unwrap_or(PollFlags::empty()))
            .collect();
        let (signalled, ready) = (!ready[0].is_empty(), &ready[1..]);
        if self.flags.trace {
            let ready = ready.iter().filter(|events| !events.is_empty()).count();
            let line = format!("poll: {ready} ready, {} clients", self.clients.len());
            if self.has(Fault::WaitsForReadersOfItsTrace) {
                eprintln!("{line}");
            } else {
                say(io::stderr(), &line);
            }
        }
        if self.has(Fault::LooksAtTheClockFirst) {
            self.end_the_silent();
        }
        let known = self.clients.len();
        if self.has(Fault::SwapsTwoClients) && known >= 2 {
            let (first, second) = self.clients.split_at_mut(1);
            if first[0].sent < first[0].output.len() && second[0].sent < second[0].output.len() {
                std::mem::swap(&mut first[0].output, &mut second[0].output);
            }
        }
        for (i, events) in ready.iter().enumerate().take(known) {
            if !events.is_empty() && !self.clients[i].done {
                self.move_client(i, *events);
            }
        }
        if ready.len() > known && !ready[known].is_empty() {
            self.accept();
        }
        if signalled {
            self.stop();
        }
        if self.deadline.is_some() {
            self.read_the_rest();
        }
        self.end_the_silent();
        self.sweep();
        Ok(())
    }

    fn until_something_is_due(&self, listening: bool) -> PollTimeout {
        let lingers = self.clients.iter().any(|client| client.lingering.is_some());
        let due = lingers
            || !self.flags.work.is_zero()
            || !self.flags.block.is_zero()
            || !self.flags.idle_timeout.is_zero()
            || self.deadline.is_some()
            || (!listening && self.accept_again > Instant::now());
        if due {
            PollTimeout::from(20u16)
        } else {
            PollTimeout::NONE
        }
    }

    /// Those that are in the backlog now, as far as there is room.
    fn accept_all(&mut self) {
        let mut before = None;
        while before != Some(self.stats.accepted) && self.clients.len() < self.flags.max_connections
        {
            before = Some(self.stats.accepted);
            self.accept();
        }
    }

    fn accept(&mut self) {
        let Some(listener) = &self.listener else {
            return;
        };
        match listener.accept() {
            Ok((stream, _)) => {
                self.stats.accepted += 1;
                let number = self.stats.accepted;
                self.trace.tell(
                    "accept",
                    json!({"client": number, "fd": stream.as_raw_fd()}),
                );
                if self.clients.len() >= self.flags.max_connections
                    && self.has(Fault::DropsAtCapacity)
                {
                    return;
                }
                let blocks =
                    self.has(Fault::BlocksInWrite) || self.has(Fault::ServesTheGreedyFirst);
                // A socket that cannot be set up is closed.
                if stream.set_nonblocking(!blocks).is_ok() {
                    self.clients.push(Client::new(stream, number));
                    self.stats.peak_open = self.stats.peak_open.max(self.clients.len());
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => {
                self.stats.accept_errors += 1;
                if !self.has(Fault::SpinsWithoutDescriptors) {
                    self.accept_again = Instant::now() + Duration::from_millis(100);
                }
            }
        }
    }

    /// Ends the connections that have had their time.
    fn end_the_silent(&mut self) {
        let timeout = self.flags.idle_timeout;
        let lingers = self.has(Fault::LingersForEver);
        let looks_first = self.has(Fault::LooksAtTheClockFirst);
        let counts_timeouts = !self.has(Fault::CountsNoTimeouts);
        for client in &mut self.clients {
            let lingered = client.lingering.map(|since| since.elapsed());
            client.done |= lingered.is_some_and(|time| time > Duration::from_secs(1)) && !lingers;
            let is_silent = !timeout.is_zero() && client.moved.elapsed() > timeout;
            // It may have sent something while this process stood still.
            let has_sent = || {
                client.wants(None).contains(PollFlags::POLLIN)
                    && matches!(client.stream.peek(&mut [0]), Ok(1))
            };
            if !client.done && is_silent && (looks_first || !has_sent()) {
                client.done = true;
                self.stats.reset += usize::from(counts_timeouts);
            }
        }
    }

    fn sweep(&mut self) {
        let leaks = self.has(Fault::LeaksADescriptor);
        let resets = self.has(Fault::EndsWithAReset);
        for client in self.clients.extract_if(.., |client| client.done) {
            self.stats.closed += 1;
            self.trace.tell(
                "close",
                json!({"client": client.number, "why": "it has ended"}),
            );
            if resets {
                let _ = SockRef::from(&client.stream).set_linger(Some(Duration::ZERO));
            }
            if leaks {
                self.leaked.extend(client.stream.try_clone());
                let _ = client.stream.shutdown(Shutdown::Both);
            }
        }
    }

    /// A first signal ends the server when all that had arrived is answered, a second one at once.
    fn stop(&mut self) {
        let _ = self.signals.read_signal();
        self.trace.tell("stop", json!({"why": "SIGTERM"}));
        if self.has(Fault::IgnoresTerm) || self.is_deaf {
            return;
        }
        if self.deadline.is_some() {
            if self.has(Fault::HasNoSecondSignal) {
                return;
            }
            std::process::exit(1);
        }
        let waits = self.has(Fault::WaitsForStuckClients);
        self.deadline = Some(
            Instant::now()
                + if waits {
                    Duration::from_hours(1)
                } else {
                    self.flags.grace
                },
        );
        if !self.has(Fault::ForgetsTheBacklogAtTerm) {
            self.accept_all();
        }
        self.listener = None;
        for client in &mut self.clients {
            client.reads = 0;
        }
        if self.has(Fault::CountsTheStoppedAsReset) {
            self.stats.reset += self.clients.len();
        }
        if self.has(Fault::DropsInputAtTerm) {
            self.clients.clear();
        }
    }

    /// In a server that is being stopped nobody is waited for, so nothing announces the end.
    fn read_the_rest(&mut self) {
        for i in 0..self.clients.len() {
            let reads = self.clients[i].reads;
            let is_forgotten =
                self.has(Fault::ForgetsAClientAfterATurn) && reads > 0 && reads.is_multiple_of(8);
            // If the client was answered, only its end is awaited.
            if is_forgotten || self.clients[i].lingering.is_some() {
                continue;
            }
            if self.clients[i].wants(None).contains(PollFlags::POLLIN) && self.read(i).is_err() {
                self.clients[i].done = true;
            }
        }
    }

    /// The grace is over, or there is nobody left.
    fn close_all(&mut self) {
        let fault = self.flags.fault;
        for client in self.clients.drain(..) {
            self.stats.closed += 1;
            self.trace.tell(
                "close",
                json!({"client": client.number, "why": "the server stops"}),
            );
            let is_reset = match fault {
                Some(Fault::CountsTheAnsweredAsReset) => true,
                Some(Fault::CountsNoneAtTheEndOfGrace) => false,
                _ => client.lingering.is_none(),
            };
            self.stats.reset += usize::from(is_reset);
        }
    }
}

/// Writes a line, unless that would have to wait.
fn say(mut to: impl Write + AsFd, line: &str) {
    let mut fd = [PollFd::new(to.as_fd(), PollFlags::POLLOUT)];
    if poll(&mut fd, PollTimeout::ZERO) == Ok(1) {
        // Who has closed it does not want it.
        let _ = writeln!(to, "{line}");
    }
}

/// Whether what it has inherited keeps it from hearing a stop.
fn is_deaf(fault: Option<Fault>) -> io::Result<bool> {
    let status = procfs::process::Process::myself().and_then(|process| process.status());
    let status = status.map_err(io::Error::other)?;
    let has = |set: u64, signal: Signal| set & (1 << (signal as u64 - 1)) != 0;
    Ok(match fault {
        Some(Fault::KeepsIgnoredSignals) => has(status.sigign, Signal::SIGTERM),
        Some(Fault::KeepsBlockedSignals) => has(status.sigblk, Signal::SIGTERM),
        Some(Fault::NeedsSigchld) => has(status.sigign, Signal::SIGCHLD),
        Some(Fault::IsDeafAsFirstProcess) => std::process::id() == 1,
        _ => false,
    })
}
