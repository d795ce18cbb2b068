//! What happens when there are more clients than the server can have: those that fit are served, the
//! others wait, nobody is dropped and nothing spins.

use std::time::Duration;

use crate::client::{Client, Slices, in_parallel, pattern, take_first_with_news};
use crate::life::still_serves;
use crate::process::{Limit, Tree, lowest_free_descriptor};
use crate::subject::Server;
use crate::{Case, Subject, Tried, case, ensure, owning, skipped};
use supervisor::Mode::Echo;

pub const CASES: &[Case] = &[
    owning(
        Echo,
        "limits::capacity",
        "--max-connections 3: three are served at once, the others in turn",
        capacity,
    ),
    owning(
        Echo,
        "limits::capacity_of_one",
        "--max-connections 1: ten clients, one after the other",
        capacity_of_one,
    ),
    owning(
        Echo,
        "limits::capacity_waits_quietly",
        "no CPU time is spent on clients that wait",
        capacity_waits_quietly,
    ),
    owning(
        Echo,
        "limits::capacity_over_workers",
        "--max-connections counts over all workers together",
        capacity_over_workers,
    ),
    owning(
        Echo,
        "limits::declared_clients",
        "exactly as many at once as --describe says",
        declared_clients,
    ),
    owning(
        Echo,
        "limits::idle_is_quiet",
        "idle clients cost no CPU time",
        idle_is_quiet,
    ),
    owning(
        Echo,
        "limits::few_descriptors",
        "started with 64 descriptors: what fits is served, the others wait quietly",
        few_descriptors,
    ),
    owning(
        Echo,
        "limits::raises_its_descriptors",
        "a low soft limit on descriptors is raised to the hard one",
        raises_its_descriptors,
    ),
    owning(
        Echo,
        "limits::no_descriptor_left",
        "accept says EMFILE: old clients are served, nothing spins, it recovers",
        no_descriptor_left,
    ),
    owning(
        Echo,
        "limits::no_thread_or_process_left",
        "no thread or process to be had for an accepted client: it waits and is served later",
        no_thread_or_process_left,
    ),
    owning(
        Echo,
        "limits::few_pending_signals",
        "only 10 signals may be pending: 50 busy clients are served all the same",
        few_pending_signals,
    ),
    owning(
        Echo,
        "limits::few_ring_buffers",
        "--ring-buffers 1: 50 clients share one buffer, and nothing is lost",
        few_ring_buffers,
    ),
    owning(
        Echo,
        "limits::little_memory",
        "started with little memory: it serves or says why not, and never hangs",
        little_memory,
    ),
    case(
        Echo,
        "limits::descriptors_above_1024",
        "1,100 clients at once: all are served, at once or in turn",
        descriptors_above_1024,
    ),
];

/// More clients than an `fd_set` holds descriptors.
const CROWD: usize = 1_100;

/// The longest that nothing may happen without CPU time being looked at.
const SPAN: Duration = Duration::from_millis(700);

/// The server spends next to nothing while it waits, unless that is how it waits.
fn ensure_quiet(s: &Subject, tree: Tree, when: &str) -> Tried {
    s.stands_silence()?;
    if asks_without_pause(s)? {
        return Ok(());
    }
    let share = tree.cpu_share(SPAN);
    ensure(
        share < 0.3,
        format!("next to no CPU time {when}"),
        format!("{:.0} % of a core", share * 100.0),
    )
}

/// A model that asks every client in turn spins by design, unless it is told to pause.
fn asks_without_pause(s: &Subject) -> Tried<bool> {
    let pauses = s
        .given("--interval")
        .is_some_and(|interval| interval.contains(|c: char| matches!(c, '1'..='9')));
    Ok(s.offers("--interval")? && !pauses)
}

/// Clients that have each sent a message, in the order in which they connected.
struct Asking {
    clients: Vec<Client>,
    message: Vec<u8>,
}

impl Asking {
    fn connect(server: &Server, clients: usize) -> Tried<Self> {
        let mut asking = Self {
            clients: server.connect_many(clients)?,
            message: pattern(5, 200),
        };
        for client in &mut asking.clients {
            client.send(&asking.message)?;
        }
        Ok(asking)
    }

    /// Waits until one of them is answered, rightly.
    fn next_served(&mut self, server: &Server) -> Tried<Client> {
        let mut client = take_first_with_news(&mut self.clients, server.patience)?;
        client.expect(&self.message)?;
        Ok(client)
    }

