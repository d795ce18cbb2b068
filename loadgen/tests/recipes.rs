//! What `docs/your-server.md` promises: each of its commands is run as it stands there, and each of the table is
//! understood.
//!
//! This program is also the servers that the recipes start, under the names that they have there. The servers that the
//! reader has already listen at other ports, which are put in place of those of the document.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, ExitCode, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use libtest_mimic::{Arguments, Failed, Trial};
use rcgen::generate_simple_self_signed;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use tempfile::TempDir;

/// Redis was asked for something that it does not have.
const NO_RIGHT_ANSWER: &str = "a question without a right answer";
const PAGE: &str = include_str!("../../docs/your-server.md");
/// The programs of the reader.
const PROGRAMS: [&str; 3] = ["server", "server-old", "server-new"];
/// 0: done; 3: the machine was too busy; 4: too slow for a goal. What the figures are is not tried here.
const DONE: [i32; 3] = [0, 3, 4];

fn main() -> ExitCode {
    supervisor::run_helper_if_asked();
    let mut words = std::env::args();
    let name = words.next().unwrap_or_default();
    let name = Path::new(&name).file_name().unwrap_or_default();
    if PROGRAMS.iter().any(|program| name == *program) {
        let port = words.nth(1).and_then(|port| port.parse().ok());
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port.unwrap_or(0)));
        serve(
            &listener.expect("the port is free"),
            &http(&Seen::default()),
        );
        return ExitCode::SUCCESS;
    }
    let mut trials = vec![
        Trial::test("there_are_five_recipes", || {
            there_are_five_recipes();
            Ok(())
        }),
        Trial::test("other_habits", each_cell_is_understood),
    ];
    trials.extend(sections().into_iter().map(|(title, text)| {
        Trial::test(title, move || {
            runs_as_it_stands(text);
            Ok(())
        })
    }));
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

/// The sections with commands.
fn sections() -> Vec<(&'static str, &'static str)> {
    let sections = PAGE.split("\n## ").skip(1);
    sections
        .filter_map(|section| section.split_once('\n'))
        .filter(|(_, text)| text.contains("```sh"))
        .collect()
}

fn there_are_five_recipes() {
    let numbered = sections();
    let numbered = numbered.iter().filter(|(title, _)| {
        let number = title
            .split_once(". ")
            .map(|(number, _)| number.parse::<u32>());
        number.is_some_and(|number| number.is_ok())
    });
    assert_eq!(numbered.count(), 5);
}

/// The blocks of one kind, with the text before each.
fn blocks(text: &'static str, kind: &str) -> Vec<(&'static str, &'static str)> {
    let mut blocks = Vec::new();
    let fence = format!("```{kind}\n");
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(&fence) {
        let (block, next) = after.split_once("```").expect("a block ends");
        blocks.push((before, block));
        rest = next;
    }
    blocks
}

/// The commands of a section: those of its blocks of shell, and those of the workflow.
fn commands(text: &'static str) -> Vec<String> {
    let shell = blocks(text, "sh").into_iter();
    let shell = shell.flat_map(|(_, block)| {
        let joined = block.replace("\\\n", " ");
        joined.lines().map(str::to_owned).collect::<Vec<_>>()
    });
    let workflow = blocks(text, "yaml").into_iter();
    let workflow = workflow.flat_map(|(_, block)| {
        let steps = block
            .lines()
            .filter_map(|line| line.trim().strip_prefix("run: loadgen "));
        steps
            .map(|step| format!("loadgen {step}"))
            .collect::<Vec<_>>()
    });
    shell.chain(workflow).collect()
}

