//! What is checked: a server program or an address; and a running server of either kind.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, LazyLock, OnceLock};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde::Deserialize;
use socket2::{Domain, Socket, Type};

use crate::client::{Client, Patience};
use crate::process::{Exit, Log, Process, Tree, held};
use crate::{Needs, Tried, ensure, failed, skipped};
use supervisor::Mode;

/// The most of a line of a server's stderr that a failure quotes, characters.
const LONGEST_WORDS: usize = 200;

/// Why a case is not tried that looks at processes.
const ONLY_AN_ADDRESS: &str = "needs the server's program, not only its address";

/// Who runs a server that must not be the superuser: `nobody`.
const NOBODY: u32 = 65534;

/// The server that the cases are tried on; cheap to clone.
#[derive(Debug, Clone)]
pub struct Subject {
    source: Source,
    patience: Patience,
    /// What the servers of this case said on stderr.
    log: Log,
}

#[derive(Debug, Clone)]
enum Source {
    /// Somebody else's server, which speaks this.
    Address(SocketAddr, Mode),
    /// A program that keeps the command line of the server contract.
    Program(Arc<Program>),
    /// A stranger's program, started with an address in place of `{addr}` or `{port}`.
    Stranger(Arc<Vec<OsString>>, Mode),
}

#[derive(Debug)]
struct Program {
    command: Vec<OsString>,
    described: OnceLock<Option<Description>>,
    help: OnceLock<String>,
}

/// What `--describe` prints.
#[derive(Debug, Clone, Deserialize)]
pub struct Description {
    /// The server's name in tables.
    pub name: String,
    /// The way of waiting it belongs to.
    pub family: String,
    /// One line about it.
    pub summary: String,
    /// The flags it has, such as `--listen`.
    pub flags: Vec<String>,
    /// What it may legitimately not do.
    pub limits: Limits,
}

/// What a model may legitimately not do.
#[derive(Debug, Clone, Deserialize)]
pub struct Limits {
    /// Clients served at once; null: as many as the descriptors allow.
    pub clients: Option<usize>,
    /// Why there is a limit; may be null where there is none.
    pub why: Option<String>,
}

impl Subject {
    /// A server that runs already and speaks `mode`.
    pub fn address(address: SocketAddr, mode: Mode, patience: Duration) -> Self {
        Self {
            source: Source::Address(address, mode),
            patience: Patience::new(patience),
            log: Log::default(),
        }
    }

    /// A server program with the flags that each start shall have.
    pub fn program(command: Vec<OsString>, patience: Duration) -> Self {
        let program = Program {
            command,
            described: OnceLock::default(),
            help: OnceLock::default(),
        };
        Self {
            source: Source::Program(Arc::new(program)),
            patience: Patience::new(patience),
            log: Log::default(),
        }
    }

    /// A stranger's program that speaks `mode`: it is started with a free port of 127.0.0.1 in
    /// place of `{port}` (or both in place of `{addr}`), and ready when it can be connected to.
    pub fn stranger(command: Vec<OsString>, mode: Mode, patience: Duration) -> Self {
        Self {
            source: Source::Stranger(Arc::new(command), mode),
            patience: Patience::new(patience),
            log: Log::default(),
        }
    }

