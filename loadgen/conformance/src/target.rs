//! What is checked: a server program, or the address of a server that runs.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use anyhow::{Context, bail};
use supervisor::{Description, Exit, Launch, Mode, Output, Process, Unable};

use crate::outcome::{NotPassed, Outcome, failed, skipped};
use crate::patience::Patience;

/// How much of a line of a server's stderr a failure quotes, characters.
const MOST_QUOTED: usize = 200;

/// Why a case that looks at processes is skipped.
pub const ONLY_AN_ADDRESS: &str = "needs the server's program, not only its address";

/// The server that the cases are tried on; cheap to clone.
#[derive(Debug, Clone)]
pub struct Target {
    pub(crate) source: Source,
    pub(crate) patience: Patience,
    /// What the servers of this case said on stderr.
    stderr: Arc<Mutex<Vec<Output>>>,
}

/// Where its servers come from.
#[derive(Debug, Clone)]
pub enum Source {
    /// A server that runs already and speaks this. Of several addresses the first one is used.
    Address(Vec<SocketAddr>, Mode),
    /// A program that keeps the command line of the server contract.
    Program(Arc<Program>),
    /// A foreign program, whose arguments contain `{addr}` or `{port}`.
    Foreign(Arc<Vec<OsString>>, Mode),
}

/// A server program, and what it has said about itself.
#[derive(Debug)]
pub struct Program {
    command: Vec<OsString>,
    described: OnceLock<Outcome<Description>>,
    help: OnceLock<String>,
}

/// What a case is tried on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    /// The address of a server.
    Address,
    /// A process that can be signalled and looked into.
    Process,
    /// A program that has the flags of the server contract.
    Program,
}

impl Target {
    /// A server that runs already and speaks `mode`, at the first of these addresses unless
    /// [`Target::ensure_there`] finds that nobody listens there.
    pub fn address(addresses: Vec<SocketAddr>, mode: Mode, patience: Duration) -> Self {
        Self::new(Source::Address(addresses, mode), patience)
    }

    /// A server program with the flags that each start shall have.
    pub fn program(command: Vec<OsString>, patience: Duration) -> Self {
        let program = Program {
            command,
            described: OnceLock::default(),
            help: OnceLock::default(),
        };
        Self::new(Source::Program(Arc::new(program)), patience)
    }

    /// A foreign program that speaks `mode`. Each start puts a free port of 127.0.0.1 in place of `{port}`, or the
    /// whole address in place of `{addr}`. It is ready when it accepts a connection there.
    pub fn foreign(command: Vec<OsString>, mode: Mode, patience: Duration) -> Self {
        Self::new(Source::Foreign(Arc::new(command), mode), patience)
    }

    fn new(source: Source, patience: Duration) -> Self {
        Self {
            source,
            patience: Patience::new(patience),
            stderr: Arc::default(),
        }
    }

