//! Which lanes are drawn: a picture of ten thousand would show nothing.

use super::span::{Lane, Span, State, Story, Who};
use super::words::count;

/// At most this many clients, and this many workers, are drawn one by one.
const MOST_CLIENTS: usize = 12;
const MOST_WORKERS: usize = 12;
/// At most this many workers without a client are drawn.
const MOST_IDLE: usize = 2;

/// Keeps the first clients and the workers that served them; the others share a lane each.
pub fn limit(story: &mut Story) {
    let lanes = std::mem::take(&mut story.lanes);
    let clients = lanes.iter().filter(|lane| lane.who != Who::Worker).count();
    let shown = if clients > MOST_CLIENTS + 1 {
        MOST_CLIENTS
    } else {
        clients
    };
    let workers = &lanes[clients..];
    let numbers: Vec<u32> = lanes[..shown]
        .iter()
        .flat_map(|lane| lane.clients.clone())
        .collect();
    let chosen = choose(workers, &numbers);
    // Where each lane went.
    let mut places = vec![None; lanes.len()];
    let mut kept = Vec::new();
    let mut rest: [Vec<&Lane>; 3] = Default::default();
    for (index, lane) in lanes.iter().enumerate() {
        let keep = if index < clients {
            index < shown
        } else {
            chosen[index - clients]
        };
        if keep {
            places[index] = Some(kept.len());
            kept.push(lane.clone());
        } else if index < clients {
            rest[0].push(lane);
        } else if lane.clients.is_empty() {
            rest[1].push(lane);
        } else {
            rest[2].push(lane);
        }
        if index + 1 == clients && !rest[0].is_empty() {
            kept.push(others(&rest[0], "clients"));
        }
    }
    if !rest[1].is_empty() {
        kept.push(others(&rest[1], "workers without a client"));
    }
    if !rest[2].is_empty() {
        kept.push(others(&rest[2], "workers"));
    }
    if !rest[0].is_empty() || !rest[2].is_empty() {
        let drawn = chosen.iter().filter(|chosen| **chosen).count();
        story.missing.push(format!(
            "The picture shows {} of {} clients and {} of {} workers, each in a lane of its own.",
            count(shown as u64),
            count(clients as u64),
            count(drawn as u64),
            count(workers.len() as u64)
        ));
    }
    story.arrows.retain_mut(|arrow| {
        let (Some(from), Some(to)) = (places[arrow.from.1], places[arrow.to.1]) else {
            return false;
        };
        arrow.from.1 = from;
        arrow.to.1 = to;
        true
    });
    story.lanes = kept;
    if !rest[0].is_empty() || !rest[2].is_empty() {
        only_shown_moments(story);
    }
}

/// What happens in lanes that are not drawn takes no room.
fn only_shown_moments(story: &mut Story) {
    let ends = story
        .arrows
        .iter()
        .flat_map(|arrow| [arrow.from.0, arrow.to.0]);
    let mut moments: Vec<i64> = ends.collect();
    for lane in story
        .lanes
        .iter()
        .filter(|lane| matches!(lane.who, Who::Client(_)))
    {
        moments.extend(lane.spans.iter().flat_map(|span| [span.from, span.to]));
    }
    moments.sort_unstable();
    moments.dedup();
    story.moments = moments;
}

/// Which workers are drawn: those that served one of these clients, then others.
fn choose(workers: &[Lane], clients: &[u32]) -> Vec<bool> {
    let serves = |lane: &Lane| lane.clients.iter().any(|client| clients.contains(client));
    let mut order: Vec<usize> = (0..workers.len()).collect();
    order.sort_by_key(|&index| {
        let lane = &workers[index];
        // The first worker is the main thread.
        (
            index != 0 && !serves(lane),
            index != 0 && lane.clients.is_empty(),
            index,
        )
    });
    let mut chosen = vec![false; workers.len()];
    let idle = workers
        .iter()
        .skip(1)
        .filter(|lane| lane.clients.is_empty())
        .count();
    for &index in order.iter().take(MOST_WORKERS) {
        let is_idle = index != 0 && workers[index].clients.is_empty();
        chosen[index] = !is_idle || idle <= MOST_IDLE;
    }
    chosen
}

/// One lane for several.
fn others(lanes: &[&Lane], who: &str) -> Lane {
    let spans = || lanes.iter().flat_map(|lane| &lane.spans);
    let from = spans().map(|span| span.from).min().unwrap_or(0);
    let to = spans().map(|span| span.to).max().unwrap_or(0);
    let number = count(lanes.len() as u64);
    let state = if who == "clients" {
        State::Open
    } else if lanes.iter().all(|lane| lane.clients.is_empty()) {
        State::Waits
    } else {
        State::Mixed
    };
    Lane {
        name: format!("{number} more"),
        who: Who::Others,
        spans: vec![Span {
            from,
            to,
            state,
            labels: vec![format!("{number} more {who}")],
            say: format!("{number} more {who}, not drawn one by one."),
        }],
        clients: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timeline::span::{Arrow, Errand};

    fn lane(name: String, who: Who, clients: Vec<u32>) -> Lane {
        Lane {
            name,
            who,
            spans: vec![Span {
                from: 0,
                to: 9,
                state: State::Works,
                labels: Vec::new(),
                say: String::new(),
            }],
            clients,
        }
    }

    fn story(clients: u32, workers: u32, served: u32) -> Story {
        let mut lanes: Vec<Lane> = (1..=clients)
            .map(|n| lane(format!("client {n}"), Who::Client(n), vec![n]))
            .collect();
        lanes.push(lane("main".to_owned(), Who::Worker, Vec::new()));
        for n in 1..=workers {
            let clients = if n <= served { vec![n] } else { Vec::new() };
            lanes.push(lane(format!("worker {n}"), Who::Worker, clients));
        }
        Story {
            lanes,
            ..Story::default()
        }
    }

    fn names(story: &Story) -> Vec<&str> {
        story.lanes.iter().map(|lane| &*lane.name).collect()
    }

    #[test]
    fn workers_without_a_client_share_a_lane() {
        let mut pool = story(2, 64, 2);
        limit(&mut pool);
        assert_eq!(
            names(&pool),
            [
                "client 1", "client 2", "main", "worker 1", "worker 2", "62 more"
            ]
        );
        assert_eq!(pool.missing, [""; 0]);
    }

    #[test]
    fn of_ten_thousand_the_first_are_drawn() {
        let mut crowd = story(10_000, 10_000, 10_000);
        for n in 0..10_000 {
            crowd.arrows.push(Arrow {
                errand: Errand::Request,
                from: (1, n),
                to: (2, 10_001 + n),
                say: String::new(),
            });
        }
        limit(&mut crowd);
        assert_eq!(crowd.lanes.len(), 12 + 1 + 12 + 1);
        assert_eq!(crowd.lanes[12].name, "9,988 more");
        assert_eq!(crowd.lanes[13].name, "main");
        assert_eq!(crowd.arrows.len(), 11, "those between lanes that are drawn");
        for arrow in &crowd.arrows {
            let number = crowd.lanes[arrow.from.1].clients[0];
            assert_eq!(crowd.lanes[arrow.to.1].clients, [number]);
        }
        assert!(
            crowd.missing[0].contains("12 of 10,000 clients and 12 of 10,001 workers"),
            "{:?}",
            crowd.missing
        );
        assert_eq!(crowd.moments, [0, 1, 2, 9]);
    }
}