    /// An error when nobody listens at the address or the program cannot be run: no case could tell
    /// more.
    pub fn ensure_there(&self) -> anyhow::Result<()> {
        let program = match &self.source {
            Source::Address(address, _) => {
                TcpStream::connect_timeout(address, self.patience.still)
                    .with_context(|| format!("no server at {address}"))?;
                return Ok(());
            }
            Source::Program(program) => &program.command[0],
            Source::Stranger(command, _) => &command[0],
        };
        // Only whether it can be started is of interest.
        let mut child = Command::new(program)
            .arg("--help")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot run {}", program.display()))?;
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    /// An error when a program without a place for its address does not say what a server of the contract
    /// says: every case would fail.
    pub fn ensure_contract(&self) -> anyhow::Result<()> {
        if matches!(self.source, Source::Program(_)) && self.description().is_err() {
            bail!(
                "the program does not keep the server contract: --describe says nothing of use{}; \
                 a program of another kind is told where to listen by {{port}} or {{addr}}",
                self.last_words()
            );
        }
        Ok(())
    }

    /// The same with a log and a limit of time of its own.
    pub(crate) fn of_a_case(&self) -> Self {
        Self {
            log: Log::default(),
            patience: self.patience.of_a_case(),
            ..self.clone()
        }
    }

    /// The end of what the servers said on stderr, as a clause for a failure.
    pub fn last_words(&self) -> String {
        let log = self.log.lock().expect("no thread panics while it logs");
        let lines: Vec<&str> = log.lines().filter(|line| !line.trim().is_empty()).collect();
        let mut words = String::new();
        for line in &lines[lines.len().saturating_sub(3)..] {
            // It is printed where a terminal may obey it.
            let line: String = line.trim().escape_debug().take(LONGEST_WORDS).collect();
            let _ = write!(words, "; stderr: {line}");
        }
        words
    }

    pub(crate) fn owns_process(&self) -> bool {
        matches!(self.source, Source::Program(_))
    }

    /// The one protocol that a server of somebody else's speaks.
    pub fn only_mode(&self) -> Option<Mode> {
        match self.source {
            Source::Address(_, mode) | Source::Stranger(_, mode) => Some(mode),
            Source::Program(_) => None,
        }
    }

    /// Skips when the server does not speak `mode`.
    pub(crate) fn offers_mode(&self, mode: Mode) -> Tried {
        let spoken = match &self.source {
            Source::Address(_, spoken) | Source::Stranger(_, spoken) => *spoken == mode,
            // Every server of the contract speaks echo and once.
            Source::Program(program) => mode != Mode::Http || self.help(program)?.contains("http"),
        };
        if spoken {
            Ok(())
        } else {
            skipped(format!("does not speak {}", name_of(mode)))
        }
    }

    fn help<'a>(&self, program: &'a Program) -> Tried<&'a str> {
        if program.help.get().is_none() {
            let exit = self.run(&["--help"])?;
            let _ = program.help.set(exit.stdout);
        }
        Ok(program.help.get().expect("it was just set"))
    }

    /// What `--describe` says of the plain server; skips when it does not say it.
    pub fn description(&self) -> Tried<Description> {
        let Source::Program(program) = &self.source else {
            return self.lacks_the_contract();
        };
        let described = program.described.get_or_init(|| self.describe(&[]).ok());
        match described {
            Some(description) => Ok(description.clone()),
            None => skipped("--describe does not say what the server has and can"),
        }
    }

    /// How many clients the model serves at once; none when that is not known or not limited.
    pub(crate) fn limit(&self) -> Option<usize> {
        self.description().ok()?.limits.clients
    }

    /// What `--describe` says beside `flags`.
    pub(crate) fn describe(&self, flags: &[&str]) -> Tried<Description> {
        let exit = self.run(&[flags, &["--describe"]].concat())?;
        let expected = "--describe prints JSON with name, family, summary, flags and limits";
        if exit.code() != Some(0) {
            return failed(expected, exit);
        }
        serde_json::from_str(&exit.stdout)
            .or_else(|e| failed(expected, format!("{e}: {}", exit.stdout.trim())))
    }

    /// Whether the server has this flag.
    pub(crate) fn offers(&self, flag: &str) -> Tried<bool> {
        Ok(self.description()?.flags.iter().any(|f| f == flag))
    }

    /// Whether each start of the server has this flag.
    pub(crate) fn gives(&self, flag: &str) -> bool {
        self.given(flag).is_some()
    }

    /// The value that each start of the server has for this flag.
    pub(crate) fn given(&self, flag: &str) -> Option<&str> {
        let Source::Program(program) = &self.source else {
            return None;
        };
        let mut given = program.command[1..].iter().map(|word| word.to_str());
        while let Some(word) = given.next() {
            match word.and_then(|word| word.strip_prefix(flag)) {
                Some("") => return Some(given.next().flatten().unwrap_or_default()),
                Some(value) if value.starts_with('=') => return Some(&value[1..]),
                _ => {}
            }
        }
        None
    }

    /// Skips where each start of the server ends clients that are silent for less than the case needs them to be,
    /// however busy the machine is.
    pub(crate) fn stands_silence(&self) -> Tried {
        const SILENT: Duration = Duration::from_secs(2);
        let timeout = self.given("--idle-timeout").unwrap_or_default();
        match humantime::parse_duration(timeout) {
            Ok(t) if !t.is_zero() && t < SILENT => skipped(format!(
                "keeps clients silent for longer than its --idle-timeout {timeout}"
            )),
            _ => Ok(()),
        }
    }

    /// Runs the program with `flags` until it ends by itself.
    pub(crate) fn run(&self, flags: &[&str]) -> Tried<Exit> {
        let (program, arguments) = self.command()?;
        let mut command = held(program);
        command.args(arguments).args(flags);
        Process::spawn(command, &self.log, self.patience.still)?.wait()
    }

    /// The program and its arguments.
    fn command(&self) -> Tried<(&OsString, &[OsString])> {
        match &self.source {
            Source::Program(program) => Ok((&program.command[0], &program.command[1..])),
            _ => self.lacks_the_contract(),
        }
    }

    fn lacks_the_contract<T>(&self) -> Tried<T> {
        match self.source {
            Source::Address(..) => skipped(ONLY_AN_ADDRESS),
            _ => skipped("needs a program that has the flags of the server contract"),
        }
    }

    /// Skips what needs more than there is.
    pub(crate) fn offers_what(&self, needed: Needs) -> Tried {
        match (needed, &self.source) {
            (Needs::Process, Source::Address(..))
            | (Needs::Flags, Source::Address(..) | Source::Stranger(..)) => {
                self.lacks_the_contract()
            }
            _ => Ok(()),
        }
    }

    /// A server with the usual flags.
    pub(crate) fn serve(&self, mode: Mode) -> Tried<Server> {
        match &self.source {
            Source::Address(address, _) => Ok(self.server(*address, None)),
            Source::Program(_) => self.launch(mode).start(),
            Source::Stranger(command, _) => self.start_stranger(command),
        }
    }

    /// A server that serves at least so many clients at once; skipped where the model cannot.
    pub(crate) fn serve_many(&self, mode: Mode, clients: usize) -> Tried<Server> {
        match &self.source {
            Source::Program(_) => self.launch(mode).for_clients(clients)?.start(),
            _ => self.serve(mode),
        }
    }

    /// A server, and how many clients it serves at once, of `most` that the case has use for.
    pub(crate) fn serve_up_to(&self, mode: Mode, most: usize) -> Tried<(Server, usize)> {
        Ok((self.serve(mode)?, self.places(most)))
    }

    /// How many clients the model serves at once, of `most`.
    pub(crate) fn places(&self, most: usize) -> usize {
        self.limit().map_or(most, |limit| limit.min(most))
    }

    /// A server with flags or limits of the case's own.
    pub(crate) fn launch(&self, mode: Mode) -> Launch<'_> {
        Launch {
            subject: self,
            flags: vec!["--mode".into(), name_of(mode).into()],
            listen: "127.0.0.1:0".into(),
            ulimit: None,
            unprivileged: false,
        }
    }

    fn start_stranger(&self, command: &[OsString]) -> Tried<Server> {
        let mut attempts = 3;
        loop {
            let address = free_address();
            let fill = |argument: &OsString| {
                argument
                    .to_string_lossy()
                    .replace("{addr}", &address.to_string())
                    .replace("{port}", &address.port().to_string())
            };
            let mut filled = held(fill(&command[0]));
            filled.args(command[1..].iter().map(fill));
            let mut process = Process::spawn(filled, &self.log, self.patience.still)?;
            attempts -= 1;
            match ready(&mut process, address) {
                Ok(()) => return Ok(self.server(address, Some(process))),
                // Somebody else may have taken the port.
                Err(_) if attempts > 0 && process.has_ended() => {}
                Err(outcome) => return Err(outcome),
            }
        }
    }

    fn server(&self, address: SocketAddr, process: Option<Process>) -> Server {
        Server {
            address,
            process,
            patience: self.patience,
            backlog_may_be_short: !self.owns_process(),
        }
    }
}