    /// Whether there is anything to check. Leaves out the addresses at which nobody listens.
    ///
    /// # Errors
    /// When no server listens at any address, its first answer is of another protocol, or the program cannot be started;
    /// [`Unable`] when none can.
    pub fn ensure_there(&mut self) -> anyhow::Result<()> {
        let program = match &mut self.source {
            Source::Address(addresses, mode) => {
                let (address, client) = first_that_listens(addresses, self.patience.still)?;
                *addresses = vec![address];
                return ensure_spoken(client, *mode);
            }
            Source::Program(program) => &program.command[0],
            Source::Foreign(command, _) => &command[0],
        };
        supervisor::ensure_able()?;
        // Only to see whether it can be started.
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

    /// Whether a program without `{port}` and `{addr}` in its arguments keeps the server contract.
    ///
    /// # Errors
    /// When its `--describe` prints something else, as every case would fail then; [`Unable`] when it cannot be run.
    pub fn ensure_contract(&self) -> anyhow::Result<()> {
        if !self.keeps_contract() {
            return Ok(());
        }
        match self.description() {
            Ok(_) => Ok(()),
            Err(NotPassed::Unable(why)) => bail!(Unable::new(why)),
            Err(_) => bail!(
                "the program does not keep the server contract: --describe says nothing of use{}; for a foreign program write {{port}} or {{addr}} where it expects its address",
                self.last_words()
            ),
        }
    }

    /// The same with a log and a limit of time of its own.
    pub(crate) fn for_a_case(&self) -> Self {
        Self {
            stderr: Arc::default(),
            patience: self.patience.for_a_case(),
            ..self.clone()
        }
    }

    /// The end of what the servers said on stderr, as a clause for a failure.
    pub fn last_words(&self) -> String {
        let servers = self.stderr.lock();
        let servers = servers.expect("no thread panics while it holds this");
        let texts: Vec<String> = servers.iter().map(Output::text).collect();
        let lines = texts.iter().flat_map(|text| text.lines());
        let lines: Vec<&str> = lines.filter(|line| !line.trim().is_empty()).collect();
        let mut words = String::new();
        for line in &lines[lines.len().saturating_sub(3)..] {
            // A terminal would obey its control characters.
            let line: String = line.trim().escape_debug().take(MOST_QUOTED).collect();
            let _ = write!(words, "; stderr: {line}");
        }
        words
    }

    /// Whether it is a program that has the flags of the server contract.
    pub(crate) fn keeps_contract(&self) -> bool {
        matches!(self.source, Source::Program(_))
    }

    /// The one protocol that is spoken by a server without the flags of the contract.
    pub fn only_mode(&self) -> Option<Mode> {
        match self.source {
            Source::Address(_, mode) | Source::Foreign(_, mode) => Some(mode),
            Source::Program(_) => None,
        }
    }

    /// Skips when the server does not speak `mode`.
    pub(crate) fn require_mode(&self, mode: Mode) -> Outcome {
        let spoken = match &self.source {
            Source::Address(_, spoken) | Source::Foreign(_, spoken) => *spoken == mode,
            // Every server of the contract speaks echo and once.
            Source::Program(program) => mode != Mode::Http || self.help(program)?.contains("http"),
        };
        if spoken {
            Ok(())
        } else {
            skipped(format!("does not speak {mode}"))
        }
    }

    fn help<'a>(&self, program: &'a Program) -> Outcome<&'a str> {
        if program.help.get().is_none() {
            let exit = self.run(&["--help"])?;
            let _ = program.help.set(exit.stdout);
        }
        Ok(program.help.get().expect("it was just set"))
    }

    /// Skips a case that needs more than this target has.
    pub(crate) fn require(&self, needed: Needs) -> Outcome {
        match (needed, &self.source) {
            (Needs::Process, Source::Address(..))
            | (Needs::Program, Source::Address(..) | Source::Foreign(..)) => {
                self.lacks_the_contract()
            }
            _ => Ok(()),
        }
    }

    fn lacks_the_contract<T>(&self) -> Outcome<T> {
        match self.source {
            Source::Address(..) => skipped(ONLY_AN_ADDRESS),
            _ => skipped("needs a program that has the flags of the server contract"),
        }
    }

    /// What `--describe` prints. Skips the case when that cannot be read.
    pub(crate) fn description(&self) -> Outcome<Description> {
        let Source::Program(program) = &self.source else {
            return self.lacks_the_contract();
        };
        let described = program.described.get_or_init(|| self.describe_with(&[]));
        match described {
            Ok(_) | Err(NotPassed::Unable(_)) => described.clone(),
            Err(_) => skipped("--describe does not say what the server has and can"),
        }
    }

    /// What `--describe` prints with more flags.
    pub(crate) fn describe_with(&self, flags: &[&str]) -> Outcome<Description> {
        let exit = self.run(&[flags, &["--describe"]].concat())?;
        let expected = "--describe prints JSON with name, family, summary, flags and limits";
        if exit.code() != Some(0) {
            return failed(expected, exit);
        }
        serde_json::from_str(&exit.stdout)
            .or_else(|e| failed(expected, format!("{e}: {}", exit.stdout.trim())))
    }

    /// How many clients the server serves at once; `None` when that is unknown or unlimited.
    pub(crate) fn client_limit(&self) -> Option<usize> {
        self.description().ok()?.limits.clients
    }

    /// How many clients the server serves at once, but no more than `most`.
    pub(crate) fn clients_at_once(&self, most: usize) -> usize {
        self.client_limit().map_or(most, |limit| limit.min(most))
    }

    /// Whether the server has this flag.
    pub(crate) fn offers(&self, flag: &str) -> Outcome<bool> {
        Ok(self.description()?.flags.iter().any(|f| f == flag))
    }

    /// The value of this flag in the command of the target.
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

    /// Skips when the target's own `--idle-timeout` would end clients that are silent for as long as this case needs on a
    /// busy machine.
    pub(crate) fn require_silence(&self) -> Outcome {
        const SILENT: Duration = Duration::from_secs(2);
        let timeout = self.given("--idle-timeout").unwrap_or_default();
        match humantime::parse_duration(timeout) {
            Ok(t) if !t.is_zero() && t < SILENT => skipped(format!(
                "keeps clients silent for longer than its --idle-timeout {timeout}"
            )),
            _ => Ok(()),
        }
    }

    /// The command of the target.
    pub(crate) fn command(&self) -> Outcome<Vec<OsString>> {
        match &self.source {
            Source::Program(program) => Ok(program.command.clone()),
            _ => self.lacks_the_contract(),
        }
    }

    /// Runs the program with `flags` until it ends by itself.
    pub(crate) fn run(&self, flags: &[&str]) -> Outcome<Exit> {
        let mut command = self.command()?;
        command.extend(flags.iter().map(Into::into));
        wait_for_end(self.spawn(&Launch::new(command))?, self.patience)
    }

    /// Starts a program. A failure of the case will quote its stderr.
    pub(crate) fn spawn(&self, launch: &Launch) -> Outcome<Process> {
        match launch.run() {
            Ok(process) => {
                let mut servers = self.stderr.lock().expect("no thread panics with it");
                servers.push(process.stderr().clone());
                Ok(process)
            }
            Err(unable) => Err(NotPassed::Unable(unable.to_string())),
        }
    }
}