    /// How many have an answer or were closed.
    fn with_news(&self) -> Tried<usize> {
        let mut n = 0;
        for client in &self.clients {
            n += usize::from(client.has_news()?);
        }
        Ok(n)
    }

    /// All are served; each leaves when it was answered.
    fn all_served_in_turn(mut self, server: &Server) -> Tried {
        while !self.clients.is_empty() {
            self.next_served(server)?;
        }
        Ok(())
    }
}

/// `places` clients are served at once, `more` wait for their turn and get it; nobody is dropped.
fn served_in_turn(server: Server, places: usize, more: usize) -> Tried {
    let mut inside = server.connect_many(places)?;
    inside
        .iter_mut()
        .try_for_each(|client| client.round_trip(b"first come"))?;
    let mut waiting = Asking::connect(&server, more)?;
    while !waiting.clients.is_empty() {
        // Those inside are served on, which gives the server the time to be wrong about the others.
        for round in 0..10 {
            let mut some = inside.iter_mut().take(10);
            some.try_for_each(|client| client.round_trip(&pattern(round, 100)))?;
        }
        let too_many = waiting.with_news()?;
        ensure(
            too_many == 0,
            format!("{places} clients served at once, the others waiting"),
            format!("{too_many} more answered or closed"),
        )?;
        drop(inside.remove(0));
        inside.push(waiting.next_served(&server)?);
    }
    drop(inside);
    let stats = server.stop()?.stats()?;
    let all = (places + more) as u64;
    let seen = (stats.peak_open, stats.accepted, stats.refused);
    ensure(
        seen == (places as u64, all, 0),
        format!("at most {places} connections open, {all} accepted, none refused"),
        format!("{} open, {} accepted, {} refused", seen.0, seen.1, seen.2),
    )
}

fn capacity(s: &Subject) -> Tried {
    let server = s
        .launch(Echo)
        .flags(&["--max-connections", "3", "--stats"])?
        .start()?;
    served_in_turn(server, s.places(3), 5)
}

fn capacity_of_one(s: &Subject) -> Tried {
    let server = s
        .launch(Echo)
        .flags(&["--max-connections", "1", "--stats"])?
        .start()?;
    served_in_turn(server, 1, 9)
}

fn capacity_over_workers(s: &Subject) -> Tried {
    let flags = ["--max-connections", "3", "--stats", "--workers", "4"];
    let server = s.launch(Echo).flags(&flags)?.start()?;
    served_in_turn(server, s.places(3), 5)
}

fn capacity_waits_quietly(s: &Subject) -> Tried {
    let server = s.launch(Echo).flags(&["--max-connections", "2"])?.start()?;
    let tree = server.tree()?;
    let places = s.places(2);
    let mut inside = server.connect_many(places)?;
    inside
        .iter_mut()
        .try_for_each(|client| client.round_trip(b"hello"))?;
    let waiting = Asking::connect(&server, 5)?;
    ensure_quiet(s, tree, "while clients wait for a place")?;
    drop(inside);
    waiting.all_served_in_turn(&server)
}

fn declared_clients(s: &Subject) -> Tried {
    s.stands_silence()?;
    let server = s.launch(Echo).flags(&["--stats"])?.start()?;
    match s.limit() {
        Some(limit) if limit <= CROWD => served_in_turn(server, limit, 5),
        _ => {
            let mut clients = server.connect_many(CROWD)?;
            clients
                .iter_mut()
                .try_for_each(|client| client.round_trip(b"no limit in sight"))
        }
    }
}

fn idle_is_quiet(s: &Subject) -> Tried {
    if asks_without_pause(s)? {
        return skipped("asks without a pause unless --interval says otherwise");
    }
    let (server, places) = s.serve_up_to(Echo, 20)?;
    let mut clients = server.connect_many(places)?;
    clients
        .iter_mut()
        .try_for_each(|client| client.round_trip(b"hello"))?;
    let when = format!("with {places} idle clients");
    ensure_quiet(s, server.tree()?, &when)
}

fn few_descriptors(s: &Subject) -> Tried {
    // More than any server of the contract serves with 64 descriptors.
    let server = s.launch(Echo).ulimit("-n 64").start()?;
    let tree = server.tree()?;
    let mut waiting = Asking::connect(&server, 100)?;
    let mut inside = vec![waiting.next_served(&server)?];
    ensure_quiet(s, tree, "with more clients than descriptors")?;
    // Those that are in are not disturbed by those that are not.
    inside
        .iter_mut()
        .try_for_each(|client| client.round_trip(b"still in"))?;
    drop(inside);
    waiting.all_served_in_turn(&server)?;
    still_serves(&server)
}