fn name_of(mode: Mode) -> &'static str {
    match mode {
        Mode::Echo => "echo",
        Mode::Once => "once",
        Mode::Http => "http",
    }
}

/// A port of 127.0.0.1 that is free and that this process has not given out before. Below those that the
/// kernel chooses for clients: one of the suite's own could take it before the server does.
fn free_address() -> SocketAddr {
    const PORTS: std::ops::Range<u32> = 10_000..32_000;
    static GIVEN: LazyLock<AtomicU32> = LazyLock::new(|| AtomicU32::new(rand::random_range(PORTS)));
    let addresses = PORTS.map(|_| {
        let port = PORTS.start + GIVEN.fetch_add(1, Relaxed) % PORTS.len() as u32;
        SocketAddr::from((Ipv4Addr::LOCALHOST, port as u16))
    });
    // Without SO_REUSEADDR, which the server may not set either.
    let is_free = |address: &SocketAddr| {
        Socket::new(Domain::IPV4, Type::STREAM, None)
            .and_then(|socket| socket.bind(&(*address).into()))
            .is_ok()
    };
    let mut free = addresses.filter(is_free);
    free.next().expect("the loopback has a free port")
}

/// Waits until the process listens at the address.
fn ready(process: &mut Process, address: SocketAddr) -> Tried {
    /// A program that cannot have the port ends within this.
    const SETTLED: Duration = Duration::from_millis(500);
    let (tree, start) = (process.tree(), Instant::now());
    process.wait_until("the server can be connected to", || {
        // It may be somebody else who listens; or the program's, in a group that it made itself.
        TcpStream::connect(address).is_ok()
            && (tree.listens_at(address.port()) || start.elapsed() > SETTLED)
    })
}

