//! A conversation on a stack of its own, and its socket. Where a blocking call would stop the thread,
//! the socket parks the stack, and the thread goes on with other clients.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::rc::Rc;
use std::time::Instant;

use corosensei::stack::DefaultStack;
use corosensei::{Coroutine, CoroutineResult, Yielder};
use nix::errno::Errno;
use serverkit::accept::Socket;
use serverkit::connection::Connection;
use serverkit::session::{Interest, READ, WRITE};
use serverkit::trace;

/// What a conversation gets when it goes on: the end of the grace, if the server is stopping. An
/// error means that it cannot go on.
pub type Told = Result<Option<Instant>, Errno>;

/// What a conversation waits for while its stack is parked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parked {
    /// Until its socket is ready, and no longer than this.
    For(Interest, Option<Instant>),
    /// Until the other clients had their turn.
    ForATurn,
}

/// A client whose conversation is parked.
pub struct Client {
    conversation: Coroutine<Told, Parked, (), DefaultStack>,
    /// What its socket is awaited for.
    pub interest: Interest,
    /// When it goes on though its socket is not ready.
    pub deadline: Option<Instant>,
    // Dropped last: the client is counted when its conversation returns, and then sees the end.
    socket: Rc<Socket>,
}

impl Client {
    /// A client just accepted. `converse` runs on `stack`, from the first [`Client::resume`] on.
    pub fn new(
        socket: Socket,
        stack: DefaultStack,
        converse: impl FnOnce(&mut Stream) + 'static,
    ) -> Self {
        let socket = Rc::new(socket);
        let owned = Rc::clone(&socket);
        Self {
            conversation: Coroutine::with_stack(stack, move |yielder, told| {
                converse(&mut Stream {
                    socket: &owned,
                    yielder,
                    told,
                    deadline: None,
                });
            }),
            interest: READ,
            deadline: None,
            socket,
        }
    }

    /// Goes on with the conversation until it is parked again; `None`: it has ended.
    pub fn resume(&mut self, told: Told) -> Option<Parked> {
        match self.conversation.resume(told) {
            CoroutineResult::Yield(parked) => {
                if let Parked::For(interest, deadline) = parked {
                    self.interest = interest;
                    self.deadline = deadline;
                }
                Some(parked)
            }
            CoroutineResult::Return(()) => None,
        }
    }

    /// Its conversation has ended: the stack is free.
    pub fn into_stack(self) -> DefaultStack {
        self.conversation.into_stack()
    }

    /// Which client it is, as [`Socket::number`].
    pub fn number(&self) -> u64 {
        self.socket.number()
    }
}

impl AsFd for Client {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// A client's socket as its conversation sees it. Its read and write look like blocking calls. As
/// these do, they end with [`ErrorKind::WouldBlock`] when they have waited until the deadline, and so they
/// do when the server is to stop.
pub struct Stream<'a> {
    socket: &'a Socket,
    yielder: &'a Yielder<Told, Parked>,
    told: Told,
    deadline: Option<Instant>,
}

impl Stream<'_> {
    /// From now on no call waits for longer.
    pub fn set_deadline(&mut self, deadline: Option<Instant>) {
        self.deadline = deadline;
    }

    /// The end of the grace, if the server is stopping. An error: the conversation cannot go on.
    pub fn end_of_grace(&self) -> io::Result<Option<Instant>> {
        Ok(self.told?)
    }

    /// Which client it is.
    pub fn number(&self) -> u64 {
        self.socket.number()
    }

    /// Reads into the connection's buffer. It is parked first: most clients are silent when they were
    /// answered. So every read is a turn of its own, and a client that sends without a pause does not
    /// keep the thread.
    pub fn read(&mut self, connection: &mut Connection) -> io::Result<usize> {
        // Meanwhile the client has no buffer.
        connection.rest(0);
        self.wait(READ)?;
        self.read_arrived(connection)
    }

    /// Reads what has come already.
    pub fn read_arrived(&self, connection: &mut Connection) -> io::Result<usize> {
        let space = connection.read_space();
        if space.is_empty() {
            return Err(ErrorKind::OutOfMemory.into());
        }
        let mut socket: &TcpStream = self.socket;
        socket.read(space)
    }

    /// Writes; where there is no room it is parked and then tries again.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut socket: &TcpStream = self.socket;
        match socket.write(bytes) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.wait(WRITE)?;
                socket.write(bytes)
            }
            result => result,
        }
    }

    /// Sends no more.
    pub fn shutdown(&self) -> io::Result<()> {
        self.socket.shutdown(Shutdown::Write)
    }

    /// Lets the other clients have their turn.
    pub fn give_way(&mut self) -> io::Result<()> {
        self.park(Parked::ForATurn)
    }

    fn wait(&mut self, interest: Interest) -> io::Result<()> {
        trace::note(Some(self.number()), || {
            format!("its stack is parked until it is {interest}")
        });
        self.park(Parked::For(interest, self.deadline))
    }

    /// Leaves this stack. Returns when the server's loop resumes it.
    fn park(&mut self, parked: Parked) -> io::Result<()> {
        self.told = self.yielder.suspend(parked);
        self.end_of_grace().map(drop)
    }
}