/// Waits until a process ends by itself.
pub fn wait_for_end(process: Process, patience: Patience) -> Outcome<Exit> {
    match process.wait(patience.still) {
        Some(exit) => Ok(exit),
        None => failed(
            "the process ends",
            format!("still there after {:?}", patience.still),
        ),
    }
}

/// A connection to the first of these addresses that takes one.
fn first_that_listens(
    addresses: &[SocketAddr],
    timeout: Duration,
) -> anyhow::Result<(SocketAddr, TcpStream)> {
    let mut refusals = Vec::new();
    for address in addresses {
        match TcpStream::connect_timeout(address, timeout) {
            Ok(client) => return Ok((*address, client)),
            Err(error) => refusals.push(format!("{address}: {error}")),
        }
    }
    bail!("no server at {}", refusals.join(", "))
}

/// How long the first answer of a server is waited for.
const FIRST_ANSWER: Duration = Duration::from_secs(1);

/// Fails when the first answer is of another protocol than the one that is to be checked.
fn ensure_spoken(mut client: TcpStream, mode: Mode) -> anyhow::Result<()> {
    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: check\r\nConnection: close\r\n\r\n";
    client.set_read_timeout(Some(FIRST_ANSWER))?;
    let mut answer = [0; b"HTTP/1.".len()];
    let answered = client
        .write_all(REQUEST)
        .and_then(|()| client.read_exact(&mut answer));
    if answered.is_err() {
        // What is wrong with it is for the cases to find out.
        return Ok(());
    }
    match mode {
        Mode::Echo | Mode::Once if &answer == b"HTTP/1." => {
            bail!("this server speaks HTTP: add --mode http")
        }
        Mode::Http if REQUEST.starts_with(&answer) => {
            bail!("this server sends back what it gets: use --mode echo")
        }
        _ => Ok(()),
    }
}
