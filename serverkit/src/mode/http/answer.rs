//! The answers: static text, put together without an allocation.

use crate::buffer::Buffer;

/// Asks a client that waits with its body to send it.
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// The length of the longest answer with [`CONTINUE`] before it, bytes.
pub const LARGEST_ANSWER: usize = 256;

/// A status with the rest of what is the same in all its answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    Ok,
    BadRequest,
    MethodNotAllowed,
    FieldsTooLarge,
    NotImplemented,
    VersionNotSupported,
}

/// What the answer says about the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Persistence {
    /// HTTP/1.1 keeps it without a word.
    KeepsOpen,
    /// A client of HTTP/1.0 asked for keep-alive, and the answer must confirm it.
    KeepsAlive,
    Closes,
}

/// The answer to one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    pub status: Status,
    pub persistence: Persistence,
    /// The request is HEAD: all of the answer but its body.
    pub head_only: bool,
}

// No Date: the session has no clock, and RFC 9110, 6.6.1 asks it only of servers that have one.
macro_rules! head_and_body {
    ($status:literal, $fields:literal, $length:literal, $body:literal) => {
        (
            concat!(
                "HTTP/1.1 ",
                $status,
                "\r\nContent-Type: text/plain\r\n",
                $fields,
                "Content-Length: ",
                $length,
                "\r\n"
            ),
            $body,
        )
    };
}

impl Status {
    /// The head without what [`Persistence`] adds and without the empty line, and the body.
    fn text(self) -> (&'static str, &'static str) {
        match self {
            Self::Ok => head_and_body!("200 OK", "", 19, "Hello from server!\n"),
            Self::BadRequest => head_and_body!("400 Bad Request", "", 12, "Bad Request\n"),
            Self::MethodNotAllowed => head_and_body!(
                "405 Method Not Allowed",
                "Allow: GET, HEAD\r\n",
                19,
                "Method Not Allowed\n"
            ),
            Self::FieldsTooLarge => head_and_body!(
                "431 Request Header Fields Too Large",
                "",
                32,
                "Request Header Fields Too Large\n"
            ),
            Self::NotImplemented => {
                head_and_body!("501 Not Implemented", "", 16, "Not Implemented\n")
            }
            Self::VersionNotSupported => head_and_body!(
                "505 HTTP Version Not Supported",
                "",
                27,
                "HTTP Version Not Supported\n"
            ),
        }
    }
}

impl Answer {
    /// The same request cannot be understood any further: the connection closes.
    pub fn refused(self, status: Status) -> Self {
        Self {
            status,
            persistence: Persistence::Closes,
            ..self
        }
    }

    /// The connection closes after it.
    pub fn closes(self) -> bool {
        self.persistence == Persistence::Closes
    }

    /// Adds the answer to the output, which has room for [`LARGEST_ANSWER`].
    pub fn write(self, output: &mut Buffer) {
        let (head, body) = self.status.text();
        output.push(head.as_bytes());
        output.push(match self.persistence {
            Persistence::KeepsOpen => b"\r\n",
            Persistence::KeepsAlive => b"Connection: keep-alive\r\n\r\n",
            Persistence::Closes => b"Connection: close\r\n\r\n",
        });
        if !self.head_only {
            output.push(body.as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_those_of_the_bodies() {
        for status in [
            Status::Ok,
            Status::BadRequest,
            Status::MethodNotAllowed,
            Status::FieldsTooLarge,
            Status::NotImplemented,
            Status::VersionNotSupported,
        ] {
            let (head, body) = status.text();
            let length = format!("\r\nContent-Length: {}\r\n", body.len());
            assert!(head.ends_with(&length), "{status:?}");
            assert!(body.ends_with('\n'), "{status:?}");
            let mut output = Buffer::new(1000);
            output.push(CONTINUE);
            Answer {
                status,
                persistence: Persistence::KeepsAlive,
                head_only: false,
            }
            .write(&mut output);
            assert!(output.len() <= LARGEST_ANSWER, "{status:?}");
        }
    }
}
