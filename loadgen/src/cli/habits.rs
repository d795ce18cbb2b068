//! What users of other generators type: it is understood, or answered by the flag that does it.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue};

use crate::workload::flags::values::parse_duration;

/// Flags of wrk, hey, oha, ab, bombardier and vegeta, and what to use here instead.
const ANSWERS: &[(&str, &str)] = &[
    (
        "-n",
        "a run lasts for a time, not for a number of requests: -d 10s",
    ),
    (
        "-q",
        "the rate of an open loop is --rate R, over all connections together",
    ),
    (
        "-k",
        "connections are kept alive unless --no-keep-alive is given; any certificate is accepted with --insecure",
    ),
    ("-A", "a header is -H 'Accept: text/html'"),
    ("-b", "the body is --body TEXT, or --body-file FILE"),
    ("-f", "the body is --body TEXT, or --body-file FILE"),
    ("-l", "percentiles are always shown: leave it out"),
    (
        "-o",
        "--json prints JSON, and --out DIR says where the files are written",
    ),
    (
        "-w",
        "to wait longer for the last answers give --drain TIME",
    ),
    ("--no-tui", "no screen is drawn: leave it out"),
    ("--http2", "only HTTP/1.1 is spoken"),
    ("--redirect", NO_REDIRECTS),
    ("--redirects", NO_REDIRECTS),
    (
        "--disable-compression",
        "nothing is compressed unless -H 'Accept-Encoding: gzip' asks for it: leave it out",
    ),
    ("--targets", "for several requests give --requests FILE"),
    (
        "--workers",
        "threads are --threads N, clients --connections N",
    ),
    (
        "--disable-keepalive",
        "for a connection for each request give --no-keep-alive",
    ),
    ("-i", "to ask for the head alone give --method HEAD"),
    (
        "-a",
        "user and password go in the URL: http://user:password@host/",
    ),
    ("-x", "there is no proxy support; the method is -X METHOD"),
];

const NO_REDIRECTS: &str =
    "redirects are not followed: leave it out, or count them as wrong with --expect-status 200";

/// Flags that Go programs such as vegeta and hey write with one dash.
const ONE_DASH: &[&str] = &[
    "connections",
    "disable-compression",
    "disable-keepalive",
    "duration",
    "header",
    "insecure",
    "method",
    "rate",
    "redirects",
    "targets",
    "timeout",
    "workers",
];

/// The arguments, with `run` before those that begin with a server or a flag.
pub fn with_command(arguments: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = arguments.collect();
    let first = arguments.get(1).map(|first| first.to_string_lossy());
    if first.is_some_and(|first| is_flag_of_run(&first) || is_address(&first)) {
        arguments.insert(1, "run".into());
    }
    if arguments.get(1).is_some_and(|command| command == "run") {
        // wrk shows percentiles only when asked; here they are always shown.
        arguments.retain(|argument| argument != "--latency" && argument != "--latencies");
        for argument in &mut arguments {
            if is_long_with_one_dash(&argument.to_string_lossy()) {
                let mut long = OsString::from("-");
                long.push(&*argument);
                *argument = long;
            }
        }
    }
    arguments
}

/// Whether a flag such as `-timeout=5s` should have two dashes. To clap it would be `-t` with a value.
fn is_long_with_one_dash(word: &str) -> bool {
    let name = word.split('=').next().unwrap_or_default();
    let name = name.strip_prefix('-').unwrap_or_default();
    ONE_DASH.contains(&name)
}

fn is_flag_of_run(word: &str) -> bool {
    word.starts_with('-') && !["-h", "--help", "-V", "--version"].contains(&word)
}

/// No command has a colon or is a number.
fn is_address(word: &str) -> bool {
    word.contains(':') || word.parse::<u16>().is_ok()
}

/// What to use here, if clap does not know a flag or a value that another generator has.
pub fn answer(error: &clap::Error) -> Option<String> {
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        _ => None,
    };
    let argument = text(ContextKind::InvalidArg)?;
    if argument.starts_with("--mode")
        && let Some(value) = text(ContextKind::InvalidValue)
        && !value.is_empty()
        && value.bytes().all(|b| b.is_ascii_uppercase())
    {
        return Some(format!("-m {value}: the method is --method {value}, or -X"));
    }
    if let Some(value) = text(ContextKind::InvalidValue) {
        return answer_to_value(argument, value);
    }
    let (flag, answer) = ANSWERS.iter().find(|(flag, _)| *flag == argument)?;
    Some(format!("{flag}: {answer}"))
}

/// What to use here, if a flag has a value that it takes in another generator.
fn answer_to_value(flag: &str, value: &str) -> Option<String> {
    let is_file = value.contains('.') && value.parse::<f64>().is_err();
    match flag.split(' ').next()? {
        "--threads" if parse_duration(value).is_ok() => Some(format!(
            "-t {value}: -t is --threads; to wait no longer than that for an answer give --timeout {value}"
        )),
        "--pipeline" if is_file => Some(format!(
            "-p {value}: -p is --pipeline; for a body from a file give --body-file {value}"
        )),
        "--size" if is_file => Some(format!(
            "-s {value}: -s is --size; there are no scripts; for several requests give --requests FILE"
        )),
        "--rate" if value.contains('/') => Some(format!(
            "--rate {value}: give the number of requests a second"
        )),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_or_a_flag_in_front_means_run() {
        let given = |first: &str| {
            let words = ["loadgen", first, "-d", "1s"].map(OsString::from);
            with_command(words.into_iter())[1].clone()
        };
        for first in [
            "http://localhost/",
            "localhost:7000",
            ":7000",
            "7000",
            "unix:/s",
            "-c",
            "--rate=5",
        ] {
            assert_eq!(given(first), "run", "{first}");
        }
        for first in [
            "run",
            "bench",
            "rnu",
            "--help",
            "-h",
            "-V",
            "--version",
            "help",
        ] {
            assert_eq!(given(first), first);
        }
        assert_eq!(with_command(std::iter::once("loadgen".into())).len(), 1);
    }

    #[test]
    fn long_flags_may_have_one_dash() {
        let given = |flag: &str| {
            let words = ["loadgen", ":7000", flag].map(OsString::from);
            with_command(words.into_iter())[3].clone()
        };
        for (flag, meant) in [
            ("-timeout=5s", "--timeout=5s"),
            ("-rate", "--rate"),
            ("-disable-keepalive", "--disable-keepalive"),
            ("--rate=5", "--rate=5"),
            ("-r5", "-r5"),
            ("-t4", "-t4"),
        ] {
            assert_eq!(given(flag), meant);
        }
    }
}
