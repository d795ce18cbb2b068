//! The clients whose conversations are parked, and when one has to go on though its socket is not ready.

use std::fmt::Display;
use std::ops::Deref;
use std::time::{Duration, Instant};

use corosensei::stack::DefaultStack;
use nix::errno::Errno;
use serverkit::Context;
use serverkit::accept::{Admission, Socket};
use serverkit::clients::{LISTENER, STOP};
use serverkit::deadlines::Deadlines;
use serverkit::session::Interest;
use serverkit::trace::{self, Name, Waiting};
use slab::Slab;

use crate::stacks::Stacks;
use crate::stream::{Client, Parked, Stream, Told};

/// Wakes the loop to accept again. A client's deadline has the number that follows its key.
const ACCEPT_AGAIN: usize = 0;

/// The clients, by small keys that are used again.
pub struct Clients {
    context: &'static Context,
    admission: Admission,
    slab: Slab<Client>,
    stacks: Stacks,
    /// How many there can be.
    stack_limit: usize,
    /// The message that there are no more stacks was printed.
    told: bool,
    /// Clients who wait for nothing but their turn.
    unfinished: Vec<usize>,
    deadlines: Deadlines,
    /// The end of the grace, once the server is stopping.
    stop_at: Option<Instant>,
}

impl Clients {
    /// No clients yet, and stacks for this many.
    pub fn new(context: &'static Context, stack_limit: usize) -> Self {
        Self {
            context,
            admission: Admission::new(context.max_connections().min(stack_limit)),
            stack_limit,
            slab: Slab::new(),
            stacks: Stacks::default(),
            told: false,
            unfinished: Vec::new(),
            deadlines: Deadlines::default(),
            stop_at: None,
        }
    }

    /// There is room for another client.
    pub fn have_room(&self) -> bool {
        self.admission.is_open(self.slab.len())
    }

    /// There is no room until a client leaves or a moment has passed.
    pub fn overloaded(&mut self) {
        let retry_at = self.admission.overloaded();
        self.deadlines.set(ACCEPT_AGAIN, retry_at);
    }

    /// A stack for a client who is not accepted yet. Without one he waits in the backlog, until another leaves
    /// or a moment has passed.
    pub fn stack(&mut self) -> Option<DefaultStack> {
        match self.stacks.take() {
            Ok(stack) => Some(stack),
            Err(error) => {
                self.tell_full(error);
                self.overloaded();
                None
            }
        }
    }

    /// The client did not come.
    pub fn give_back(&mut self, stack: DefaultStack) {
        self.stacks.give_back(stack);
    }

    /// Takes in a client that was just accepted, and gives its key.
    pub fn insert(
        &mut self,
        socket: Socket,
        stack: DefaultStack,
        converse: fn(&'static Context, &mut Stream),
    ) -> usize {
        let context = self.context;
        let client = Client::new(socket, stack, move |stream| converse(context, stream));
        let key = self.slab.insert(client);
        // It begins in this turn, and soon waits for the first bytes.
        self.unfinished.push(key);
        if self.slab.len() == self.stack_limit {
            self.tell_full("vm.max_map_count, ulimit -v");
        }
        key
    }

    /// Prints it once: otherwise each client that comes would cause the message.
    fn tell_full(&mut self, why: impl Display) {
        if !std::mem::replace(&mut self.told, true) {
            self.context.complain(format_args!(
                "stacks of clients: {}, and there is none for another ({why}): it waits in the backlog",
                self.slab.len()
            ));
        }
    }

    /// Goes on with a client's conversation until it is parked again, and drops the client when it has
    /// ended.
    pub fn resume(&mut self, key: usize) {
        self.tell(key, Ok(self.stop_at));
    }

    /// Ends a client that cannot be served any further.
    pub fn fail(&mut self, key: usize, errno: Errno) {
        self.tell(key, Err(errno));
    }

    fn tell(&mut self, key: usize, told: Told) {
        let Some(client) = self.slab.get_mut(key) else {
            return;
        };
        match client.resume(told) {
            Some(Parked::ForATurn) => self.unfinished.push(key),
            Some(Parked::For(_, Some(at))) => self.deadlines.set(1 + key, at),
            Some(Parked::For(_, None)) => {}
            None => {
                let stack = self.slab.remove(key).into_stack();
                self.stacks.give_back(stack);
                self.admission.retry();
            }
        }
    }

    /// The server is stopping, and nobody is accepted any more. All conversations go on, and find out
    /// that they are to end.
    pub fn stop(&mut self) {
        self.stop_at = Some(Instant::now() + self.context.options.grace);
        self.unfinished.extend(self.slab.iter().map(|(key, _)| key));
    }

    /// How long the loop may wait; `None`: until something is ready.
    pub fn timeout(&self) -> Option<Duration> {
        if self.unfinished.is_empty() {
            self.deadlines.timeout(Instant::now())
        } else {
            Some(Duration::ZERO)
        }
    }

    /// Tells the trace that the loop begins to wait.
    pub fn wait(&self, call: &'static str, most: Option<Duration>, listens: bool) -> Waiting {
        trace::wait(call, most, || {
            let listener = listens.then(|| "listener".to_owned());
            let names = self
                .slab
                .iter()
                .map(|(_, client)| Name::Client(client.number()).awaited(client.interest));
            trace::list(listener.into_iter().chain(names))
        })
    }

    /// The names of ready tokens for the trace.
    pub fn names(&self, tokens: &[usize]) -> Vec<String> {
        trace::list(tokens.iter().filter_map(|&token| {
            let name = match token {
                STOP => trace::STOP,
                LISTENER => trace::LISTENER,
                key => {
                    let client = self.slab.get(key)?;
                    return Some(Name::Client(client.number()).some_of(client.interest));
                }
            };
            Some(name.some_of(Interest::default()))
        }))
    }

    /// The clients to resume now though no event named them.
    pub fn due(&mut self) -> Vec<usize> {
        let mut due = std::mem::take(&mut self.unfinished);
        if !self.deadlines.is_empty() {
            let now = Instant::now();
            while let Some(number) = self.deadlines.expired(now) {
                match number {
                    ACCEPT_AGAIN => self.admission.retry(),
                    client => due.push(client - 1),
                }
            }
        }
        due
    }
}

/// To look at the clients, and to count them.
impl Deref for Clients {
    type Target = Slab<Client>;

    fn deref(&self) -> &Slab<Client> {
        &self.slab
    }
}