fn runs_as_it_stands(text: &'static str) {
    let reader = Reader::new(text);
    for command in commands(text) {
        let output = reader.types(&command);
        let told = String::from_utf8_lossy(&output.stderr);
        let shown = String::from_utf8_lossy(&output.stdout);
        let code = output.status.code().expect("it was not killed");
        if command.starts_with("loadgen check ") {
            // The server here is a small one, in which some cases fail.
            assert!(
                shown.contains("passed, ") && code <= 1,
                "{command}: {shown}{told}"
            );
            assert!(shown.contains("pass http::get"), "{command}: {shown}");
        } else if command.starts_with("loadgen search ") && told.contains("could not be measured") {
            // It says so where the machine is too busy.
            assert_eq!(code, 3, "{command}: {shown}{told}");
        } else {
            assert!(DONE.contains(&code), "{command}: {code}: {shown}{told}");
        }
        if command.starts_with("loadgen run ") {
            assert!(shown.contains("response "), "{command}: {shown}");
            assert!(!shown.contains("FAILED"), "{command}: {shown}");
        }
    }
    let seen = reader.seen.0.lock().expect("no server panics");
    assert!(!seen.contains_key(NO_RIGHT_ANSWER), "{:?}", seen.keys());
    for (in_text, at_server) in [
        ("/items?limit=10' \\", "GET /items?limit=10 HTTP/1.1"),
        ("'Accept: application/json' \\", "Accept: application/json"),
        ("--body '{\"name\": \"bell\"}'", "{\"name\": \"bell\"}"),
        ("--requests targets.txt", "GET /items/1 HTTP/1.1"),
        ("https://localhost:8443/", "GET / HTTP/1.1"),
        ("'PING\\r\\n'", "PING"),
        ("'INCR bell\\r\\n'", "INCR bell"),
    ] {
        assert!(PAGE.contains(in_text), "no recipe has `{in_text}` any more");
        if text.contains(in_text) {
            assert!(
                seen.contains_key(at_server),
                "{at_server}: {:?}",
                seen.keys()
            );
        }
    }
}

/// Each command of the last column reaches the point at which nobody listens.
fn each_cell_is_understood() -> Result<(), Failed> {
    let reader = Reader::new(PAGE);
    let nobody = TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
    let rows = PAGE.lines().filter_map(|line| line.strip_suffix("` |"));
    let cells: Vec<&str> = rows
        .filter_map(|row| row.rsplit_once("| `"))
        .map(|(_, cell)| cell)
        .collect();
    assert!(cells.len() >= 12, "{cells:?}");
    for generator in ["wrk", "oha", "hey", "ab", "bombardier", "vegeta", "k6"] {
        assert!(
            PAGE.contains(&format!("\n| {generator} | `")),
            "{generator}"
        );
    }
    for cell in cells {
        let output = reader.types(&cell.replace("127.0.0.1:8080", &nobody));
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{cell}: {told}");
        assert!(told.contains("Connection refused"), "{cell}: {told}");
    }
    Ok(())
}

/// A reader of the page: a directory with what the page says to have in it, and servers.
struct Reader {
    directory: TempDir,
    /// What the page has, and what is in its place.
    addresses: Vec<(&'static str, String)>,
    seen: Seen,
}

/// What servers were sent: how often each line.
#[derive(Debug, Clone, Default)]
struct Seen(Arc<Mutex<BTreeMap<String, usize>>>);

impl Seen {
    fn note(&self, line: &str) {
        let mut lines = self.0.lock().expect("no server panics");
        *lines.entry(line.to_owned()).or_default() += 1;
    }
}

impl Reader {
    fn new(text: &'static str) -> Self {
        let directory = tempfile::tempdir().expect("a directory can be made");
        let program = std::env::current_exe().expect("this is a program");
        for name in PROGRAMS {
            symlink(&program, directory.path().join(name)).expect("it is new");
        }
        for kind in ["text", "toml"] {
            for (before, block) in blocks(text, kind) {
                let (_, name) = before
                    .rsplit_once("Save this as `")
                    .expect("it says its name");
                let (name, _) = name.split_once('`').expect("a name ends");
                fs::write(directory.path().join(name), block).expect("it can be written");
            }
        }
        let seen = Seen::default();
        let identity =
            generate_simple_self_signed(["localhost".to_owned()]).expect("a key can be made");
        fs::write(directory.path().join("ca.pem"), identity.cert.pem()).expect("it can be written");
        let key = PrivateKeyDer::try_from(identity.signing_key.serialize_der()).expect("it is one");
        let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .expect("there are some")
            .with_no_client_auth()
            .with_single_cert(vec![identity.cert.der().clone()], key)
            .expect("the key fits");
        let (config, http_over_tls) = (Arc::new(config), http(&seen));
        let tls = move |client: TcpStream| {
            let session = ServerConnection::new(Arc::clone(&config)).map_err(io::Error::other)?;
            http_over_tls(&mut StreamOwned::new(session, client))
        };
        let plain = http(&seen);
        let addresses = vec![
            (
                "127.0.0.1:8080",
                start(move |mut client| plain(&mut client)).to_string(),
            ),
            ("localhost:8443", format!("localhost:{}", start(tls).port())),
            ("127.0.0.1:6379", start(redis(&seen)).to_string()),
        ];
        Self {
            directory,
            addresses,
            seen,
        }
    }