fn raises_its_descriptors(s: &Subject) -> Tried {
    let server = s
        .launch(Echo)
        .for_clients(100)?
        .ulimit("-S -n 64")
        .start()?;
    let mut clients = server.connect_many(100)?;
    clients
        .iter_mut()
        .try_for_each(|client| client.round_trip(b"one of a hundred"))
}

fn no_descriptor_left(s: &Subject) -> Tried {
    let server = s.serve(Echo)?;
    let tree = server.tree()?;
    let mut old = server.connect_many(s.places(3))?;
    old.iter_mut()
        .try_for_each(|client| client.round_trip(b"hello"))?;
    let squeezed = tree.squeeze(Limit::Descriptors, lowest_free_descriptor)?;
    let waiting = Asking::connect(&server, 5)?;
    ensure_quiet(s, tree, "while accept finds no descriptor")?;
    old.iter_mut()
        .try_for_each(|client| client.round_trip(b"still in"))?;
    squeezed.release();
    drop(old);
    waiting.all_served_in_turn(&server)?;
    still_serves(&server)
}

fn no_thread_or_process_left(s: &Subject) -> Tried {
    let server = s.launch(Echo).unprivileged().start()?;
    let tree = server.tree()?;
    let mut old = server.connect_many(s.places(2))?;
    old.iter_mut()
        .try_for_each(|client| client.round_trip(b"hello"))?;
    let squeezed = tree.squeeze(Limit::Processes, |_| Some(0))?;
    let waiting = Asking::connect(&server, 3)?;
    ensure_quiet(s, tree, "while no thread or process can be made")?;
    old.iter_mut()
        .try_for_each(|client| client.round_trip(b"still in"))?;
    squeezed.release();
    drop(old);
    waiting.all_served_in_turn(&server)?;
    still_serves(&server)
}

fn few_pending_signals(s: &Subject) -> Tried {
    s.stands_silence()?;
    let server = s.serve_many(Echo, 50)?;
    let mut clients = server.connect_many(50)?;
    let squeezed = server
        .tree()?
        .squeeze(Limit::PendingSignals, |_| Some(10))?;
    for round in 0..10 {
        let message = pattern(round, 300);
        clients
            .iter_mut()
            .try_for_each(|client| client.send(&message))?;
        clients
            .iter_mut()
            .try_for_each(|client| client.expect(&message))?;
    }
    still_gets_in(&server, &mut clients)?;
    squeezed.release();
    Ok(())
}

/// One leaves, a new one comes.
fn still_gets_in(server: &Server, clients: &mut Vec<Client>) -> Tried {
    drop(clients.pop());
    still_serves(server)
}

fn few_ring_buffers(s: &Subject) -> Tried {
    let server = s.launch(Echo).flags(&["--ring-buffers", "1"])?.start()?;
    in_parallel(server.connect_many(50)?, |seed, client| {
        client.exchange(&pattern(seed, 50_000), Slices::Random { seed, most: 5_000 })
    })?;
    still_serves(&server)
}

fn little_memory(s: &Subject) -> Tried {
    // From hopeless to plenty, KiB of address space.
    for limit in ["-v 10000", "-v 20000", "-v 40000", "-v 100000", "-v 400000"] {
        match s.launch(Echo).ulimit(limit).start_or_exit()? {
            Ok(server) => still_serves(&server)?,
            Err(exit) => ensure(
                exit.code() != Some(0) && !exit.stderr.trim().is_empty(),
                format!("it serves or says why not (ulimit {limit})"),
                format!("{exit}, stderr {:?}", exit.stderr),
            )?,
        }
    }
    Ok(())
}

fn descriptors_above_1024(s: &Subject) -> Tried {
    s.stands_silence()?;
    let server = s.serve(Echo)?;
    let limit = s.places(CROWD);
    let mut asking = Asking::connect(&server, CROWD)?;
    let mut inside = Vec::new();
    while inside.len() < limit {
        inside.push(asking.next_served(&server)?);
    }
    inside
        .iter_mut()
        .try_for_each(|client| client.round_trip(b"still in"))?;
    drop(inside);
    asking.all_served_in_turn(&server)
}
