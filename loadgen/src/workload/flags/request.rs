//! The flags of what is asked of a server, and of which answers are right.

use std::path::{Path, PathBuf};

use clap::Args;

use super::values::{parse_length, parse_path, parse_sha256};
use super::{Files, Usage};
use crate::workload::address::Address;
use crate::workload::load::Mode;
use crate::workload::requests::{
    Expect, HttpLoad, HttpRequest, Statuses, parse_header, parse_method, parse_requests,
};

/// What is asked.
#[derive(Debug, Args)]
pub struct RequestArgs {
    /// A connection for each request (--mode http or raw)
    #[arg(long)]
    no_keep_alive: bool,

    /// The length of a right answer: of its body (--mode http), or of all of it (--mode raw)
    #[arg(long, value_name = "BYTES", value_parser = parse_length)]
    expect_bytes: Option<usize>,

    #[command(flatten)]
    http: HttpArgs,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "HTTP (a URL or --mode http)")]
pub struct HttpArgs {
    /// The method [default: GET, or POST with a body]
    #[arg(short = 'X', long, value_name = "METHOD", value_parser = parse_method)]
    method: Option<String>,

    /// The request target [default: the path of the URL, or /]
    #[arg(long, value_name = "PATH", value_parser = parse_path)]
    path: Option<String>,

    /// A further header field; may be repeated
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE", value_parser = parse_header)]
    headers: Vec<String>,

    /// The body of each request
    #[arg(long, value_name = "TEXT", conflicts_with = "body_file")]
    body: Option<String>,

    /// A file with the body of each request
    #[arg(long, short_alias = 'D', value_name = "FILE")]
    body_file: Option<PathBuf>,

    /// The Content-Type of the body
    #[arg(long, short_alias = 'T', value_name = "TYPE")]
    content_type: Option<String>,

    /// Several requests, one a line: METHOD URL [WEIGHT], or a JSON object with url, method, headers, body and weight
    #[arg(long, value_name = "FILE", conflicts_with_all = ["method", "path", "body", "body_file"])]
    requests: Option<PathBuf>,

    /// The statuses of right answers [default: 200-399]
    #[arg(long, value_name = "LIST")]
    expect_status: Option<Statuses>,

    /// The SHA-256 of a right answer's body, in hexadecimal
    #[arg(long, value_name = "HASH", value_parser = parse_sha256)]
    expect_body_sha256: Option<[u8; 32]>,
}

fn read(files: &Files<'_>, flag: &str, path: &Path) -> Result<Vec<u8>, Usage> {
    files(path).map_err(|error| Usage(format!("{flag} {}: {error}", path.display())))
}

impl RequestArgs {
    /// Refuses flags of another mode.
    pub fn check(&self, mode: Mode) -> Result<(), Usage> {
        let http = &self.http;
        let of_http = [
            ("--method", http.method.is_some()),
            ("--path", http.path.is_some()),
            ("--header", !http.headers.is_empty()),
            ("--body", http.body.is_some()),
            ("--body-file", http.body_file.is_some()),
            ("--content-type", http.content_type.is_some()),
            ("--requests", http.requests.is_some()),
            ("--expect-status", http.expect_status.is_some()),
            ("--expect-body-sha256", http.expect_body_sha256.is_some()),
        ];
        let of_both = [
            ("--no-keep-alive", self.no_keep_alive),
            ("--expect-bytes", self.expect_bytes.is_some()),
        ];
        let given = |flags: &[(&'static str, bool)]| {
            flags
                .iter()
                .find(|(_, given)| *given)
                .map(|(flag, _)| *flag)
        };
        let (is_http, is_raw) = (mode == Mode::Http, mode == Mode::Raw);
        if let Some(flag) = given(&of_http).filter(|_| !is_http) {
            return Err(Usage(format!("{flag} needs a URL or --mode http")));
        }
        if let Some(flag) = given(&of_both).filter(|_| !is_http && !is_raw) {
            return Err(Usage(format!(
                "{flag} needs a URL, --mode http or --mode raw"
            )));
        }
        Ok(())
    }

    /// Whether each request has its own connection.
    pub fn connection_per_request(&self) -> bool {
        self.no_keep_alive
    }

    /// The length of a right answer.
    pub fn expect_bytes(&self) -> Option<usize> {
        self.expect_bytes
    }

    /// What is asked of an HTTP server.
    pub fn http(&self, server: &Address, files: &Files<'_>) -> Result<HttpLoad, Usage> {
        let requests = match &self.http.requests {
            Some(path) => self.several(path, server, files)?,
            None => vec![self.one(server, files)?],
        };
        Ok(HttpLoad {
            requests,
            keep_alive: !self.no_keep_alive,
            expect: Expect {
                status: self.http.expect_status.clone().unwrap_or_default(),
                sha256: self.http.expect_body_sha256,
                bytes: self.expect_bytes.map(|bytes| bytes as u64),
            },
        })
    }

    fn one(&self, server: &Address, files: &Files<'_>) -> Result<HttpRequest, Usage> {
        let http = &self.http;
        let path = match (server.path.as_deref(), http.path.as_deref()) {
            (Some(path), Some(_)) if path != "/" => {
                return Err(Usage(format!(
                    "the URL has a path already: {path}; leave --path out"
                )));
            }
            (_, Some(path)) | (Some(path), None) => path,
            (None, None) => "/",
        };
        let body = match (&http.body, &http.body_file) {
            (Some(text), _) => text.clone().into_bytes(),
            (None, Some(path)) => read(files, "--body-file", path)?,
            (None, None) => Vec::new(),
        };
        let has_body = http.body.is_some() || http.body_file.is_some();
        let method = match &http.method {
            Some(method) => method,
            None if has_body => "POST",
            None => "GET",
        };
        let mut request = HttpRequest {
            method: method.to_owned(),
            path: path.to_owned(),
            body,
            ..HttpRequest::default()
        };
        self.add_headers(&mut request, server)?;
        Ok(request)
    }

    fn several(
        &self,
        path: &Path,
        server: &Address,
        files: &Files<'_>,
    ) -> Result<Vec<HttpRequest>, Usage> {
        if let Some(own) = server.path.as_deref().filter(|path| *path != "/") {
            return Err(Usage(format!(
                "--requests: the paths come from {}; leave {own} out of the URL",
                path.display()
            )));
        }
        let text = String::from_utf8(read(files, "--requests", path)?);
        let text = text.map_err(|_| Usage(format!("--requests {}: not UTF-8", path.display())))?;
        let mut requests = parse_requests(&text, &server.target)
            .map_err(|error| Usage(format!("--requests {}: {error:#}", path.display())))?;
        for request in &mut requests {
            self.add_headers(request, server)?;
        }
        Ok(requests)
    }

    /// Adds the header fields of the flags and the URL, but none that a request has already from a file.
    fn add_headers(&self, request: &mut HttpRequest, server: &Address) -> Result<(), Usage> {
        let own = request.clone();
        let name = |header: &str| header.split(':').next().unwrap_or_default().to_owned();
        let flags = self.http.headers.iter();
        let mut added: Vec<String> = flags.filter(|h| !own.has(&name(h))).cloned().collect();
        if let Some(kind) = &self.http.content_type
            && !own.has("content-type")
        {
            let header = parse_header(&format!("Content-Type: {kind}"));
            added.push(header.map_err(|_| Usage(format!("--content-type: {kind:?} is no type")))?);
        }
        request.headers.extend(added);
        if let Some(value) = &server.authorization
            && !request.has("authorization")
        {
            request.headers.push(format!("Authorization: {value}"));
        }
        Ok(())
    }
}
