//! `loadgen answers`: each built-in experiment in miniature, with the servers of this workspace. It does not test
//! what the verdicts are, but that they are made, with the table, the picture and the document.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn loadgen(place: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_loadgen"))
        .arg("answers")
        .args(arguments)
        .current_dir(place)
        .output()
        .expect("loadgen runs")
}

fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The experiments by name, in the order of the alphabet.
fn names() -> Vec<String> {
    let files = fs::read_dir(root().join("loadgen/scenarios/answers")).expect("it is there");
    let names = files.map(|file| file.expect("it can be listed").path());
    let names = names.map(|path| path.file_stem().expect("it has a name").to_owned());
    let mut names: Vec<String> = names
        .map(|name| name.to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// An experiment with two loads of what it varies, and not so many clients.
fn miniature(name: &str) -> String {
    const MOST: i64 = 200;
    let path = root().join(format!("loadgen/scenarios/answers/{name}.toml"));
    let mut file: toml::Table = text(&path).parse().expect("it is TOML");
    for (key, time) in [
        ("warmup", "20ms"),
        ("duration", "100ms"),
        ("drain", "200ms"),
    ] {
        file.insert(key.to_owned(), time.into());
    }
    // The points that the rules name keep their names.
    let is_named = text(&path).contains("points = ");
    let mut points = Vec::new();
    let scenarios = file["scenario"].as_array_mut().expect("it has scenarios");
    for scenario in scenarios {
        let vary = scenario.get_mut("vary").and_then(toml::Value::as_table_mut);
        for (key, values) in vary.into_iter().flatten() {
            let values = values.as_array_mut().expect("they are a list");
            values.drain(..values.len().saturating_sub(2));
            if !is_named && values[1].as_integer() > Some(MOST) {
                *values = vec![0.into(), MOST.into()];
            }
            points.extend(values.iter().map(|value| format!("{key}-{value}")));
        }
    }
    let answer = file["answer"].as_table_mut().expect("it is a table");
    let claims = answer["claim"].as_array_mut().expect("it has claims");
    for claim in claims {
        let rule = claim["rule"].as_table_mut().expect("it has a rule");
        for (_, rule) in rule {
            if let Some(named) = rule.get_mut("points").and_then(toml::Value::as_array_mut) {
                named.retain(|point| points.iter().any(|left| point.as_str() == Some(left)));
            }
        }
    }
    toml::to_string(&file).expect("it can be written")
}

/// Runs a miniature in a directory of its own.
fn run(name: &str) -> TempDir {
    let place = tempfile::tempdir().expect("there is room");
    let file = format!("{name}.toml");
    // Three are enough for an interval. What the rules make of trials has tests of its own.
    let trials = if name == "herd" { "3" } else { "1" };
    // A load with a recording or a line-up of its own would need it beside the file.
    fs::write(place.path().join(&file), miniature(name)).expect("it can be written");
    let output = loadgen(
        place.path(),
        &[
            // The spinning threads of one test would disturb another test beside it.
            "--no-keep-awake",
            "--file",
            &file,
            "--trials",
            trials,
            "--out",
            "out",
            "--docs",
            "answers.md",
        ],
    );
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name}: {said}");
    place
}

/// All that a miniature must leave behind.
fn holds(name: &str) {
    let place = run(name);
    let out = place.path().join("out").join(name);
    let summary = text(&out.join("summary.jsonl"));
    assert!(
        !summary.contains("neither beside loadgen"),
        "a server is not built: cargo build --workspace"
    );
    let file: toml::Table = miniature(name).parse().expect("it is TOML");
    let rows = file["server"].as_array().expect("it has servers").len();
    let points = |scenario: &toml::Value| {
        let vary = scenario.get("vary").and_then(toml::Value::as_table);
        vary.map_or(1, |vary| {
            let values = vary
                .values()
                .map(|list| list.as_array().expect("a list").len());
            values.sum()
        })
    };
    let scenarios = file["scenario"].as_array().expect("it has scenarios");
    let points: usize = scenarios.iter().map(points).sum();
    assert_eq!(
        summary.lines().count(),
        1 + rows * points,
        "{name}: {summary}"
    );

    let picture = text(&out.join("chart.svg"));
    assert!(
        picture.starts_with("<svg") && picture.trim_end().ends_with("</svg>"),
        "{name}"
    );
    // On a busy machine all trials may be INVALID, and short ones have too few samples for a percentile.
    let figure = &file["answer"]["chart"]["figure"];
    let is_known = summary.contains(&format!("{figure}:"));
    // A ring, which is larger, is what theory says: it needs no trial.
    let has_dot = picture.contains("r=\"4\"");
    assert_eq!(has_dot, is_known, "{name}: {picture}");

    let document = text(&place.path().join("answers.md"));
    let claims = file["answer"]["claim"].as_array().expect("it has claims");
    for claim in claims {
        let claim = claim["text"].as_str().expect("it is a text");
        let line = document
            .lines()
            .find(|line| line.starts_with(&format!("* {claim} **")));
        let line = line.unwrap_or_else(|| panic!("{name}: {claim} is not in\n{document}"));
        let verdicts = ["**Holds here: ", "**Does not hold here: ", "**Undecided: "];
        assert!(
            verdicts.iter().any(|verdict| line.contains(verdict)),
            "{line}"
        );
    }
    assert!(
        document.contains(&format!("(out/{name}/chart.svg)")),
        "{document}"
    );
    let page = text(&place.path().join("out/report.html"));
    assert!(
        page.contains("<svg") && page.contains(&format!("id=\"{name}\"")),
        "{name}"
    );
    let host = nix::unistd::gethostname().expect("this machine has a name");
    let host = host.to_string_lossy();
    for text in [&summary, &document] {
        assert!(
            !text.contains(&*place.path().to_string_lossy()),
            "{name}: a path"
        );
        assert!(
            host == "localhost" || !text.contains(&*host),
            "{name}: {host}"
        );
    }
}

macro_rules! experiments {
    ($($test:ident: $name:literal,)*) => {
        $(#[test] fn $test() { holds($name); })*

        #[test]
        fn each_experiment_has_a_test() {
            let mut tested = vec![$($name.to_owned()),*];
            tested.sort();
            assert_eq!(tested, names());
        }
    };
}

experiments! {
    threads_for_100: "threads-for-100",
    polling_interval: "polling-interval",
    idle: "idle",
    edge_or_level: "edge-or-level",
    uring_dispute: "uring-dispute",
    accept_fairness: "accept-fairness",
    herd: "herd",
    fork_or_thread: "fork-or-thread",
    open_closed: "open-closed",
    omission: "omission",
    slow_request: "slow-request",
    memory: "memory",
    wake_up: "wake-up",
}

/// The document and the pictures are made from the summaries; `make answers` makes them anew.
#[test]
fn the_document_shows_the_committed_results() {
    let place = tempfile::tempdir().expect("there is room");
    let results = root().join("results/answers");
    let out = place.path().join("results/answers");
    for name in names() {
        let summary = results.join(&name).join("summary.jsonl");
        if summary.exists() {
            fs::create_dir_all(out.join(&name)).expect("it can be made");
            fs::copy(summary, out.join(&name).join("summary.jsonl")).expect("it can be copied");
        }
    }
    fs::create_dir(place.path().join("docs")).expect("it can be made");
    let output = loadgen(place.path(), &["--again", "--docs", "docs/answers.md"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let same = |path: &str| {
        let (kept, made) = (text(&root().join(path)), text(&place.path().join(path)));
        assert!(
            kept == made,
            "{path} is not made from results/answers: loadgen answers --again --docs docs/answers.md"
        );
    };
    same("docs/answers.md");
    for name in names() {
        let picture = format!("results/answers/{name}/chart.svg");
        if place.path().join(&picture).exists() {
            same(&picture);
        }
    }
}

#[test]
fn bad_orders_are_refused() {
    let place = tempfile::tempdir().expect("there is room");
    let path = |name: &str| place.path().join(name);
    let good = miniature("herd");
    fs::write(
        path("row.toml"),
        good.replace("of = \"accept-8\"", "of = \"accept-9\""),
    )
    .unwrap();
    fs::write(path("rule.toml"), good.replace("difference", "differences")).unwrap();
    for (arguments, what) in [
        (
            &["--only", "herds"][..],
            "there is no experiment `herds`; there are threads-for-100, ",
        ),
        (&["--file", "none.toml"], "cannot read"),
        (
            &["--file", "row.toml"],
            "`accept-9`, which is no [[server]]",
        ),
        (&["--file", "rule.toml"], "rule.toml:"),
        (
            &["--only", "herd", "--file", "row.toml"],
            "cannot be used with",
        ),
    ] {
        let output = loadgen(place.path(), arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
        assert!(said.contains(what), "{arguments:?}: {said}");
    }
    let output = loadgen(place.path(), &["--again"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("holds no answers"), "{said}");
}

#[test]
fn a_result_of_another_rule_is_refused() {
    let place = tempfile::tempdir().expect("there is room");
    let out = place.path().join("results/answers/herd");
    fs::create_dir_all(&out).expect("it can be made");
    let head = r#"{"schema_version":1,"name":"herd","fingerprint":"0","started":"","loadgen":"","machine":"","cores":2,"conditions":"","trials":1,"duration_s":[1.0,1.0],"seed":1}"#;
    fs::write(out.join("summary.jsonl"), head).expect("it can be written");
    let output = loadgen(place.path(), &["--again"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("measured with other loads or rules"),
        "{said}"
    );
}
