//! The operations that the kernel was asked for and has not completed, for servers that submit
//! operations.

use std::collections::BTreeMap;

use crate::trace::{Event, is_on, list, tell};

/// Operations in flight. It is kept only if a trace is wanted.
#[derive(Debug, Default)]
pub struct InFlight(BTreeMap<(u64, &'static str), Entry>);

#[derive(Debug)]
struct Entry {
    name: String,
    count: usize,
}

impl InFlight {
    /// An operation was submitted for `whom`, which is a key of the server's, and this client or else
    /// the listener.
    pub fn submit(&mut self, whom: u64, call: &'static str, client: Option<u64>) {
        tell(|| Event::Submit { call, client });
        if is_on() {
            let entry = self.0.entry((whom, call)).or_insert_with(|| Entry {
                name: client.map_or_else(
                    || format!("listener {call}"),
                    |client| format!("client {client} {call}"),
                ),
                count: 0,
            });
            entry.count += 1;
        }
    }

    /// It has completed, and completes again if there is `more`. Gives its name.
    pub fn completed(&mut self, whom: u64, call: &'static str, more: bool) -> String {
        let key = (whom, call);
        let Some(entry) = self.0.get_mut(&key) else {
            return call.to_owned();
        };
        let name = entry.name.clone();
        entry.count -= usize::from(!more);
        if entry.count == 0 {
            self.0.remove(&key);
        }
        name
    }

    /// The names of all.
    pub fn names(&self) -> Vec<String> {
        list(self.0.values().map(|entry| entry.name.clone()))
    }
}
