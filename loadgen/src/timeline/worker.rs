//! A worker of the server: what it does, from one of its events to the next.

use super::span::{Lane, Span, State, Who};
use super::trace::Kind;
use super::words::{bytes, count, duration, whole_ms};

/// At most this many acts of a worker are named one by one.
const MOST_ACTS: usize = 6;

/// A worker while its events are read.
pub struct Worker {
    /// Its name.
    pub name: String,
    state: State,
    since: i64,
    /// When its last line was written.
    seen: i64,
    labels: Vec<String>,
    say: String,
    /// What it has done in this state.
    acts: Vec<String>,
    more_acts: u64,
    /// How often it has asked a client and found nothing.
    asked: u64,
    ended: bool,
    spans: Vec<Span>,
    clients: Vec<u32>,
}

impl Worker {
    /// A worker that begins to exist.
    pub fn new(name: &str, t: i64) -> Self {
        Self {
            name: name.to_owned(),
            state: State::Works,
            since: t,
            seen: t,
            labels: Vec::new(),
            say: String::new(),
            acts: Vec::new(),
            more_acts: 0,
            asked: 0,
            ended: false,
            spans: Vec::new(),
            clients: Vec::new(),
        }
    }

    /// When it began to exist.
    pub fn born(&self) -> i64 {
        self.spans.first().map_or(self.since, |span| span.from)
    }

    /// Whether it has something to show: it waits, or serves a client.
    pub fn is_seen(&self) -> bool {
        let works = |span: &Span| span.state == State::Works;
        !self.clients.is_empty() || self.state != State::Works || !self.spans.iter().all(works)
    }

    /// Whether it had to do with this client.
    pub fn knows(&self, client: u32) -> bool {
        self.clients.contains(&client)
    }

    /// Something happens. Returns whether the picture should show its order.
    pub fn take(&mut self, t: i64, kind: &Kind, client: Option<u32>) -> bool {
        let mut seen = false;
        self.seen = t;
        match kind {
            Kind::Wait { call, what } => {
                seen = self.change(t);
                self.wait(call, what, client);
            }
            Kind::Wake(ready) => {
                if !ready.is_empty() {
                    self.say.push_str(" Then: ");
                    self.say.push_str(ready);
                    self.say.push('.');
                }
                self.change(t);
            }
            Kind::Work | Kind::Block => {
                self.change(t);
                self.serve(kind, client);
                seen = true;
            }
            Kind::Done => {
                self.change(t);
                seen = true;
            }
            Kind::Exit(why) => {
                self.act(format!("ends: {why}"));
                self.change(t);
                self.ended = true;
            }
            Kind::Skipped(times) => self.asked += times,
            kind => {
                if let Some(text) = act(kind, client) {
                    self.act(text);
                }
            }
        }
        if let Some(client) = client
            && !matches!(kind, Kind::Wait { .. } | Kind::Accept)
            && !self.clients.contains(&client)
        {
            self.clients.push(client);
        }
        seen
    }

    fn act(&mut self, text: String) {
        if self.acts.len() < MOST_ACTS {
            self.acts.push(text);
        } else {
            self.more_acts += 1;
        }
    }

