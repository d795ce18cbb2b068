//! A small HTTP server, a blocking thread for each client, and what makes it wrong.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Mutex;
use std::time::Duration;

use crate::fault::Fault;

/// The longest head, bytes, unless there is no bound.
const HEAD: usize = 8192;

/// Serves for as long as the process lives.
pub fn serve(listener: &TcpListener, fault: Option<Fault>, work: Duration) {
    for stream in listener.incoming().flatten() {
        std::thread::spawn(move || {
            let mut client = Client {
                stream,
                input: Vec::new(),
                fault,
                work,
            };
            // A client that is gone needs no answer.
            let _ = client.answer_all();
        });
    }
}

struct Client {
    stream: TcpStream,
    /// What was read and not yet used.
    input: Vec<u8>,
    fault: Option<Fault>,
    /// For each request.
    work: Duration,
}

/// What a request asks for, as far as it matters here.
struct Request {
    method: String,
    closes: bool,
    length: usize,
    chunked: bool,
}

impl Client {
    fn has(&self, fault: Fault) -> bool {
        self.fault == Some(fault)
    }

    fn answer_all(&mut self) -> io::Result<()> {
        static OTHERS_WAIT: Mutex<()> = Mutex::new(());
        let mut others_wait = None;
        while let Some(head) = self.head()? {
            let Ok(head) = head else {
                return self.refuse(431);
            };
            let Some(request) = self.understand(&head) else {
                return self.refuse(400);
            };
            if !self.skip_body(&request)? {
                return self.refuse(400);
            }
            if self.has(Fault::ForgetsPipelinedRequests) {
                self.input.clear();
            }
            if others_wait.is_none() && self.has(Fault::AnswersPipelinedFirst) {
                others_wait = Some(OTHERS_WAIT.lock().expect("no thread panics"));
            }
            std::thread::sleep(self.work);
            let status = match request.method.as_str() {
                "GET" | "HEAD" => 200,
                _ => 405,
            };
            let with_body = request.method != "HEAD" || self.has(Fault::SendsABodyToHead);
            self.send(status, request.closes, with_body)?;
            let closes = request.closes && !self.has(Fault::KeepsWhatShouldClose);
            if closes || self.has(Fault::ClosesWhatShouldStay) {
                return self.end();
            }
            if self.input.is_empty() {
                others_wait = None;
            }
        }
        self.end()
    }

    fn send(&mut self, status: u16, closes: bool, with_body: bool) -> io::Result<()> {
        let connection = if closes { "Connection: close\r\n" } else { "" };
        let body = if with_body { "hello\n" } else { "" };
        let line = match self.fault {
            Some(Fault::AnswersWithoutASpace) => format!("HTTP/1.1 {status}"),
            Some(Fault::AnswersAsHttp10) => format!("HTTP/1.0 {status} -"),
            _ => format!("HTTP/1.1 {status} -"),
        };
        let framing = match self.fault {
            Some(Fault::AnswersWithTwoLengths) => "Content-Length: 99\r\n",
            Some(Fault::AnswersWithBothFramings) => "Transfer-Encoding: identity\r\n",
            _ => "",
        };
        let answer = format!(
            "{line}\r\nAllow: GET, HEAD\r\nContent-Length: 6\r\n{framing}{connection}\r\n{body}"
        );
        self.stream.write_all(answer.as_bytes())
    }

    fn refuse(&mut self, status: u16) -> io::Result<()> {
        self.send(status, true, true)?;
        self.end()
    }

    /// Reads on before it closes, so that no reset destroys the answer.
    fn end(&mut self) -> io::Result<()> {
        self.stream.shutdown(Shutdown::Write)?;
        io::copy(&mut self.stream, &mut io::sink()).map(drop)
    }

    /// More input; false at its end.
    fn read(&mut self) -> io::Result<bool> {
        let mut part = [0; 4096];
        let n = self.stream.read(&mut part)?;
        self.input.extend_from_slice(&part[..n]);
        if self.has(Fault::LosesAByteOfASplitHead) && self.input.len() == 7 {
            self.input.pop();
        }
        Ok(n > 0)
    }

    /// The next head, or that it is too long.
    fn head(&mut self) -> io::Result<Option<Result<Vec<u8>, ()>>> {
        loop {
            while self.has(Fault::SkipsEmptyLinesForEver) && self.input.starts_with(b"\r\n") {
                self.input.drain(..2);
            }
            let end = self.input.windows(4).position(|part| part == b"\r\n\r\n");
            if let Some(end) = end {
                return Ok(Some(Ok(self.input.drain(..end + 4).collect())));
            }
            if self.input.len() > HEAD && !self.has(Fault::HasNoLimitOfHeads) {
                return Ok(Some(Err(())));
            }
            if !self.read()? {
                return Ok(None);
            }
        }
    }

