//! What a picture consists of. All times are nanoseconds from its zero.

/// What a bar of the picture shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// A worker waits in a call, for whoever comes.
    Waits,
    /// A worker waits for one client alone.
    Blocked,
    /// A worker runs.
    Works,
    /// A worker burns CPU time for a request.
    Burns,
    /// A worker sleeps inside a request.
    Sleeps,
    /// Waits and work in turn, too short to be drawn one by one.
    Mixed,
    /// A client is connected and the server has not accepted it.
    Backlog,
    /// A client is connected.
    Open,
    /// A client sends a message.
    Sends,
    /// A client waits for its answer; where the client was not watched: the server has its request.
    Asks,
}

impl State {
    /// All of them, in the order of a legend.
    pub const ALL: [Self; 10] = [
        Self::Backlog,
        Self::Open,
        Self::Sends,
        Self::Asks,
        Self::Waits,
        Self::Blocked,
        Self::Works,
        Self::Burns,
        Self::Sleeps,
        Self::Mixed,
    ];

    /// Its name in the style.
    pub fn class(self) -> &'static str {
        match self {
            Self::Waits => "waits",
            Self::Blocked => "blocked",
            Self::Works => "works",
            Self::Burns => "burns",
            Self::Sleeps => "sleeps",
            Self::Mixed => "mixed",
            Self::Backlog => "backlog",
            Self::Open => "open",
            Self::Sends => "sends",
            Self::Asks => "asks",
        }
    }

    /// What a legend says of it.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Waits => "waits for anyone",
            Self::Blocked => "blocked on one client",
            Self::Works => "works",
            Self::Burns => "CPU work for a request",
            Self::Sleeps => "sleeps inside a request",
            Self::Mixed => "waits and works in turn",
            Self::Backlog => "connected, not accepted yet",
            Self::Open => "connected",
            Self::Sends => "sends a message",
            Self::Asks => "waits for the answer",
        }
    }

    /// Whether it is the line of a connection, not a bar on it.
    pub fn is_line(self) -> bool {
        matches!(self, Self::Backlog | Self::Open)
    }
}

/// A bar of the picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// When it begins.
    pub from: i64,
    /// When it ends.
    pub to: i64,
    /// What is done.
    pub state: State,
    /// Texts for its label, the longest first.
    pub labels: Vec<String>,
    /// What is done and how long it takes, in a sentence.
    pub say: String,
}

/// Who a lane belongs to.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// A client, by its number.
    Client(u32),
    /// A thread or process of the server.
    #[default]
    Worker,
    /// Several that are not drawn one by one.
    Others,
}

/// The row of a client or a worker, from left to right.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Lane {
    /// Its name.
    pub name: String,
    /// Whose it is.
    pub who: Who,
    /// What is done, in the order of time. Where there is no span, it does not exist.
    pub spans: Vec<Span>,
    /// The clients that a worker had to do with.
    pub clients: Vec<u32>,
}

/// What an arrow is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Errand {
    /// Bytes from a client.
    Request,
    /// Bytes to a client.
    Answer,
    /// A client goes to another worker.
    Pass,
    /// A worker makes another.
    Spawn,
}

impl Errand {
    /// Its name in the style.
    pub fn class(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Answer => "answer",
            Self::Pass => "pass",
            Self::Spawn => "spawn",
        }
    }
}

/// From one lane to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrow {
    /// What it is.
    pub errand: Errand,
    /// When and in which lane it begins.
    pub from: (i64, usize),
    /// When and in which lane it ends.
    pub to: (i64, usize),
    /// In a sentence.
    pub say: String,
}

/// All that a picture shows.
#[derive(Debug, Default)]
pub struct Story {
    /// The server.
    pub title: String,
    /// What happens.
    pub about: String,
    /// The clients, and below them the workers.
    pub lanes: Vec<Lane>,
    /// Requests, answers, hand-overs.
    pub arrows: Vec<Arrow>,
    /// When things happen. The picture draws them far enough apart to show their order.
    pub moments: Vec<i64>,
    /// When the server was asked to stop.
    pub stop: Option<i64>,
    /// The first and the last moment.
    pub from: i64,
    /// The last moment.
    pub to: i64,
    /// What is not in the picture, in sentences.
    pub missing: Vec<String>,
}
