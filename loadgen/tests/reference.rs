//! The figures that the documents quote are those of the reference run: what stands between
//! `<!-- reference: ... -->` and `<!-- end -->` is made from its `summary.md`.
//!
//! `make docs` (`UPDATE_DOCS=1`) writes it anew; without that the test only compares. A block is
//!
//! * `head`: the machine, the way of measuring, the command;
//! * the title of a table, such as `active`: all its rows, of the columns that the block has;
//! * `rows`: the servers and columns that the block has, a column being `TITLE: HEADING`.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const BEGIN: &str = "<!-- reference: ";
const END: &str = "<!-- end -->";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The cells of a Markdown table's line, without the marks of the best.
fn cells(line: &str) -> Vec<String> {
    let inside = line.trim().trim_matches('|');
    let cells = inside.split('|');
    cells
        .map(|cell| cell.replace("**", "").trim().to_owned())
        .collect()
}

fn is_row(line: &&str) -> bool {
    line.starts_with('|') && !line.starts_with("|-") && !line.starts_with("| -")
}

/// A table of the reference run: its question, its headings and its rows; those that are FAILED or
/// INVALID have headings of their own, which are the same.
struct Table {
    question: String,
    headings: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    fn find(summary: &str, title: &str) -> Self {
        let heading = format!("### {title}");
        let section = summary
            .lines()
            .skip_while(|line| *line != heading)
            .skip(1)
            .take_while(|line| !line.starts_with('#'));
        let question = section.clone().find(|line| !line.is_empty());
        let mut lines = section.filter(is_row).map(cells);
        let headings = lines.next();
        let headings = headings.unwrap_or_else(|| panic!("the reference run has no table {title}"));
        Self {
            question: question.expect("a table has a question").to_owned(),
            rows: lines.filter(|row| *row != headings).collect(),
            headings,
        }
    }

    fn cell<'a>(&self, row: &'a [String], heading: &str) -> &'a str {
        let at = self.headings.iter().position(|other| other == heading);
        &row[at.unwrap_or_else(|| panic!("the reference run has no column {heading}"))]
    }
}

fn write_row<'a>(text: &mut String, cells: impl IntoIterator<Item = &'a str>) {
    let cells: Vec<&str> = cells.into_iter().collect();
    let _ = writeln!(text, "| {} |", cells.join(" | "));
}

/// What a block should hold, given what it holds.
fn made(summary: &str, kind: &str, old: &str) -> String {
    let mut text = String::new();
    if kind == "head" {
        let head = summary.lines().skip_while(|line| !line.starts_with("* "));
        for line in head.take_while(|line| line.starts_with("* ")) {
            let _ = writeln!(text, "{line}");
        }
        return text;
    }
    let mut old = old.lines().filter(is_row).map(cells);
    let headings = old
        .next()
        .expect("the block begins with a line of headings");
    let table = (kind != "rows").then(|| Table::find(summary, kind));
    if let Some(table) = &table {
        let _ = writeln!(text, "{}\n", table.question);
    }
    write_row(&mut text, headings.iter().map(String::as_str));
    write_row(&mut text, headings.iter().map(|_| "---"));
    if let Some(table) = table {
        for row in &table.rows {
            write_row(
                &mut text,
                headings.iter().map(|heading| table.cell(row, heading)),
            );
        }
        return text;
    }
    for row in old {
        let server = row[0].as_str();
        let figures = headings[1..].iter().map(|column| {
            let (title, heading) = column.rsplit_once(": ").expect("TITLE: HEADING");
            let table = Table::find(summary, title);
            let Some(row) = table.rows.iter().find(|row| row[0] == server) else {
                return "n/a".to_owned();
            };
            let figure = table.cell(row, heading);
            match table.cell(row, "verdict").split(':').next() {
                Some("VALID") => figure.to_owned(),
                verdict => format!("{figure} ({})", verdict.unwrap_or_default()),
            }
        });
        let figures: Vec<String> = figures.collect();
        write_row(
            &mut text,
            std::iter::once(server).chain(figures.iter().map(String::as_str)),
        );
    }
    text
}

