//! The flags of the mode `raw`.

use std::path::PathBuf;

use clap::{ArgGroup, Args};

use super::{Files, Usage};
use crate::workload::mode::Mode;
use crate::workload::raw::{RawAnswer, RawRequest, unescape};

#[derive(Debug, Args)]
#[command(next_help_heading = "Any protocol of requests and answers (--mode raw)")]
#[group(skip)]
#[command(group = ArgGroup::new("request").args(["send", "send_file"]))]
#[command(group = ArgGroup::new("answer").args(["expect", "until", "expect_bytes"]))]
pub struct RawArgs {
    /// The bytes of each request; \r, \n, \t, \0, \\ and \xNN stand for others
    #[arg(long, value_name = "TEXT", value_parser = Bytes::parse)]
    send: Option<Bytes>,

    /// The bytes of each request are those of this file
    #[arg(long, value_name = "FILE")]
    send_file: Option<PathBuf>,

    /// The answer, which is compared byte by byte; escapes as in --send
    #[arg(long, value_name = "TEXT", value_parser = Bytes::parse)]
    expect: Option<Bytes>,

    /// The answer ends with these bytes; escapes as in --send
    #[arg(long, value_name = "TEXT", value_parser = Bytes::parse)]
    until: Option<Bytes>,
}

/// Bytes that were written with escapes.
#[derive(Debug, Clone)]
struct Bytes(Vec<u8>);

impl Bytes {
    fn parse(text: &str) -> Result<Self, String> {
        unescape(text).map(Self)
    }
}

impl RawArgs {
    /// The request that these flags ask for; without keep-alive each has its own connection.
    pub fn request(
        &self,
        mode: Mode,
        keep_alive: bool,
        expect_bytes: Option<usize>,
        files: &Files<'_>,
    ) -> Result<RawRequest, Usage> {
        let send = match (&self.send, &self.send_file) {
            (Some(bytes), _) => Some(bytes.0.clone()),
            (None, Some(file)) => Some(files(file).map_err(|error| {
                Usage(format!(
                    "--send-file: cannot read {}: {error}",
                    file.display()
                ))
            })?),
            (None, None) => None,
        };
        let answer = match (&self.expect, &self.until, expect_bytes) {
            (Some(bytes), _, _) => Some(RawAnswer::Exactly(bytes.0.clone())),
            (_, Some(bytes), _) => Some(RawAnswer::Until(bytes.0.clone())),
            (_, _, count) => count.map(RawAnswer::Bytes),
        };
        if mode != Mode::Raw {
            return match (send, answer) {
                (None, None | Some(RawAnswer::Bytes(_))) => Ok(RawRequest::default()),
                _ => Err(Usage(
                    "--send, --send-file, --expect and --until need --mode raw".into(),
                )),
            };
        }
        let (Some(send), Some(answer)) = (send, answer) else {
            return Err(Usage(
                "--mode raw needs a request and where its answer ends, such as \
                 --send 'PING\\r\\n' --expect '+PONG\\r\\n', or --until '\\r\\n', or --expect-bytes 7"
                    .into(),
            ));
        };
        if let RawAnswer::Exactly(bytes) | RawAnswer::Until(bytes) = &answer
            && bytes.is_empty()
        {
            return Err(Usage("--expect and --until need at least one byte".into()));
        }
        if answer == RawAnswer::Bytes(0) {
            return Err(Usage(
                "--expect-bytes: an answer of --mode raw has at least one".into(),
            ));
        }
        if send.is_empty() && keep_alive {
            return Err(Usage(
                "an empty request is for servers that speak first: add --no-keep-alive".into(),
            ));
        }
        Ok(RawRequest {
            send,
            answer,
            keep_alive,
        })
    }
}