    fn understand(&self, head: &[u8]) -> Option<Request> {
        let mut fields = [httparse::EMPTY_HEADER; 64];
        let mut parsed = httparse::Request::new(&mut fields);
        let head = &self.as_the_parser_takes_it(head);
        if !parsed.parse(head).is_ok_and(|status| status.is_complete()) {
            return None;
        }
        let mut request = Request {
            method: parsed.method?.to_owned(),
            closes: parsed.version == Some(0),
            length: 0,
            chunked: false,
        };
        let mut lengths = 0;
        let mut hosts = 0;
        for field in parsed.headers.iter() {
            let value = std::str::from_utf8(field.value).ok()?;
            let in_capitals = |text: &str| text.contains(|c: char| c.is_ascii_uppercase());
            if self.has(Fault::IgnoresFieldsInCapitals) && in_capitals(&field.name[1..2]) {
                continue;
            }
            if self.has(Fault::RefusesChunkedInCapitals) && value == "Chunked" {
                return None;
            }
            let value = value.to_ascii_lowercase();
            match field.name.to_ascii_lowercase().as_str() {
                "host" => hosts += 1,
                "connection" => request.closes |= value.split(',').any(|v| v.trim() == "close"),
                "transfer-encoding" => request.chunked = true,
                "content-length" => {
                    lengths += 1;
                    // `parse` takes a plus sign.
                    let digits = value.bytes().all(|byte| byte.is_ascii_digit());
                    if !digits && !self.has(Fault::TakesSignedLengths) {
                        return None;
                    }
                    request.length = value.parse().ok()?;
                }
                _ => {}
            }
        }
        let both = request.chunked && lengths > 0 && !self.has(Fault::TakesBothFramings);
        let twice = lengths > 1 && !self.has(Fault::TakesTheLastLength);
        let host = hosts != 1 && !self.has(Fault::NeedsNoHost);
        (!both && !twice && !host).then_some(request)
    }

    /// The parser knows no later minor version, and takes more bytes than a target may have.
    fn as_the_parser_takes_it(&self, head: &[u8]) -> Vec<u8> {
        let mut head = head.to_vec();
        let line = head.iter().position(|&byte| byte == b'\r').unwrap_or(0);
        for byte in &mut head[..line] {
            let is_odd = *byte == b'#' || *byte > 0x7f;
            if is_odd {
                let takes = self.has(Fault::TakesFragmentsAndRawBytes);
                *byte = if takes { b'x' } else { b' ' };
            }
        }
        let is_later = line > 0 && matches!(&head[..line], [.., b'1', b'.', b'2'..=b'9']);
        if is_later && !self.has(Fault::RefusesALaterMinorVersion) {
            head[line - 1] = b'1';
        }
        head
    }

    /// False when the body is none.
    fn skip_body(&mut self, request: &Request) -> io::Result<bool> {
        if self.has(Fault::TakesABodyForARequest) {
            return Ok(true);
        }
        if request.chunked {
            return self.skip_chunks();
        }
        self.take(request.length).map(|_| true)
    }

    fn skip_chunks(&mut self) -> io::Result<bool> {
        loop {
            let line = self.line()?;
            let (size, extension) = line.split_once(';').unwrap_or((&line, ""));
            // As many digits as are no more than a `usize`.
            let is_size =
                (1..=15).contains(&size.len()) && size.bytes().all(|byte| byte.is_ascii_hexdigit());
            let is_refused = self.has(Fault::RefusesChunkExtensions) && !extension.is_empty()
                || self.has(Fault::RefusesHexInCapitals)
                    && size.contains(|c| ('A'..='F').contains(&c));
            if !is_size || is_refused {
                return Ok(false);
            }
            let size = usize::from_str_radix(size, 16).expect("all are digits");
            if size == 0 {
                break;
            }
            self.take(size)?;
            if self.take(2)? != b"\r\n" && !self.has(Fault::TakesChunksWithoutAnEnd) {
                return Ok(false);
            }
        }
        while !self.line()?.is_empty() {
            if self.has(Fault::RefusesTrailers) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The next line, without its end.
    fn line(&mut self) -> io::Result<String> {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            line.extend(self.take(1)?);
        }
        line.truncate(line.len() - 2);
        Ok(String::from_utf8_lossy(&line).into_owned())
    }

    fn take(&mut self, length: usize) -> io::Result<Vec<u8>> {
        while self.input.len() < length {
            if !self.read()? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(self.input.drain(..length).collect())
    }
}
