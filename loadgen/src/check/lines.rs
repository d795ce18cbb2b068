//! What is printed of a case.

use std::io::IsTerminal;
use std::time::Duration;

use conformance::{Case, Needs, NotPassed, Outcome};
use serde::Serialize;

/// A case's result as `--json` prints it.
#[derive(Debug, Serialize)]
struct Line<'a> {
    case: &'a str,
    about: &'a str,
    /// `pass`, `fail`, `skip` or `unable`.
    result: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    expected: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seen: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<&'a str>,
    /// Seconds.
    seconds: f64,
}

/// A line about a case that can be tried.
pub fn about(case: &Case) -> String {
    let with = match case.needs {
        Needs::Address => "",
        Needs::Process | Needs::Program => " (with --server)",
    };
    format!("{}: {}{with}", case.name, case.about)
}

/// A line about a case that was tried.
pub fn text(case: &Case, outcome: &Outcome) -> String {
    let bold = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    match outcome {
        Ok(()) => format!("pass {}", case.name),
        Err(NotPassed::Skipped(why)) => format!("skip {} ({why})", case.name),
        Err(NotPassed::Unable(why)) => format!("none {} ({why})", case.name),
        Err(NotPassed::Failed { expected, seen }) => {
            let (on, off) = if bold {
                ("\x1b[1;31m", "\x1b[0m")
            } else {
                ("", "")
            };
            format!(
                "{on}FAIL{off} {}: {}; expected {expected}; seen {seen}",
                case.name, case.about
            )
        }
    }
}

/// The same as a JSON object.
pub fn json(case: &Case, outcome: &Outcome, took: Duration) -> String {
    let mut line = Line {
        case: case.name,
        about: case.about,
        result: "pass",
        expected: None,
        seen: None,
        why: None,
        seconds: took.as_secs_f64(),
    };
    match outcome {
        Ok(()) => {}
        Err(NotPassed::Skipped(why)) => (line.result, line.why) = ("skip", Some(why.as_str())),
        Err(NotPassed::Unable(why)) => (line.result, line.why) = ("unable", Some(why.as_str())),
        Err(NotPassed::Failed { expected, seen }) => {
            (line.result, line.expected, line.seen) =
                ("fail", Some(expected.as_str()), Some(seen.as_str()));
        }
    }
    serde_json::to_string(&line).expect("texts and a number are JSON")
}