/// The document with all blocks made anew, and how many there are.
fn refreshed(summary: &str, document: &str) -> (String, usize) {
    let mut text = String::new();
    let mut rest = document;
    let mut blocks = 0;
    while let Some((before, after)) = rest.split_once(BEGIN) {
        let (kind, after) = after.split_once(" -->\n").expect("the mark ends its line");
        let (old, after) = after.split_once(END).expect("a block has an end");
        let new = made(summary, kind, old);
        let _ = write!(text, "{before}{BEGIN}{kind} -->\n{new}{END}");
        rest = after;
        blocks += 1;
    }
    (text + rest, blocks)
}

#[test]
fn the_documents_quote_the_reference_run() {
    let root = root();
    let read = |path: &str| {
        fs::read_to_string(root.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    };
    let summary = read("results/reference/summary.md");
    for path in ["README.md", "docs/models.md", "docs/lessons.md"] {
        let document = read(path);
        let (fresh, blocks) = refreshed(&summary, &document);
        assert!(blocks > 0, "{path} quotes nothing");
        if std::env::var_os("UPDATE_DOCS").is_some() {
            fs::write(root.join(path), fresh).expect("it can be written");
            continue;
        }
        let stale = document
            .lines()
            .zip(fresh.lines())
            .find(|(old, new)| old != new);
        assert!(
            document == fresh,
            "{path} does not quote results/reference; `make docs` mends it. It has\n{}\nfor\n{}",
            stale.map_or("fewer or more lines", |(old, _)| old),
            stale.map_or("", |(_, new)| new)
        );
    }
}

#[test]
fn another_figure_is_noticed() {
    let summary = "# Bench\n\n* machine: M\n\n### ping\n\nHow quick?\n\n\
        | server | p50 us | verdict |\n|---|---|---|\n| **a** | **1.50** | VALID |\n\n\
        INVALID, not ranked:\n\n| server | p50 us | verdict |\n|---|---|---|\n| b | 2.50 | INVALID |\n\n## In short\n";
    let document = "x\n<!-- reference: head -->\n* machine: N\n<!-- end -->\n\
        <!-- reference: ping -->\n| server | p50 us |\n| --- | --- |\n| a | 9 |\n<!-- end -->\n\
        <!-- reference: rows -->\n| server | ping: p50 us |\n| b | |\n| c | |\n<!-- end -->\ny\n";
    let expected = "x\n<!-- reference: head -->\n* machine: M\n<!-- end -->\n\
        <!-- reference: ping -->\nHow quick?\n\n| server | p50 us |\n| --- | --- |\n| a | 1.50 |\n| b | 2.50 |\n<!-- end -->\n\
        <!-- reference: rows -->\n| server | ping: p50 us |\n| --- | --- |\n| b | 2.50 (INVALID) |\n| c | n/a |\n<!-- end -->\ny\n";
    let (fresh, blocks) = refreshed(summary, document);
    assert_eq!((fresh.as_str(), blocks), (expected, 3));
    assert_eq!(refreshed(summary, expected).0, expected);
}

#[test]
fn the_reference_run_has_what_a_reader_looks_at() {
    let directory = root().join("results/reference");
    let files = fs::read_dir(directory).expect("it is there");
    // On the machine that made it the trials are there too, which git ignores.
    let sizes = files.filter_map(|file| {
        let file = file.expect("it can be read");
        let is_file = file.file_type().expect("it has a type").is_file();
        is_file.then(|| file.metadata().expect("it has a size").len())
    });
    let sizes: Vec<u64> = sizes.collect();
    assert!(sizes.len() <= 12, "{} files", sizes.len());
    assert!(sizes.iter().sum::<u64>() <= 2_000_000, "{sizes:?} bytes");
}

#[test]
fn a_report_whose_trials_are_gone_is_not_overwritten() {
    let run = tempfile::tempdir().expect("there is room");
    let kept = root().join("results/reference");
    for name in ["run.json", "summary.md"] {
        fs::copy(kept.join(name), run.path().join(name)).expect("it is there");
    }
    let output = Command::new(env!("CARGO_BIN_EXE_loadgen"))
        .arg("report")
        .arg(run.path())
        .output()
        .expect("loadgen runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("holds no trials"), "{said}");
    let read = |path: &Path| fs::read_to_string(path.join("summary.md")).expect("it is there");
    assert_eq!(read(run.path()), read(&kept));
    assert!(!run.path().join("report.html").exists());
}
