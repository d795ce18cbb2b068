//! More clients than the server serves at once: it serves as many as it can, the others wait, nobody is dropped and
//! nothing spins.

use std::time::Duration;

use crate::case::{Case, case, program_case};
use crate::client::{Client, Slices, in_parallel, pattern, take_first_with_news};
use crate::outcome::{Outcome, ensure, skipped};
use crate::resources::cpu_share;
use crate::server::Server;
use crate::squeeze::{lowest_free_descriptor, squeeze};
use crate::stats::Stats;
use crate::target::Target;
use supervisor::Group;
use supervisor::Mode::Echo;
use supervisor::limit::{Limit, Resource, raise_descriptors};

pub const CASES: &[Case] = &[
    program_case(
        Echo,
        "limits::capacity",
        "--max-connections 3: three are served at once, the others in turn",
        capacity,
    ),
    program_case(
        Echo,
        "limits::capacity_of_one",
        "--max-connections 1: ten clients, one after the other",
        capacity_of_one,
    ),
    program_case(
        Echo,
        "limits::capacity_waits_quietly",
        "no CPU time is spent on clients that wait",
        capacity_waits_quietly,
    ),
    program_case(
        Echo,
        "limits::capacity_over_workers",
        "--max-connections counts over all workers together",
        capacity_over_workers,
    ),
    program_case(
        Echo,
        "limits::declared_clients",
        "exactly as many at once as --describe says",
        declared_clients,
    ),
    program_case(
        Echo,
        "limits::idle_is_quiet",
        "idle clients cost no CPU time",
        idle_is_quiet,
    ),
    program_case(
        Echo,
        "limits::few_descriptors",
        "started with 64 descriptors: what fits is served, the others wait quietly",
        few_descriptors,
    ),
    program_case(
        Echo,
        "limits::raises_its_descriptors",
        "a low soft limit on descriptors is raised to the hard one",
        raises_its_descriptors,
    ),
    program_case(
        Echo,
        "limits::no_descriptor_left",
        "accept fails with EMFILE: old clients are served, nothing spins, and new ones are served later",
        no_descriptor_left,
    ),
    program_case(
        Echo,
        "limits::no_thread_or_process_left",
        "no thread or process can be made for an accepted client: it waits and is served later",
        no_thread_or_process_left,
    ),
    program_case(
        Echo,
        "limits::no_thread_to_block",
        "no thread can be made for requests that block (--block): they are answered all the same",
        no_thread_to_block,
    ),
    program_case(
        Echo,
        "limits::few_pending_signals",
        "only 10 signals may be pending: 50 busy clients are served all the same",
        few_pending_signals,
    ),
    program_case(
        Echo,
        "limits::few_ring_buffers",
        "--ring-buffers 1: 50 clients share one buffer, and nothing is lost",
        few_ring_buffers,
    ),
    program_case(
        Echo,
        "limits::little_memory",
        "started with little memory: it serves or says why not, and never hangs",
        little_memory,
    ),
    program_case(
        Echo,
        "limits::no_memory_left",
        "no memory for the buffers of 800 clients: it goes on, and serves when they have left",
        no_memory_left,
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

/// How long the CPU time of an idle server is measured.
const SPAN: Duration = Duration::from_millis(700);

/// The server uses almost no CPU time while it waits, unless it polls by design.
fn ensure_quiet(target: &Target, group: Group, when: &str) -> Outcome {
    target.require_silence()?;
    if asks_without_pause(target)? {
        return Ok(());
    }
    let share = cpu_share(group, SPAN);
    ensure(
        share < 0.3,
        format!("next to no CPU time {when}"),
        format!("{:.0} % of a core", share * 100.0),
    )
}

/// A server that asks every client in turn spins by design, unless its flags make it pause.
fn asks_without_pause(target: &Target) -> Outcome<bool> {
    let pauses = target
        .given("--interval")
        .is_some_and(|interval| interval.contains(|c: char| matches!(c, '1'..='9')));
    Ok(target.offers("--interval")? && !pauses)
}

/// Clients that have each sent a message, in the order in which they connected.
struct Asking {
    clients: Vec<Client>,
    message: Vec<u8>,
}

impl Asking {
    fn connect(server: &Server, clients: usize) -> Outcome<Self> {
        let mut asking = Self {
            clients: server.connect_many(clients)?,
            message: pattern(5, 200),
        };
        for client in &mut asking.clients {
            client.send(&asking.message)?;
        }
        Ok(asking)
    }

    /// Waits until one of them is answered.
    fn next_served(&mut self, server: &Server) -> Outcome<Client> {
        let mut client = take_first_with_news(&mut self.clients, server.patience)?;
        client.expect(&self.message)?;
        Ok(client)
    }

    /// How many have an answer or were closed.
    fn with_news(&self) -> Outcome<usize> {
        let mut n = 0;
        for client in &self.clients {
            n += usize::from(client.has_news()?);
        }
        Ok(n)
    }

    /// All are served; each leaves when it was answered.
    fn all_served_in_turn(mut self, server: &Server) -> Outcome {
        while !self.clients.is_empty() {
            self.next_served(server)?;
        }
        Ok(())
    }
}

/// `limit` clients are served at once, `more` wait for their turn and get it; nobody is dropped.
fn served_in_turn(server: Server, limit: usize, more: usize) -> Outcome {
    let mut inside = server.connect_many(limit)?;
    inside
        .iter_mut()
        .try_for_each(|client| client.round_trip(b"first come"))?;
    let mut waiting = Asking::connect(&server, more)?;
    while !waiting.clients.is_empty() {
        // While these go on, the server has time to answer the waiting ones by mistake.
        for round in 0..10 {
            let mut some = inside.iter_mut().take(10);
            some.try_for_each(|client| client.round_trip(&pattern(round, 100)))?;
        }
        let too_many = waiting.with_news()?;
        ensure(
            too_many == 0,
            format!("{limit} clients served at once, the others waiting"),
            format!("{too_many} more answered or closed"),
        )?;
        drop(inside.remove(0));
        inside.push(waiting.next_served(&server)?);
    }
    drop(inside);
    let stats = Stats::of(&server.stop()?)?;
    let all = (limit + more) as u64;
    let seen = (stats.peak_open, stats.accepted, stats.refused);
    ensure(
        seen == (limit as u64, all, 0),
        format!("at most {limit} connections open, {all} accepted, none refused"),
        format!("{} open, {} accepted, {} refused", seen.0, seen.1, seen.2),
    )
}

fn capacity(target: &Target) -> Outcome {
    let server = target
        .start(Echo)
        .flags(&["--max-connections", "3", "--stats"])?
        .ready()?;
    served_in_turn(server, target.clients_at_once(3), 5)
}

fn capacity_of_one(target: &Target) -> Outcome {
    let server = target
        .start(Echo)
        .flags(&["--max-connections", "1", "--stats"])?
        .ready()?;
    served_in_turn(server, 1, 9)
}

fn capacity_over_workers(target: &Target) -> Outcome {
    let flags = ["--max-connections", "3", "--stats", "--workers", "4"];
    let server = target.start(Echo).flags(&flags)?.ready()?;
    served_in_turn(server, target.clients_at_once(3), 5)
}

fn capacity_waits_quietly(target: &Target) -> Outcome {
    let server = target
        .start(Echo)
        .flags(&["--max-connections", "2"])?
        .ready()?;
    let group = server.group()?;
    let limit = target.clients_at_once(2);
    let mut inside = server.connect_many(limit)?;
    inside
        .iter_mut()
        .try_for_each(|client| client.round_trip(b"hello"))?;
    let waiting = Asking::connect(&server, 5)?;
    ensure_quiet(target, group, "while clients wait to be served")?;
    drop(inside);
    waiting.all_served_in_turn(&server)
}

fn declared_clients(target: &Target) -> Outcome {
    target.require_silence()?;
    let server = target.start(Echo).flags(&["--stats"])?.ready()?;
    match target.client_limit() {
        Some(limit) if limit <= CROWD => served_in_turn(server, limit, 5),
        _ => {
            let mut clients = server.connect_many(CROWD)?;
            clients
                .iter_mut()
                .try_for_each(|client| client.round_trip(b"no limit in sight"))
        }
    }
}

fn idle_is_quiet(target: &Target) -> Outcome {
    if asks_without_pause(target)? {
        return skipped("asks without a pause unless --interval says otherwise");
    }
    let (server, limit) = target.serve_up_to(Echo, 20)?;
    let mut clients = server.connect_many(limit)?;
    clients
        .iter_mut()
        .try_for_each(|client| client.round_trip(b"hello"))?;
    let when = format!("with {limit} idle clients");
    ensure_quiet(target, server.group()?, &when)
}

fn few_descriptors(target: &Target) -> Outcome {
    // More than 64 descriptors are enough for.
    let server = target
        .start(Echo)
        .limit(Limit::hard(Resource::Descriptors, 64))
        .ready()?;
    let group = server.group()?;
    let mut waiting = Asking::connect(&server, 100)?;
    let mut inside = vec![waiting.next_served(&server)?];
    ensure_quiet(target, group, "with more clients than descriptors")?;
    // Those that are served do not notice those that wait.
    inside
        .iter_mut()
        .try_for_each(|client| client.round_trip(b"still in"))?;
    drop(inside);
    waiting.all_served_in_turn(&server)?;
    server.still_serves()
}

fn raises_its_descriptors(target: &Target) -> Outcome {
    let server = target
        .start(Echo)
        .for_clients(100)?
        .limit(Limit::soft(Resource::Descriptors, 64))
        .ready()?;
    let mut clients = server.connect_many(100)?;
    clients
        .iter_mut()
        .try_for_each(|client| client.round_trip(b"one of a hundred"))
}

fn no_descriptor_left(target: &Target) -> Outcome {
    let server = target.serve(Echo)?;
    let group = server.group()?;
    let mut old = server.connect_many(target.clients_at_once(3))?;
    old.iter_mut()
        .try_for_each(|client| client.round_trip(b"hello"))?;
    let squeezed = squeeze(group, Resource::Descriptors, lowest_free_descriptor)?;
    let waiting = Asking::connect(&server, 5)?;
    ensure_quiet(target, group, "while accept finds no descriptor")?;
    old.iter_mut()
        .try_for_each(|client| client.round_trip(b"still in"))?;
    squeezed.release();
    drop(old);
    waiting.all_served_in_turn(&server)?;
    server.still_serves()
}

fn no_thread_or_process_left(target: &Target) -> Outcome {
    let server = target.start(Echo).unprivileged().ready()?;
    let group = server.group()?;
    let mut old = server.connect_many(target.clients_at_once(2))?;
    old.iter_mut()
        .try_for_each(|client| client.round_trip(b"hello"))?;
    let squeezed = squeeze(group, Resource::Processes, |_| Some(0))?;
    let waiting = Asking::connect(&server, 3)?;
    ensure_quiet(target, group, "while no thread or process can be made")?;
    old.iter_mut()
        .try_for_each(|client| client.round_trip(b"still in"))?;
    squeezed.release();
    drop(old);
    waiting.all_served_in_turn(&server)?;
    server.still_serves()
}

fn no_thread_to_block(target: &Target) -> Outcome {
    let flags = ["--block", "20ms"];
    let server = target.start(Echo).flags(&flags)?.unprivileged().ready()?;
    // They are silent: the first request of all finds that no thread can be made.
    let mut clients = server.connect_many(target.clients_at_once(3))?;
    server.holdings_at_rest()?;
    let squeezed = squeeze(server.group()?, Resource::Processes, |_| Some(0))?;
    clients
        .iter_mut()
        .try_for_each(|client| client.round_trip(b"hello"))?;
    squeezed.release();
    drop(clients);
    server.still_serves()
}

fn few_pending_signals(target: &Target) -> Outcome {
    target.require_silence()?;
    let server = target.serve_many(Echo, 50)?;
    let mut clients = server.connect_many(50)?;
    let squeezed = squeeze(server.group()?, Resource::PendingSignals, |_| Some(10))?;
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

/// A client leaves, and a new one is served.
fn still_gets_in(server: &Server, clients: &mut Vec<Client>) -> Outcome {
    drop(clients.pop());
    server.still_serves()
}

fn few_ring_buffers(target: &Target) -> Outcome {
    let server = target
        .start(Echo)
        .flags(&["--ring-buffers", "1"])?
        .ready()?;
    in_parallel(server.connect_many(50)?, |seed, client| {
        client.exchange(&pattern(seed, 50_000), Slices::Random { seed, most: 5_000 })
    })?;
    server.still_serves()
}

fn little_memory(target: &Target) -> Outcome {
    // From far too little to more than enough.
    for kib in [10_000, 20_000, 40_000, 100_000, 400_000] {
        let limit = Limit::hard(Resource::AddressSpace, kib << 10);
        match target.start(Echo).limit(limit).ready_or_exit()? {
            Ok(server) => server.still_serves()?,
            Err(exit) => ensure(
                exit.code() != Some(0) && !exit.stderr.trim().is_empty(),
                format!("it serves or says why not (with {kib} KiB of address space)"),
                format!("{exit}, stderr {:?}", exit.stderr),
            )?,
        }
    }
    Ok(())
}

fn no_memory_left(target: &Target) -> Outcome {
    const BUFFER: usize = 64 * 1024;
    const CLIENTS: usize = 800;
    target.require_silence()?;
    let start = || target.start(Echo).flags(&["--buffer-size", "64KiB"]);
    let plain = start()?.ready()?;
    plain.still_serves()?;
    let processes = plain.group()?.processes().into_iter();
    let needed = processes.map(|stat| stat.vsize).max().unwrap_or_default();
    drop(plain);
    // A tenth of what the clients would need, or as little as it starts with.
    let spare = (1..=10).map(|tenth| (tenth * CLIENTS * BUFFER / 10) as u64);
    for spare in spare {
        let limit = Limit::hard(Resource::AddressSpace, needed + spare);
        if let Ok(server) = start()?.limit(limit).ready_or_exit()? {
            return outlives_a_crowd(server, CLIENTS, BUFFER);
        }
    }
    skipped("does not start with little more memory than it has when it is idle")
}

/// Each client sends as much as a buffer holds and reads no answer.
fn outlives_a_crowd(server: Server, clients: usize, buffer: usize) -> Outcome {
    let mut crowd = Vec::new();
    for seed in 0..clients as u64 {
        let mut client = server.connect()?;
        // Otherwise the clients use up the memory that the kernel has for TCP, and it resets those of other cases.
        client.set_buffers(buffer)?;
        // A client that was refused cannot send.
        let _ = client.flood(&pattern(seed, buffer));
        crowd.push(client);
    }
    drop(crowd);
    server.still_serves()?;
    server.stop()?;
    Ok(())
}

fn descriptors_above_1024(target: &Target) -> Outcome {
    const NEEDED: usize = 2 * CROWD;
    match raise_descriptors() {
        Ok(limit) if limit < NEEDED => {
            return skipped(format!(
                "the clients need {NEEDED} descriptors and have {limit}"
            ));
        }
        _ => {}
    }
    target.require_silence()?;
    let server = target.serve(Echo)?;
    let limit = target.clients_at_once(CROWD);
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
