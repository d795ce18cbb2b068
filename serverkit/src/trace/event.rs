//! The events of a trace, and their words. The fields have their names and meanings from
//! docs/schema/trace.schema.json.

use std::fmt::{self, Display, Formatter};
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::time::Duration;

use nix::errno::Errno;
use serde::{Serialize, Serializer};

/// Something that happened.
#[allow(missing_docs, reason = "the schema describes the fields")]
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub enum Event<'a> {
    /// The first one.
    Start {
        model: &'a str,
        mode: String,
        address: SocketAddr,
        pid: u32,
    },
    /// A worker begins to wait. See [`crate::trace::wait`].
    Wait {
        #[serde(skip_serializing_if = "str::is_empty")]
        call: &'static str,
        #[serde(rename = "for")]
        what: Vec<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        client: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        ns: Option<u64>,
    },
    /// The wait is over.
    Wake {
        #[serde(skip_serializing_if = "str::is_empty")]
        call: &'static str,
        ready: Vec<String>,
        ns: u64,
    },
    /// A client was accepted.
    Accept {
        call: &'static str,
        client: u64,
        fd: RawFd,
    },
    /// There is nobody to accept, or it failed.
    Nobody {
        call: &'static str,
        #[serde(serialize_with = "name")]
        error: Errno,
    },
    /// A look whether there is something to read.
    Peek {
        call: &'static str,
        client: u64,
        #[serde(flatten)]
        moved: Moved,
    },
    /// A read.
    Read {
        call: &'static str,
        client: u64,
        #[serde(flatten)]
        moved: Moved,
    },
    /// A write.
    Write {
        call: &'static str,
        client: u64,
        #[serde(flatten)]
        moved: Moved,
    },
    /// The last byte is sent.
    Shutdown { call: &'static str, client: u64 },
    /// `--work` begins.
    Work { client: u64, ns: u64 },
    /// `--block` begins.
    Block { client: u64, ns: u64 },
    /// It is over.
    Done { client: u64, ns: u64 },
    /// A client has ended.
    Close { client: u64, why: &'a str },
    /// A client that was accepted is not served.
    Refuse { client: u64, why: &'a str },
    /// A client goes to another worker.
    Pass {
        client: u64,
        #[serde(skip_serializing_if = "Option::is_none")]
        to: Option<String>,
    },
    /// A thread or process was made.
    Spawn { call: &'static str, to: String },
    /// This worker ends.
    Exit { why: &'a str },
    /// A child has ended.
    Reap {
        call: &'static str,
        to: String,
        why: String,
    },
    /// An operation was submitted to the kernel.
    Submit {
        call: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        client: Option<u64>,
    },
    /// The server is to stop.
    Stop { why: &'static str },
    /// Something else.
    Note {
        #[serde(skip_serializing_if = "Option::is_none")]
        client: Option<u64>,
        why: String,
    },
    /// This many EAGAIN in a row were left out of the trace.
    Skipped { lines: usize },
    /// This many lines are missing.
    Dropped { lines: u64 },
}

/// What a call to read or write came to.
#[derive(Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Moved {
    /// This many bytes.
    Bytes(usize),
    /// An error.
    #[serde(serialize_with = "name")]
    Error(Errno),
}

impl From<&io::Error> for Moved {
    fn from(error: &io::Error) -> Self {
        Self::Error(match (error.raw_os_error(), error.kind()) {
            (Some(errno), _) => Errno::from_raw(errno),
            (None, ErrorKind::OutOfMemory) => Errno::ENOMEM,
            (None, ErrorKind::WouldBlock) => Errno::EAGAIN,
            (None, _) => Errno::EIO,
        })
    }
}

#[allow(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde asks for a reference"
)]
fn name<S: Serializer>(errno: &Errno, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{errno:?}"))
}

impl Event<'_> {
    /// A question that was asked in vain.
    pub(super) fn is_in_vain(&self) -> bool {
        let (Self::Nobody { error, .. }
        | Self::Read {
            moved: Moved::Error(error),
            ..
        }
        | Self::Peek {
            moved: Moved::Error(error),
            ..
        }) = self
        else {
            return false;
        };
        *error == Errno::EAGAIN
    }
}

impl Display for Event<'_> {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        use Moved::{Bytes, Error};
        match self {
            Self::Start {
                model,
                mode,
                address,
                pid,
            } => {
                write!(f, "{model} serves {mode} on {address}; process {pid}")
            }
            Self::Wait { call, what, ns, .. } => {
                f.write_str(if *ns == Some(0) { "looking" } else { "waiting" })?;
                if !call.is_empty() {
                    write!(f, " in {call}")?;
                }
                match what.as_slice() {
                    [] => f.write_str(" for: nothing")?,
                    what => write!(f, " for: {}", what.join(", "))?,
                }
                match ns {
                    Some(ns @ 1..) => write!(f, " ({})", Time(*ns)),
                    _ => Ok(()),
                }
            }
            Self::Wake { ready, ns, .. } if ready.is_empty() => {
                write!(f, "woke after {}: nothing is ready", Time(*ns))
            }
            Self::Wake { ready, ns, .. } => {
                write!(f, "woke after {}: {}", Time(*ns), ready.join(", "))
            }
            Self::Accept { client, fd, .. } => write!(f, "client {client} [{fd}]: accepted"),
            Self::Nobody {
                error: Errno::EAGAIN,
                ..
            } => f.write_str("nobody to accept (EAGAIN)"),
            Self::Nobody { error, .. } => write!(f, "nobody accepted: {}", Failure(*error)),
            Self::Peek { client, moved, .. } => match moved {
                Bytes(0) => write!(f, "client {client}: looked: the client has closed"),
                Bytes(_) => write!(f, "client {client}: looked: there is something to read"),
                Error(error) => write!(f, "client {client}: looked: {}", Failure(*error)),
            },
            Self::Read { client, moved, .. } => match moved {
                Bytes(0) => write!(f, "client {client}: read 0 bytes: the client has closed"),
                Bytes(n) => write!(f, "client {client}: read {}", Size(*n)),
                Error(error) => write!(f, "client {client}: read nothing: {}", Failure(*error)),
            },
            Self::Write { client, moved, .. } => match moved {
                Bytes(n) => write!(f, "client {client}: wrote {}", Size(*n)),
                Error(Errno::EAGAIN) => {
                    write!(
                        f,
                        "client {client}: wrote nothing: no room for more now (EAGAIN)"
                    )
                }
                Error(error) => write!(f, "client {client}: wrote nothing: {}", Failure(*error)),
            },
            Self::Shutdown { client, .. } => {
                write!(
                    f,
                    "client {client}: everything is sent, waiting for its close"
                )
            }
            Self::Work { client, ns } => write!(f, "client {client}: works for {}", Time(*ns)),
            Self::Block { client, ns } => write!(f, "client {client}: blocks for {}", Time(*ns)),
            Self::Done { client, ns } => write!(f, "client {client}: done after {}", Time(*ns)),
            Self::Close { client, why } => write!(f, "client {client}: closed: {why}"),
            Self::Refuse { client, why } => write!(f, "client {client}: not served: {why}"),
            Self::Pass { client, to: None } => write!(f, "client {client}: goes into the queue"),
            Self::Pass {
                client,
                to: Some(to),
            } => write!(f, "client {client}: goes to {to}"),
            Self::Spawn { call, to } => write!(f, "made {to} ({call})"),
            Self::Exit { why } => write!(f, "ends: {why}"),
            Self::Reap { to, why, .. } => write!(f, "{to} has ended: {why}"),
            Self::Submit {
                call,
                client: Some(client),
            } => {
                write!(f, "client {client}: submitted {call}")
            }
            Self::Submit { call, client: None } => write!(f, "submitted {call}"),
            Self::Stop { why } => write!(f, "asked to stop: {why}"),
            Self::Note {
                client: Some(client),
                why,
            } => write!(f, "client {client}: {why}"),
            Self::Note { client: None, why } => f.write_str(why),
            Self::Skipped { lines } => {
                write!(f, "({lines} more times in a row nothing was there: EAGAIN)")
            }
            Self::Dropped { lines } => {
                write!(
                    f,
                    "({lines} lines of the trace were dropped: nobody read them)"
                )
            }
        }
    }
}