    fn types(&self, command: &str) -> Output {
        let mut command = command.to_owned();
        for (there, here) in &self.addresses {
            command = command.replace(there, here);
        }
        let words = shlex::split(&command).expect("quotes are closed");
        assert_eq!(words[0], "loadgen", "{command}");
        Command::new(env!("CARGO_BIN_EXE_loadgen"))
            .args(&words[1..])
            .current_dir(self.directory.path())
            .stdin(Stdio::null())
            .output()
            .expect("loadgen can be run")
    }
}

/// Serves each client in a thread of its own, which ends with the client.
fn start(
    serve_client: impl Fn(TcpStream) -> io::Result<()> + Clone + Send + 'static,
) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    let address = listener.local_addr().expect("it has one");
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let serve_client = serve_client.clone();
            thread::spawn(move || serve_client(client));
        }
    });
    address
}

fn serve(
    listener: &TcpListener,
    serve_client: &(impl Fn(&mut TcpStream) -> io::Result<()> + Clone + Send + 'static),
) {
    for mut client in listener.incoming().flatten() {
        let serve_client = serve_client.clone();
        thread::spawn(move || serve_client(&mut client));
    }
}

/// HTTP/1.1 with keep-alive, and with bodies of a known length.
fn http<S: Read + Write>(seen: &Seen) -> impl Fn(&mut S) -> io::Result<()> + Clone + Send + use<S> {
    let seen = seen.clone();
    move |client| {
        let mut bytes = Vec::new();
        loop {
            let Some(head) = read_until(client, &mut bytes, b"\r\n\r\n")? else {
                return Ok(());
            };
            let head = String::from_utf8_lossy(&head).into_owned();
            for line in head.lines() {
                seen.note(line);
            }
            let field = |name: &str| {
                let fields = head.lines().filter_map(|line| line.split_once(": "));
                let mut found = fields.filter(|(own, _)| own.eq_ignore_ascii_case(name));
                found.next().map(|(_, value)| value.trim().to_owned())
            };
            let length = field("content-length").and_then(|length| length.parse().ok());
            let length: usize = length.unwrap_or(0);
            while bytes.len() < length {
                if !read_more(client, &mut bytes)? {
                    return Ok(());
                }
            }
            let body: Vec<u8> = bytes.drain(..length).collect();
            seen.note(&String::from_utf8_lossy(&body));
            let text = if head.starts_with("HEAD ") {
                ""
            } else {
                "ok\n"
            };
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n{text}");
            client.write_all(answer.as_bytes())?;
            client.flush()?;
            if field("connection").is_some_and(|value| value == "close") {
                return Ok(());
            }
        }
    }
}

/// `PING` has its `+PONG`, and `INCR` counts. What else it is asked has no right answer.
fn redis(seen: &Seen) -> impl Fn(TcpStream) -> io::Result<()> + Clone + Send + use<> {
    let seen = seen.clone();
    move |mut client| {
        let (mut bytes, mut bells) = (Vec::new(), 0);
        while let Some(line) = read_until(&mut client, &mut bytes, b"\r\n")? {
            let line = String::from_utf8_lossy(&line).trim_end().to_owned();
            seen.note(&line);
            let answer = match &*line {
                "PING" => "+PONG\r\n".to_owned(),
                "INCR bell" => {
                    bells += 1;
                    format!(":{bells}\r\n")
                }
                _ => {
                    seen.note(NO_RIGHT_ANSWER);
                    "$-1\r\n".to_owned()
                }
            };
            client.write_all(answer.as_bytes())?;
        }
        Ok(())
    }
}

/// The bytes up to and with `end`; `None` when the client ends before.
fn read_until(
    client: &mut impl Read,
    bytes: &mut Vec<u8>,
    end: &[u8],
) -> io::Result<Option<Vec<u8>>> {
    loop {
        if let Some(at) = bytes.windows(end.len()).position(|window| window == end) {
            return Ok(Some(bytes.drain(..at + end.len()).collect()));
        }
        if !read_more(client, bytes)? {
            return Ok(None);
        }
    }
}

fn read_more(client: &mut impl Read, bytes: &mut Vec<u8>) -> io::Result<bool> {
    let mut buffer = [0; 4096];
    let read = client.read(&mut buffer)?;
    bytes.extend(&buffer[..read]);
    Ok(read > 0)
}
