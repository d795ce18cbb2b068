//! # sequential: one client at a time
//!
//! The server of the first chapter of every tutorial: accept a client, read from it, answer it
//! until it has gone, accept the next. Each call blocks until it is done. It is the problem that
//! all other models solve.
//!
//! ```text
//!   client 2 --> |         |                        | read: blocks until bytes come
//!   client 3 --> | backlog | --accept--> client 1 --|
//!   client 4 --> |         |                        | write: blocks until there is room
//! ```
//!
//! * System calls: `accept4`, `recv`, `send`. While it waits for one of them it costs nothing,
//!   and nothing else can happen.
//! * The kernel completes the handshakes of those who wait: to them the server looks connected
//!   and mute.
//! * What breaks it: a client that says nothing, or one that does not read its answers. All
//!   others wait as long as it stays, unless `--idle-timeout` ends it.
//! * A blocked call hears nothing of a stop. The signal itself has to interrupt it (EINTR), and a
//!   signal that comes a moment before the call would be lost: it is sent again, by a timer,
//!   until the process has ended.
//!
//! Source: W. Richard Stevens, "UNIX Network Programming", volume 1, chapter 4 ("iterative
//! server").
#![forbid(unsafe_code)]

use std::process::ExitCode;

use serverkit::accept::{Accepted, Blocking, RETRY, accept};
use serverkit::listener::Listener;
use serverkit::{Context, Limits, Model, NoFlags, blocking, stop, trace};

const MODEL: Model<NoFlags> = Model {
    name: "sequential",
    family: "blocking",
    summary: "One thread serves one client at a time, and blocks in each call",
    descriptors: None,
    limits: |_, _| Limits {
        clients: Some(1),
        why:
            "one client at a time: the others wait until it has gone; a stuck one stops them all, \
              until --idle-timeout"
                .to_owned(),
    },
};

fn main() -> ExitCode {
    serverkit::main(&MODEL, serve)
}

fn serve(context: &'static Context, _: NoFlags) -> anyhow::Result<()> {
    let listener = Listener::bind(&context.options)?.blocking()?;
    stop::interrupt_blocking_calls(&listener)?;
    listener.announce();
    while !stop::requested() {
        trace!(context, "accept: waiting for a client");
        match accept(context, &listener, Blocking::Yes) {
            Ok(Accepted::Client(client)) => blocking::serve(context, &client),
            Ok(Accepted::None) => {}
            Ok(Accepted::Overloaded) => std::thread::sleep(RETRY),
            Err(_) if stop::requested() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
