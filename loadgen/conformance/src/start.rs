//! A server about to be started, with flags, limits and an address of a case's own.

use crate::outcome::{Outcome, failed, skipped};
use crate::server::Server;
use crate::target::{Source, Target};
use std::ffi::OsString;
use std::net::SocketAddr;

use supervisor::limit::Limit;
use supervisor::{Exit, Inheritance, Launch, Mode, Outlet, Process, Ready, StartError};

/// The user `nobody`.
const NOBODY: u32 = 65534;

impl Target {
    /// A server with the usual flags.
    pub(crate) fn serve(&self, mode: Mode) -> Outcome<Server> {
        match &self.source {
            Source::Address(addresses, _) => Ok(self.server(addresses[0], None)),
            Source::Program(_) => self.start(mode).ready(),
            Source::Foreign(command, _) => self.start_foreign(command),
        }
    }

    /// A server that serves at least this many clients at once; skipped where the model cannot.
    pub(crate) fn serve_many(&self, mode: Mode, clients: usize) -> Outcome<Server> {
        match &self.source {
            Source::Program(_) => self.start(mode).for_clients(clients)?.ready(),
            _ => self.serve(mode),
        }
    }

    /// A server, and how many clients it serves at once, but no more than `most`.
    pub(crate) fn serve_up_to(&self, mode: Mode, most: usize) -> Outcome<(Server, usize)> {
        Ok((self.serve(mode)?, self.clients_at_once(most)))
    }

    /// A server with flags or limits of the case's own.
    pub(crate) fn start(&self, mode: Mode) -> Start<'_> {
        Start::new(self, mode)
    }

    fn start_foreign(&self, command: &[OsString]) -> Outcome<Server> {
        let mut attempts = 3;
        loop {
            let address = supervisor::free_address();
            let launch = Launch::new(supervisor::fill(command, address));
            let process = self.spawn(&launch)?;
            attempts -= 1;
            match process.ready(Ready::Port(address), self.patience.still, &mut || false) {
                Ok((process, address)) => return Ok(self.server(address, Some(process))),
                // Another program may have taken the port.
                Err(StartError::Ended(_)) if attempts > 0 => {}
                Err(error) => {
                    return failed("the server can be connected to", format!("it {error}"));
                }
            }
        }
    }

    pub(crate) fn server(&self, address: SocketAddr, process: Option<Process>) -> Server {
        Server {
            address,
            process,
            patience: self.patience,
            backlog_may_be_short: !self.keeps_contract(),
        }
    }
}

/// A server about to be started.
pub struct Start<'a> {
    target: &'a Target,
    launch: Launch,
    flags: Vec<String>,
    listen: String,
}

impl<'a> Start<'a> {
    pub fn new(target: &'a Target, mode: Mode) -> Self {
        Self {
            target,
            launch: Launch::default(),
            flags: vec!["--mode".into(), mode.to_string()],
            listen: "127.0.0.1:0".into(),
        }
    }

    /// Adds flags with their values. Skips the case if the server lacks one of them, or if the target sets it itself.
    pub fn flags(mut self, flags: &[&str]) -> Outcome<Self> {
        for flag in flags.iter().filter(|flag| flag.starts_with("--")) {
            if !self.target.offers(flag)? {
                return skipped(format!("does not have the flag {flag}"));
            }
            if self.target.given(flag).is_some() {
                return skipped(format!("is tried with its own {flag}"));
            }
        }
        self.flags.extend(flags.iter().map(|&flag| flag.into()));
        Ok(self)
    }

    /// With as many workers as it takes to serve this many clients at once.
    pub fn for_clients(mut self, clients: usize) -> Outcome<Self> {
        let target = self.target;
        let Some(limit) = target.client_limit().filter(|&limit| limit < clients) else {
            return Ok(self);
        };
        if target.offers("--workers")? && target.given("--workers").is_none() {
            let workers = clients.to_string();
            let limits = target.describe_with(&["--workers", &workers])?.limits;
            if limits.clients.is_none_or(|limit| limit >= clients) {
                self.flags.extend(["--workers".into(), workers]);
                return Ok(self);
            }
        }
        skipped(format!("serves {limit} at once, needs {clients}"))
    }

    /// Listens here instead of a free port of 127.0.0.1.
    pub fn listen(mut self, address: &str) -> Self {
        self.listen = address.into();
        self
    }

    /// With a lower limit than this process has.
    pub fn limit(mut self, limit: Limit) -> Self {
        self.launch.orders.limits.push(limit);
        self
    }

    /// With signals, descriptors or children that it inherits from its parent.
    pub fn inheriting(mut self, inheritance: Inheritance) -> Self {
        self.launch.orders.inheritance = inheritance;
        self
    }

    /// With other outlets for its stdout and stderr.
    pub fn saying_to(mut self, stdout: Outlet, stderr: Outlet) -> Self {
        self.launch.stdout = stdout;
        self.launch.stderr = stderr;
        self
    }

    /// As a user without privileges: the superuser is not held to a limit on processes.
    pub fn unprivileged(mut self) -> Self {
        self.launch.orders.user = nix::unistd::geteuid().is_root().then_some(NOBODY);
        self
    }

    /// Starts it and waits for the ready line.
    pub fn ready(self) -> Outcome<Server> {
        match self.ready_or_exit()? {
            Ok(server) => Ok(server),
            // The kernel may lack what this server needs.
            Err(exit) if exit.code() == Some(1) && exit.stderr.contains(" is not available") => {
                skipped(exit.stderr.trim())
            }
            Err(exit) => failed("the server starts and says `listening on ADDRESS`", exit),
        }
    }

    /// Starts it without reading its ready line, and waits until it accepts a connection.
    pub fn ready_at_a_port(mut self) -> Outcome<Server> {
        let address = supervisor::free_address();
        self.listen = address.to_string();
        match self.start(Ready::Port(address))? {
            Ok(server) => Ok(server),
            Err(exit) => failed("the server starts", exit),
        }
    }

    /// Starts it. Returns the server when it is ready, or its exit when it refuses to start.
    pub fn ready_or_exit(self) -> Outcome<Result<Server, Exit>> {
        self.start(Ready::Line)
    }

    fn start(mut self, ready: Ready) -> Outcome<Result<Server, Exit>> {
        let target = self.target;
        self.flags.extend(["--listen".into(), self.listen]);
        self.launch.command = target.command()?;
        self.launch
            .command
            .extend(self.flags.into_iter().map(Into::into));
        let process = target.spawn(&self.launch)?;
        match process.ready(ready, target.patience.still, &mut || false) {
            Ok((process, address)) => Ok(Ok(target.server(address, Some(process)))),
            Err(StartError::Ended(exit)) => Ok(Err(exit)),
            Err(error) => failed(
                "the first line on stdout is `listening on ADDRESS`",
                format!("the server {error}"),
            ),
        }
    }
}