/// A server about to be started.
pub(crate) struct Launch<'a> {
    subject: &'a Subject,
    flags: Vec<String>,
    listen: String,
    ulimit: Option<&'static str>,
    unprivileged: bool,
}

impl Launch<'_> {
    /// Adds flags and their values; skipped where the server lacks one of them, or is tried with
    /// a value of its own.
    pub fn flags(mut self, flags: &[&str]) -> Tried<Self> {
        for flag in flags.iter().filter(|flag| flag.starts_with("--")) {
            if !self.subject.offers(flag)? {
                return skipped(format!("does not have the flag {flag}"));
            }
            if self.subject.gives(flag) {
                return skipped(format!("is tried with its own {flag}"));
            }
        }
        self.flags.extend(flags.iter().map(|&flag| flag.into()));
        Ok(self)
    }

    /// With as many workers as it takes to serve so many clients at once.
    pub fn for_clients(mut self, clients: usize) -> Tried<Self> {
        let Some(limit) = self.subject.limit().filter(|&limit| limit < clients) else {
            return Ok(self);
        };
        if self.subject.offers("--workers")? && !self.subject.gives("--workers") {
            let workers = clients.to_string();
            let limits = self.subject.describe(&["--workers", &workers])?.limits;
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

    /// Under a limit as the shell's `ulimit` takes it, such as `-n 64`.
    pub fn ulimit(mut self, limit: &'static str) -> Self {
        self.ulimit = Some(limit);
        self
    }

    /// As a user without privileges: the superuser is not held to a limit on processes.
    pub fn unprivileged(mut self) -> Self {
        self.unprivileged = nix::unistd::geteuid().is_root();
        self
    }

    /// Starts it and waits for the ready line.
    pub fn start(self) -> Tried<Server> {
        match self.start_or_exit()? {
            Ok(server) => Ok(server),
            // What the model needs of the kernel may be missing here.
            Err(exit) if exit.code() == Some(1) && exit.stderr.contains(" is not available") => {
                skipped(exit.stderr.trim())
            }
            Err(exit) => failed("the server starts and says `listening on ADDRESS`", exit),
        }
    }

    /// Starts it where it may refuse: the server when it is ready, or how it ended.
    pub fn start_or_exit(self) -> Tried<Result<Server, Exit>> {
        // The copy is needed until the program runs, so until it says something.
        let copy = if self.unprivileged {
            Some(self.public_copy()?)
        } else {
            None
        };
        let (plain, arguments) = self.subject.command()?;
        let program = copy.as_ref().map_or(Path::new(plain), |(_, path)| path);
        let mut command = match self.ulimit {
            None => held(program),
            Some(limit) => {
                let mut shell = held("sh");
                let script = format!("ulimit {limit} && exec \"$@\"");
                shell.arg("-c").arg(script).arg("sh").arg(program);
                shell
            }
        };
        if self.unprivileged {
            command.uid(NOBODY).gid(NOBODY).current_dir("/");
        }
        command
            .args(arguments)
            .args(&self.flags)
            .arg("--listen")
            .arg(&self.listen);
        let mut process = Process::spawn(command, &self.subject.log, self.subject.patience.still)?;
        let Some(line) = process.line()? else {
            return Ok(Err(process.wait()?));
        };
        match line.strip_prefix("listening on ").map(str::parse) {
            Some(Ok(address)) => Ok(Ok(self.subject.server(address, Some(process)))),
            _ => failed("the first line on stdout is `listening on ADDRESS`", line),
        }
    }

    /// The program where any user may run it: the build directory may be closed to others.
    fn public_copy(&self) -> Tried<(tempfile::TempDir, PathBuf)> {
        let (plain, _) = self.subject.command()?;
        let copy = || -> std::io::Result<_> {
            let directory = tempfile::tempdir()?;
            let path = directory.path().join("server");
            // Not by this process: another server that is started meanwhile would inherit the
            // descriptor, and a program that is open for writing cannot be run.
            let copied = Command::new("cp").arg(plain).arg(&path).output()?;
            if !copied.status.success() {
                return Err(std::io::Error::other(String::from_utf8_lossy(
                    &copied.stderr,
                )));
            }
            for path in [directory.path(), &path] {
                std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755))?;
            }
            Ok((directory, path))
        };
        copy().or_else(|e| skipped(format!("cannot copy the program for another user: {e}")))
    }
}