/// Nanoseconds for people.
struct Time(u64);

impl Display for Time {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        match Duration::from_nanos(self.0) {
            time if time.as_millis() > 0 => write!(f, "{:.3} s", time.as_secs_f64()),
            time => write!(f, "{} us", time.as_micros()),
        }
    }
}

struct Size(usize);

impl Display for Size {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        write!(f, "{} byte{}", self.0, if self.0 == 1 { "" } else { "s" })
    }
}

struct Failure(Errno);

impl Display for Failure {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        match self.0 {
            Errno::EAGAIN => f.write_str("nothing is there yet (EAGAIN)"),
            Errno::EINTR => f.write_str("interrupted by a signal (EINTR)"),
            Errno::ECONNRESET | Errno::EPIPE => write!(f, "the client has gone ({:?})", self.0),
            error => write!(f, "{} ({error:?})", error.desc()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_event_is_as_the_schema_says() {
        let schema = include_str!("../../../docs/schema/trace.schema.json");
        let schema = serde_json::from_str(schema).expect("JSON");
        let schema = jsonschema::validator_for(&schema).expect("a schema");
        let (call, client, ns, why) = ("recvfrom", 1, 5, "so");
        let names = || vec!["client 1".to_owned()];
        let worker = || "child 2".to_owned();
        for event in [
            Event::Start {
                model: "epoll",
                mode: "echo".to_owned(),
                address: ([127, 0, 0, 1], 7000).into(),
                pid: 1,
            },
            Event::Wait {
                call,
                what: names(),
                client: Some(1),
                ns: Some(0),
            },
            Event::Wait {
                call: "",
                what: vec![],
                client: None,
                ns: None,
            },
            Event::Wake {
                call,
                ready: names(),
                ns,
            },
            Event::Accept {
                call,
                client,
                fd: 5,
            },
            Event::Nobody {
                call,
                error: Errno::EAGAIN,
            },
            Event::Peek {
                call,
                client,
                moved: Moved::Bytes(1),
            },
            Event::Read {
                call: "RECV",
                client,
                moved: Moved::Error(Errno::ECONNRESET),
            },
            Event::Write {
                call,
                client,
                moved: Moved::Bytes(0),
            },
            Event::Shutdown { call, client },
            Event::Work { client, ns },
            Event::Block { client, ns },
            Event::Done { client, ns },
            Event::Close { client, why },
            Event::Refuse { client, why },
            Event::Pass { client, to: None },
            Event::Spawn { call, to: worker() },
            Event::Exit { why },
            Event::Reap {
                call,
                to: worker(),
                why: why.to_owned(),
            },
            Event::Submit {
                call: "ACCEPT",
                client: None,
            },
            Event::Stop { why },
            Event::Note {
                client: None,
                why: why.to_owned(),
            },
            Event::Skipped { lines: 1 },
            Event::Dropped { lines: 1 },
        ] {
            let mut line = json!(event);
            line["t_ns"] = json!(1);
            line["worker"] = json!("worker 1");
            assert!(schema.is_valid(&line), "{line}");
            assert!(!event.to_string().contains('\n'), "{event}");
        }
    }
}
