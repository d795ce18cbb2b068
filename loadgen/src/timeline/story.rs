//! Who did what and for how long, from a trace and from what the clients saw.

use std::collections::{BTreeMap, HashMap};

use super::client::Client;
use super::play::{LATE, Played};
use super::player::Seen;
use super::scene::Scene;
use super::span::{Arrow, Errand, Lane, Story};
use super::trace::{Event, Kind, Trace};
use super::words::{count, whole_ms};
use super::worker::{Worker, rank};

/// The thread that waits for the signal to stop: it does nothing else.
const SIGNALS: &str = "signals";
/// The picture begins this long before the scene, nanoseconds.
const LEAD: i64 = 15_000_000;

/// The place of a lane that is not drawn.
const NOWHERE: usize = usize::MAX;

/// The story of a trace alone.
pub fn of_trace(trace: &Trace, about: &str) -> Story {
    let zero = trace.events.first().map_or(0, |event| event.t);
    Builder::new(trace, zero).story(trace, &[], about, 0)
}

/// The story of a scene that was played.
pub fn of_scene(played: &Played, scene: &Scene) -> Story {
    let about = &scene.about;
    let Played {
        trace,
        clients,
        start,
        late,
    } = played;
    let mut story = Builder::new(trace, *start).story(trace, clients, about, -LEAD);
    // The end of the server is cut off, unless the scene says when it is stopped.
    if scene.stop.is_none() {
        story.to = story.stop.unwrap_or(story.to);
        story.keep(-LEAD, story.to);
        story.stop = None;
    }
    if *late >= LATE {
        story.missing.push(format!(
            "This machine was busy: the clients acted up to {} later than the scene says. Play it again on a quiet machine.",
            whole_ms(late.as_nanos() as i64)
        ));
    }
    story
}

/// A client goes to another worker, or a worker is made.
struct Handover {
    errand: Errand,
    t: i64,
    from: usize,
    to: Option<String>,
    client: Option<u32>,
}

struct Builder {
    zero: u64,
    workers: Vec<Worker>,
    by_name: HashMap<String, usize>,
    clients: BTreeMap<u32, Client>,
    handovers: Vec<Handover>,
    moments: Vec<i64>,
    stop: Option<i64>,
    end: i64,
}

impl Builder {
    fn new(trace: &Trace, zero: u64) -> Self {
        let mut builder = Self {
            zero,
            workers: Vec::new(),
            by_name: HashMap::new(),
            clients: BTreeMap::new(),
            handovers: Vec::new(),
            moments: Vec::new(),
            stop: None,
            end: 0,
        };
        for event in &trace.events {
            builder.take(event);
        }
        builder
    }

    /// The worker of this name; it exists from `t` on.
    fn worker(&mut self, name: &str, t: i64) -> usize {
        if let Some(&index) = self.by_name.get(name) {
            return index;
        }
        let index = self.workers.len();
        self.workers.push(Worker::new(name, t));
        self.by_name.insert(name.to_owned(), index);
        index
    }

    fn take(&mut self, event: &Event) {
        let t = event.t as i64 - self.zero as i64;
        self.end = self.end.max(t);
        if let Kind::Stop(_) = event.kind {
            self.stop = self.stop.or(Some(t));
        }
        if event.worker == SIGNALS {
            return;
        }
        let from = self.worker(&event.worker, t);
        if self.workers[from].take(t, &event.kind, event.client) {
            self.moments.push(t);
        }
        let client = event.client;
        if let Some(number) = client {
            let client = self.clients.entry(number).or_default();
            client.take(t, from, &event.kind);
            if matches!(event.kind, Kind::Accept | Kind::Close(_)) {
                self.moments.push(t);
            }
        }
        let (errand, to) = match &event.kind {
            Kind::Pass(to) => (Errand::Pass, to.clone()),
            Kind::Spawn(to) => {
                self.worker(to, t);
                (Errand::Spawn, Some(to.clone()))
            }
            _ => return,
        };
        self.handovers.push(Handover {
            errand,
            t,
            from,
            to,
            client,
        });
    }