/// A server that runs; the process and all its children end when this is dropped.
pub(crate) struct Server {
    /// Where it listens.
    pub address: SocketAddr,
    pub patience: Patience,
    process: Option<Process>,
    backlog_may_be_short: bool,
}

impl Server {
    /// A new client.
    pub fn connect(&self) -> Tried<Client> {
        let client = Client::connect(self.address, self.patience)?;
        if self.backlog_may_be_short {
            client.let_in();
        }
        Ok(client)
    }

    /// So many new clients.
    pub fn connect_many(&self, clients: usize) -> Tried<Vec<Client>> {
        (0..clients).map(|_| self.connect()).collect()
    }

    /// The server's processes.
    pub fn tree(&self) -> Tried<Tree> {
        match &self.process {
            Some(process) => Ok(process.tree()),
            None => skipped(ONLY_AN_ADDRESS),
        }
    }

    /// Asks it to stop and waits for its end, which must be clean.
    pub fn stop(self) -> Tried<Exit> {
        self.tree()?.signal(nix::sys::signal::Signal::SIGTERM);
        self.ended_cleanly("SIGTERM")
    }

    /// Waits for the end that `cause` brings: exit 0 and no process left behind.
    pub fn ended_cleanly(self, cause: &str) -> Tried<Exit> {
        let exit = self.wait()?;
        let clean = exit.code() == Some(0) && exit.left_behind == 0;
        ensure(
            clean,
            format!("after {cause} exit 0 and no process left behind"),
            &exit,
        )?;
        Ok(exit)
    }

    /// Waits for its end.
    pub fn wait(self) -> Tried<Exit> {
        match self.process {
            Some(process) => process.wait(),
            None => skipped(ONLY_AN_ADDRESS),
        }
    }
}
