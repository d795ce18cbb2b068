//! What `docs/lessons.md` promises: its commands are run as they stand there, and what it shows must come.
//!
//! A lesson is a section with commands, each in a numbered terminal, and with lines that a terminal shows. In these lines
//! a number with a decimal point, a time or a descriptor may differ; all else must be the same. `...` stands for any number of
//! words, or of lines. The servers listen at a port of their own, and nothing is kept.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use libtest_mimic::{Arguments, Trial};
use nix::sys::signal::Signal;
use supervisor::{Launch, Outlet, Process, Ready};
use tempfile::TempDir;

const LONG: Duration = Duration::from_mins(2);
const LESSONS: &str = "docs/lessons.md";
/// Where the commands find the programs, and where the servers listen unless told otherwise.
const PROGRAMS: &str = "target/release/";
const ADDRESS: &str = "127.0.0.1:7000";
/// What each lesson has.
const PARTS: [&str; 5] = [
    "**What do you think?**",
    "**You see**",
    "**Why.**",
    "**Look at**",
    "**Try next.**",
];

fn main() -> ExitCode {
    supervisor::run_helper_if_asked();
    std::env::set_current_dir(root()).expect("the top folder is there");
    let text = text(LESSONS);
    let lessons = Lesson::all(&text);
    let mut trials: Vec<Trial> = vec![
        Trial::test("a_changed_promise_is_noticed", || {
            a_changed_promise_is_noticed();
            Ok(())
        }),
        Trial::test("the_curve_shows_the_figures_of_its_table", || {
            the_curve_shows_the_figures_of_its_table();
            Ok(())
        }),
        Trial::test("every_lesson_is_in_the_index", {
            let lessons: Vec<String> = lessons.iter().map(|lesson| lesson.title.clone()).collect();
            move || {
                every_lesson_is_in_the_index(&lessons);
                Ok(())
            }
        }),
    ];
    trials.extend(lessons.into_iter().map(|lesson| {
        Trial::test(lesson.title.clone(), move || {
            lesson.has_all_parts();
            lesson.shows_code_that_exists();
            lesson.keeps_its_promises();
            Ok(())
        })
    }));
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn text(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

struct Lesson {
    title: String,
    text: String,
    steps: Vec<Step>,
}

/// A step in a terminal of the reader.
enum Step {
    Command(u32, String),
    Shows(u32, Vec<String>),
}

impl Lesson {
    /// The sections that have a number.
    fn all(text: &str) -> Vec<Self> {
        let sections = text.split("\n## ").skip(1);
        let lessons = sections.filter(|section| section.starts_with(|c: char| c.is_ascii_digit()));
        lessons.map(Self::of).collect()
    }

    fn of(section: &str) -> Self {
        let (title, text) = section.split_once('\n').expect("a lesson has a text");
        let mut steps = Vec::new();
        let mut terminal = None;
        let mut lines = text.lines();
        while let Some(line) = lines.next() {
            if let Some((_, rest)) = line.rsplit_once("Terminal ") {
                let number = rest.split([':', ' ']).next().expect("split gives one");
                terminal = Some(number.parse().expect("a terminal has a number"));
            }
            let Some(kind) = line.strip_prefix("```").filter(|kind| !kind.is_empty()) else {
                continue;
            };
            let block: Vec<String> = lines
                .by_ref()
                .take_while(|line| *line != "```")
                .map(str::to_owned)
                .collect();
            let terminal = || terminal.unwrap_or_else(|| panic!("{title}: in which terminal?"));
            match kind {
                "sh" => steps.extend(
                    block
                        .into_iter()
                        .map(|command| Step::Command(terminal(), command)),
                ),
                "text" => steps.push(Step::Shows(terminal(), block)),
                "rust" => {}
                other => panic!("{title}: nobody tries a block of {other}"),
            }
        }
        Self {
            title: title.to_owned(),
            text: text.to_owned(),
            steps,
        }
    }

    fn has_all_parts(&self) {
        let mut rest = self.text.as_str();
        for part in PARTS {
            let (_, after) = rest
                .split_once(part)
                .unwrap_or_else(|| panic!("{}: no {part} in its place", self.title));
            rest = after;
        }
    }

    /// A block of Rust follows a link such as [`wait` in crates/epoll/src/main.rs](...), and stands there.
    fn shows_code_that_exists(&self) {
        let blocks: Vec<&str> = self.text.split("```rust\n").collect();
        assert!(blocks.len() > 1, "{}: no line of code", self.title);
        for pair in blocks.windows(2) {
            let (_, link) = pair[0].rsplit_once("[`").expect("a link precedes the code");
            let (function, link) = link.split_once("` in ").expect("it names the function");
            let (path, _) = link.split_once(']').expect("it names the file");
            let (code, _) = pair[1].split_once("```").expect("a block ends");
            let source = text(path);
            let mut lines = source.lines().map(str::trim);
            assert!(
                lines.any(|line| line.contains(&format!("fn {function}"))),
                "{}: {path} has no function {function}",
                self.title
            );
            for line in code.lines().map(str::trim).filter(|line| *line != "...") {
                assert!(
                    lines.any(|other| other == line),
                    "{}: `{function}` in {path} does not say, there: {line}",
                    self.title
                );
            }
        }
    }

    fn keeps_its_promises(&self) {
        let place = tempfile::tempdir().expect("there is room");
        let mut terminals: BTreeMap<u32, Terminal> = BTreeMap::new();
        let mut promises = Vec::new();
        for step in &self.steps {
            match step {
                Step::Command(number, command) => {
                    if let Some(terminal) = terminals.get_mut(number) {
                        terminal.interrupt();
                    }
                    let terminal = Terminal::run(command, &terminals, &place);
                    match terminals.get_mut(number) {
                        Some(old) => old.goes_on_as(terminal),
                        None => drop(terminals.insert(*number, terminal)),
                    }
                }
                Step::Shows(number, lines) => promises.push((number, lines)),
            }
        }
        for terminal in terminals.values_mut() {
            terminal.interrupt();
        }
        for (number, lines) in promises {
            let said = &mut terminals.get_mut(number).expect("it has a command").said;
            let end = end_of(lines, said).unwrap_or_else(|| {
                panic!(
                    "{}: terminal {number} does not show\n{}\nbut\n{}",
                    self.title,
                    lines.join("\n"),
                    said.join("\n")
                )
            });
            said.drain(..end);
        }
        let figures = place.path().join("run/summary.csv");
        if figures.exists() {
            self.ends_with_the_cheapest(&figures);
        }
    }

    /// The lesson's table has the rows of the bench, and its last one costs the least CPU time for a request. On a machine
    /// that is very busy the others, which wake up more often, get less than they would use.
    fn ends_with_the_cheapest(&self, figures: &Path) {
        let mut reader = csv::Reader::from_path(figures).expect("it can be read");
        let rows = reader.deserialize::<BTreeMap<String, String>>();
        let costs: BTreeMap<String, f64> = rows
            .map(|row| {
                let row = row.expect("it is a row");
                let cost = row["cpu_us_per_request"].parse();
                (row["server"].clone(), cost.expect("it can be counted"))
            })
            .collect();
        let lines = self.text.lines().filter_map(|line| line.strip_prefix("| "));
        let names = lines.filter_map(|line| line.split(' ').next());
        let shown: Vec<f64> = names.filter_map(|name| costs.get(name).copied()).collect();
        assert_eq!(shown.len(), costs.len(), "{}: {costs:?}", self.title);
        let (last, others) = shown.split_last().expect("it has rows");
        let is_cheapest = others.iter().all(|cost| cost > last);
        assert!(is_cheapest, "{}: {costs:?}", self.title);
    }
}

/// A terminal: what was shown in it, and the server that runs in it.
#[derive(Default)]
struct Terminal {
    said: Vec<String>,
    server: Option<Server>,
}

struct Server {
    program: String,
    address: String,
    process: Process,
}

impl Terminal {
    /// Runs a command: a server until it is ready, all else to its end.
    fn run(command: &str, others: &BTreeMap<u32, Self>, place: &TempDir) -> Self {
        let servers = || {
            others
                .values()
                .rev()
                .filter_map(|other| other.server.as_ref())
        };
        // The kernel keeps 15 characters of a program's name.
        let pid = |name: &str| {
            let server = servers().find(|server| server.program.chars().take(15).eq(name.chars()));
            let server = server.unwrap_or_else(|| panic!("{command}: pgrep finds no {name}"));
            server.process.pid()
        };
        let programs = Path::new(env!("CARGO_BIN_EXE_loadgen")).with_file_name("");
        let programs = programs.to_str().expect("its path is text");
        let mut command = command.replace(PROGRAMS, programs);
        while let Some((before, after)) = command.split_once("$(pgrep -o ") {
            let (name, after) = after.split_once(')').expect("it is closed");
            command = format!("{before}{}{after}", pid(name));
        }
        if let Some(server) = servers().next() {
            command = command.replace(ADDRESS, &server.address);
        }
        let words = shlex::split(&command).expect("it is a command");
        let (program, arguments) = words.split_first().expect("it is a command");
        if program == "kill" {
            let [signal, pid] = arguments else {
                panic!("{command}: expected a signal and a process");
            };
            let signal: Signal = format!("SIG{}", &signal[1..]).parse().expect("a signal");
            let pid: u32 = pid.parse().expect("a process has a number");
            let server = servers().find(|server| server.process.pid() == pid);
            server
                .expect("it runs")
                .process
                .group()
                .signal_leader(signal);
            return Self::default();
        }

        let name = program.strip_prefix(programs);
        let name = name.unwrap_or_else(|| panic!("{command}: expected {PROGRAMS}..."));
        assert!(
            Path::new(program).exists(),
            "{name} is not built: cargo build --workspace"
        );
        let mut launch: Vec<OsString> = words.iter().map(OsString::from).collect();
        if name.ends_with("-server") {
            launch.extend(["--listen".into(), "127.0.0.1:0".into()]);
        } else if arguments[0] == "run" {
            launch.push("--no-save".into());
        } else if arguments[0] == "bench" {
            launch.extend([
                "--no-keep-awake".into(),
                "--out".into(),
                place.path().join("run").into(),
            ]);
        }
        let launch = Launch {
            stdout: Outlet::ReadWhole,
            stderr: Outlet::ReadWhole,
            ..Launch::new(launch)
        };
        let process = launch.run().expect("it can be started");
        if name.ends_with("-server") {
            let ready = process.ready(Ready::Line, LONG, &mut || false);
            let (process, address) = ready.unwrap_or_else(|error| panic!("{command}: {error}"));
            let server = Server {
                program: name.to_owned(),
                address: address.to_string(),
                process,
            };
            return Self {
                said: Vec::new(),
                server: Some(server),
            };
        }
        let exit = process.wait(LONG);
        let exit = exit.unwrap_or_else(|| panic!("{command}: does not end"));
        let code = exit.code();
        assert!(
            code.is_some_and(|code| code != 2),
            "{command}: {code:?}, {}",
            exit.stderr
        );
        Self {
            said: lines(&exit.stdout, &exit.stderr),
            server: None,
        }
    }

    /// Ctrl-C.
    fn interrupt(&mut self) {
        if let Some(server) = self.server.take() {
            server.process.group().signal_leader(Signal::SIGINT);
            let exit = server.process.wait(LONG).expect("it ends on Ctrl-C");
            assert_eq!(exit.code(), Some(0), "{}: {exit}", server.program);
            self.said
                .extend(lines(&exit.stdout, &exit.stderr).into_iter().map(|line| {
                    // As it stands in the document, in which it listens where it does by default.
                    line.replace(&server.address, ADDRESS)
                }));
        }
    }

    fn goes_on_as(&mut self, next: Self) {
        self.said.extend(next.said);
        self.server = next.server;
    }
}

fn lines(stdout: &str, stderr: &str) -> Vec<String> {
    let lines = stdout.lines().chain(stderr.lines());
    lines.map(str::to_owned).collect()
}

/// Where what is shown ends in what was said.
fn end_of(shown: &[String], said: &[String]) -> Option<usize> {
    let mut end = 0;
    for part in shown.split(|line| line.trim() == "...") {
        let matches = |at: &usize| {
            let said = said[*at..].iter();
            part.iter()
                .zip(said)
                .all(|(shown, said)| is_line(shown, said))
        };
        let last = said.len().checked_sub(part.len())?;
        end = part.len() + (end..=last).find(matches)?;
    }
    Some(end)
}

/// Whether a line that is shown may stand for one that was said.
fn is_line(shown: &str, said: &str) -> bool {
    let shown: Vec<&str> = shown.split_whitespace().collect();
    let said: Vec<&str> = said.split_whitespace().collect();
    are_words(&shown, &said)
}

fn are_words(shown: &[&str], said: &[&str]) -> bool {
    match (shown, said) {
        ([], _) => said.is_empty(),
        (["...", rest @ ..], _) => {
            (0..=said.len()).any(|left_out| are_words(rest, &said[left_out..]))
        }
        ([_, _, more @ ..], [_, _, more_said @ ..]) if is_time(shown) && is_time(said) => {
            are_words(more, more_said)
        }
        ([word, more @ ..], [word_said, more_said @ ..]) => {
            let is_same = without_comma(word) == without_comma(word_said)
                || (is_descriptor(word) && is_descriptor(word_said));
            let are_figures = [word, word_said].map(|word| is_number(word) && word.contains('.'));
            (is_same || are_figures == [true; 2]) && are_words(more, more_said)
        }
        (_, []) => false,
    }
}

/// Whether they begin with a number and a unit.
fn is_time(words: &[&str]) -> bool {
    let [number, unit, ..] = words else {
        return false;
    };
    let unit = unit.trim_end_matches([',', ':', ')']);
    is_number(number.trim_start_matches('(')) && matches!(unit, "us" | "ms" | "s")
}

/// As in `client 1 [7]`. It depends on what the server was started with.
fn is_descriptor(word: &str) -> bool {
    word.starts_with('[') && word.ends_with("]:")
}

fn is_number(word: &str) -> bool {
    without_comma(word).replace(',', "").parse::<f64>().is_ok()
}

fn without_comma(word: &str) -> &str {
    word.trim_end_matches(',')
}

fn a_changed_promise_is_noticed() {
    let said = [
        "  0.1 a: read 6 bytes",
        "  1.2 b",
        "  1.3 c: after 2 ms: d, e",
        "  1.4 d",
    ];
    let said = said.map(str::to_owned);
    let shown = |lines: &[&str]| {
        let lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
        end_of(&lines, &said)
    };
    assert_eq!(shown(&["0.9 a: read 6 bytes", "3.1 b"]), Some(2));
    assert_eq!(
        shown(&["0.9 a: ...", "...", "1.0 c: after 1.5 s: d ..."]),
        Some(3)
    );
    assert_eq!(shown(&["... 6 bytes"]), Some(1));
    assert_eq!(shown(&["...", "1.4 d", "..."]), Some(4));
    for wrong in [
        &["0.9 a: read 7 bytes"][..],
        &["0.9 a: read 6"],
        &["0.9 a: read 6 bytes", "1.0 c: after 1.5 s: d, e"],
        &["1.0 c: after 2 ms: e"],
        &["3.1 b", "...", "0.9 a: ..."],
        &["1.4 d", "1.5 e"],
        &["... 6 bits"],
    ] {
        assert_eq!(shown(wrong), None, "{wrong:?}");
    }
}

/// `.ci/curve` draws it.
fn the_curve_shows_the_figures_of_its_table() {
    let (document, curve) = (text(LESSONS), text("docs/lessons/interval.svg"));
    let rows = document
        .lines()
        .filter(|line| line.starts_with("| interval-"));
    let figures = rows.flat_map(|row| row.split(" | ").skip(1).take(2));
    let figures: Vec<&str> = figures.collect();
    assert!(figures.len() >= 10, "{figures:?}");
    for figure in figures {
        assert!(
            curve.contains(&format!(">{figure}<")),
            "docs/lessons/interval.svg does not show {figure}: run .ci/curve"
        );
    }
}

/// Each lesson is named in the index by its number. That the link leads there is seen in `workspace.rs`.
fn every_lesson_is_in_the_index(titles: &[String]) {
    let document = text(LESSONS);
    let (index, _) = document
        .split_once("\n## ")
        .expect("lessons follow the index");
    assert!(titles.len() >= 12, "{titles:?}");
    for title in titles {
        let (number, _) = title.split_once(". ").expect("a lesson has a number");
        let link = format!("](#{number}-");
        assert!(index.contains(&link), "no question leads to {title}");
    }
}