    fn story(mut self, trace: &Trace, seen: &[Seen], about: &str, from: i64) -> Story {
        let of_scene = 1..=u32::try_from(seen.len()).unwrap_or(u32::MAX);
        for number in of_scene {
            self.clients.entry(number).or_default();
        }
        let left = seen.iter().filter_map(|seen| seen.closed);
        let left = left.map(|(t, _)| t as i64 - self.zero as i64);
        self.end = left.max().unwrap_or(0).max(self.end);
        let mut order: Vec<usize> = (0..self.workers.len()).collect();
        order.sort_by_key(|&index| rank(&self.workers[index].name));
        // A worker that only makes others, and whose waiting is not in the trace, is left out.
        order.retain(|&index| self.workers[index].is_seen());
        // Where each worker's lane stands, below those of the clients.
        let mut places = vec![NOWHERE; self.workers.len()];
        for (at, &index) in order.iter().enumerate() {
            places[index] = self.clients.len() + at;
        }
        let mut lanes = Vec::new();
        let mut arrows = Vec::new();
        for (&number, client) in &self.clients {
            let place = (number as usize).checked_sub(1);
            let seen = place.and_then(|place| seen.get(place));
            let seen = seen.map(|seen| (seen, self.zero));
            let (lane, moved) = client.tell(number, seen, self.end, lanes.len(), &places);
            self.moments
                .extend(lane.spans.iter().flat_map(|span| [span.from, span.to]));
            self.moments
                .extend(moved.iter().flat_map(|arrow| [arrow.from.0, arrow.to.0]));
            lanes.push(lane);
            arrows.extend(moved);
        }
        arrows.extend(
            self.handovers
                .iter()
                .filter_map(|one| self.arrow(one, &places)),
        );
        arrows.retain(|arrow| arrow.from.1 != NOWHERE && arrow.to.1 != NOWHERE);
        let mut workers: Vec<Lane> = self
            .workers
            .into_iter()
            .map(|worker| worker.lane(self.end))
            .collect();
        lanes.extend(
            order
                .iter()
                .map(|&index| std::mem::take(&mut workers[index])),
        );
        let mut story = Story {
            title: trace.model.clone(),
            about: about.to_owned(),
            lanes,
            arrows,
            moments: self.moments,
            stop: self.stop,
            from,
            to: self.end,
            missing: lost(trace),
        };
        story.keep(from, self.end);
        story
    }

    /// The arrow of a hand-over; `None`: nobody took it.
    fn arrow(&self, handover: &Handover, places: &[usize]) -> Option<Arrow> {
        let &Handover {
            errand,
            t,
            from,
            client,
            ..
        } = handover;
        let named = handover.to.as_ref().and_then(|to| self.by_name.get(to));
        let takes = |&index: &usize| {
            index != from && client.is_some_and(|client| self.workers[index].knows(client))
        };
        let to = named
            .copied()
            .or_else(|| (0..self.workers.len()).find(takes))?;
        let at = match errand {
            Errand::Spawn => self.workers[to].born().max(t),
            _ => t,
        };
        let (who, other) = (&self.workers[from].name, &self.workers[to].name);
        let say = match client {
            Some(client) if errand == Errand::Pass => {
                format!("{who} passes client {client} to {other}.")
            }
            _ => format!("{who} makes {other}."),
        };
        Some(Arrow {
            errand,
            from: (t, places[from]),
            to: (at, places[to]),
            say,
        })
    }
}

impl Story {
    /// Cuts what lies outside of a time.
    pub fn keep(&mut self, from: i64, to: i64) {
        self.from = from;
        self.to = to.max(from + 1);
        for lane in &mut self.lanes {
            lane.spans
                .retain(|span| span.to > from && span.from < self.to);
            for span in &mut lane.spans {
                span.from = span.from.max(from);
                span.to = span.to.min(self.to);
            }
        }
        let inside = |t: i64| (from..=self.to).contains(&t);
        self.arrows
            .retain(|arrow| inside(arrow.from.0) && inside(arrow.to.0));
        self.moments.retain(|&t| inside(t));
        self.moments.sort_unstable();
        self.moments.dedup();
        self.stop = self.stop.filter(|&t| inside(t));
    }
}

/// Sentences about what the trace misses.
fn lost(trace: &Trace) -> Vec<String> {
    let mut lost = Vec::new();
    if trace.dropped > 0 {
        lost.push(format!(
            "The server could not write {} lines of the trace.",
            count(trace.dropped)
        ));
    }
    if trace.unreadable > 0 {
        lost.push(format!(
            "Lines of the trace that were cut and are left out: {}.",
            count(trace.unreadable as u64)
        ));
    }
    lost
}
