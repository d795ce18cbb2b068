//! # sequential: one client at a time
//!
//! This is the server of the first chapter of every tutorial. It accepts a client, reads and
//! answers until the client has gone, and accepts the next one. Each call blocks until it is done.
//! The other models solve the problem that this one has.
//!
//! ```text
//!   client 2 --> |         |                        | read: blocks until bytes come
//!   client 3 --> | backlog | --accept--> client 1 --|
//!   client 4 --> |         |                        | write: blocks until there is room
//! ```
//!
//! * System calls: `accept4`, `recvfrom`, `sendto`. While the server waits in one of them it uses
//!   no CPU time, but everybody else waits, too.
//! * The kernel completes the handshakes of the clients that wait. They see a server that is
//!   connected and silent.
//! * What breaks it: a client that says nothing, or one that does not read its answers. All others
//!   wait as long as it stays, unless `--idle-timeout` ends its connection.
//! * A blocked call notices a stop only if the signal interrupts it (EINTR). A signal that comes a
//!   moment before the call interrupts nothing. So a timer repeats the signal until the process has
//!   ended.
//! * At a stop the clients in the backlog have connected and may have asked already. The server
//!   accepts them, closes the listener, and answers what each of them has sent, one after the
//!   other.
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
