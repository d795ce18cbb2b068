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
//! * System calls: `accept4`, `recvfrom`, `sendto`. While it waits inside of one of them it uses no
//!   CPU time, but everybody else waits too.
//! * The kernel completes the handshakes of those who wait: to them the server looks connected
//!   and mute.
//! * What breaks it: a client that says nothing, or one that does not read its answers. All
//!   others wait as long as it stays, unless `--idle-timeout` ends it.
//! * A blocked call does not notice a stop, unless the signal interrupts it (EINTR). A signal that
//!   comes a moment before the call does not. So a timer sends another one again and again until
//!   the process has ended.
//! * At a stop those in the backlog have connected and may have asked already: they are accepted,
//!   the listener closes, and what each of them has sent is answered, one after the other.
//!
//! Source: W. Richard Stevens, "UNIX Network Programming", volume 1, chapter 4 ("iterative
//! server").
#![forbid(unsafe_code)]

use std::process::ExitCode;

use serverkit::accept::{Accepted, Blocking, accept, pause};
use serverkit::connection::Connection;
use serverkit::{Context, Limits, Model, NoFlags, blocking, listener, stop};

const MODEL: Model<NoFlags> = Model {
    name: "sequential",
    family: "blocking",
    summary: "One thread serves one client at a time, and blocks in each call",
    limits: |_, _| Limits {
        clients: 1,
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
    let listener = listener::bind(&context.options)?;
    listener.set_nonblocking(false)?;
    stop::interrupt_blocking_calls()?;
    listener::announce(listener.local_addr()?)?;
    let mut interrupted = None;
    while !stop::requested() {
        match accept(context, &listener, Blocking::Both)? {
            Accepted::Client(socket) => {
                let mut connection = Connection::new(context, socket.number());
                let mut is_open = true;
                while is_open && !stop::requested() {
                    is_open = blocking::step(context, &mut connection, &socket);
                }
                interrupted = is_open.then_some((connection, socket));
            }
            Accepted::None => {}
            Accepted::Overloaded => pause(),
        }
    }

    listener.set_nonblocking(true)?;
    let mut backlog = Vec::new();
    while let Accepted::Client(socket) = accept(context, &listener, Blocking::Client)? {
        backlog.push(socket);
    }
    drop(listener);
    if let Some((mut connection, socket)) = interrupted {
        while blocking::step(context, &mut connection, &socket) {}
        drop(connection);
    }
    for socket in backlog {
        blocking::serve(context, &socket);
    }
    Ok(())
}