    /// Ends what it did and begins to work. Returns whether the picture should show what it did.
    fn change(&mut self, t: i64) -> bool {
        let name = &self.name;
        let long = duration(t - self.since);
        let more = match self.more_acts {
            0 => String::new(),
            more => format!("; and {} more", count(more)),
        };
        let acts = format!("{}{more}", self.acts.join("; "));
        let (labels, say) = match self.state {
            State::Works if self.asked > 0 => {
                let asks = "asks again and again";
                let times = count(self.asked);
                let then = if acts.is_empty() {
                    acts
                } else {
                    format!(" It {acts}.")
                };
                (
                    vec![
                        format!("{asks}, and finds nothing {times} times"),
                        asks.to_owned(),
                    ],
                    format!("{name} {asks}: {long}. {times} times it finds nothing.{then}"),
                )
            }
            State::Works if acts.is_empty() => {
                (vec!["works".to_owned()], format!("{name} works: {long}."))
            }
            State::Works => (
                vec!["works".to_owned()],
                format!("{name} works: {long}. It {acts}."),
            ),
            State::Burns | State::Sleeps => {
                let ms = whole_ms(t - self.since);
                let texts = self.labels.iter().map(|text| format!("{text}: {ms}"));
                let labels = texts.chain([ms.clone()]).collect();
                (labels, format!("{name} {}: {long}.", self.say))
            }
            _ => {
                let (what, then) = self.say.split_once('.').unwrap_or((&self.say, ""));
                let labels = std::mem::take(&mut self.labels);
                (labels, format!("{name} {what}: {long}.{then}"))
            }
        };
        let seen = !self.acts.is_empty();
        if t > self.since {
            self.spans.push(Span {
                from: self.since,
                to: t,
                state: self.state,
                labels,
                say,
            });
        }
        self.state = State::Works;
        self.since = t;
        self.labels.clear();
        self.say.clear();
        self.acts.clear();
        self.more_acts = 0;
        self.asked = 0;
        seen
    }

    fn wait(&mut self, call: &str, what: &str, client: Option<u32>) {
        let waits = if call.is_empty() {
            "waits".to_owned()
        } else {
            format!("waits in {call}")
        };
        if let Some(client) = client {
            let call = if call.is_empty() { "waits" } else { call };
            self.state = State::Blocked;
            self.say = format!("{} for {what}.", waits.replace("waits", "is blocked"));
            self.labels = vec![
                format!("blocked in {call}: client {client}"),
                format!("{call}: client {client}"),
                format!("client {client}"),
            ];
        } else if what == "timer" {
            // It waits for nobody.
            self.state = State::Waits;
            self.say = waits.replace("waits", "sleeps") + ".";
            self.labels = vec![waits.replace("waits", "sleeps"), "sleeps".to_owned()];
        } else {
            self.state = State::Waits;
            self.say = if what.is_empty() {
                format!("{waits}.")
            } else {
                format!("{waits} for {what}.")
            };
            self.labels = vec![format!("{waits} for {what}"), waits, call.to_owned()];
            self.labels.retain(|label| !label.is_empty());
        }
    }

    fn serve(&mut self, kind: &Kind, client: Option<u32>) {
        let client = client.unwrap_or(0);
        let (state, say) = if *kind == Kind::Work {
            (State::Burns, "works for")
        } else {
            (State::Sleeps, "sleeps for")
        };
        self.state = state;
        self.say = format!("{say} client {client}");
        self.labels = vec![self.say.clone()];
    }

    /// Its lane, when the trace has ended.
    pub fn lane(mut self, end: i64) -> Lane {
        if self.state == State::Works {
            // What it does after its last line is not known.
            self.change(self.seen);
        } else if !self.ended {
            self.change(end);
        }
        Lane {
            name: self.name,
            who: Who::Worker,
            spans: self.spans,
            clients: self.clients,
        }
    }
}

/// The words for an act of a worker; `None`: it has none.
fn act(kind: &Kind, client: Option<u32>) -> Option<String> {
    let client = client.map_or_else(String::new, |client| format!("client {client}"));
    Some(match kind {
        Kind::Accept => format!("accepts {client}"),
        Kind::Read(0) => format!("reads 0 bytes from {client}: the client has closed"),
        Kind::Read(n) => format!("reads {} from {client}", bytes(*n)),
        Kind::Write(n) => format!("writes {} to {client}", bytes(*n)),
        Kind::Failed { what, error } => format!("{what} {client}: {error}").replace(" :", ":"),
        Kind::Close(why) => format!("closes {client}: {why}"),
        Kind::Pass(_) => format!("passes {client} on"),
        Kind::Spawn(to) => format!("makes {to}"),
        Kind::Other(text) if client.is_empty() => text.clone(),
        Kind::Other(text) => format!("{text} ({client})"),
        _ => return None,
    })
}

/// Where a worker stands among the others: main first, then by kind and number.
pub fn rank(name: &str) -> (bool, String, u64) {
    let (kind, number) = name.rsplit_once(' ').unwrap_or((name, ""));
    (name != "main", kind.to_owned(), number.parse().unwrap_or(0))
}
