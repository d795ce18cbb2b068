//! The loads of the shards as scenarios of a run.

use crate::results::shard::{Asked, OF_A_HOST};
use crate::workload::load::Mode;
use crate::workload::profile_file::OneLoad;

/// The name of the only scenario, and that of the file; of several scenarios it is the beginning.
pub const SCENARIO: &str = "shards";

/// A scenario for each of these loads, and the keys that are left out of them.
pub fn scenarios(loads: &[&Asked]) -> (Vec<OneLoad>, Vec<String>) {
    let mut left_out = Vec::new();
    let mut all = Vec::new();
    for asked in loads {
        let (keys, of_a_host) = keys(asked);
        all.push(keys);
        left_out.extend(of_a_host);
    }
    left_out.sort_unstable();
    left_out.dedup();
    // The keys in which the loads differ.
    let own = |keys: &toml::Table| -> Vec<String> {
        let differs = |key: &str, value| all.iter().any(|other| other.get(key) != Some(value));
        let own = keys.iter().filter(|(key, value)| differs(key, value));
        own.map(|(key, value)| format!("{key} = {value}")).collect()
    };
    let scenario = |(number, keys): (usize, &toml::Table)| {
        let (name, question) = if loads.len() == 1 {
            let question = "What do several generators measure together?";
            (SCENARIO.to_owned(), question.to_owned())
        } else {
            let question = format!("Several generators: {}", own(keys).join(", "));
            (format!("{SCENARIO}-{number}"), question)
        };
        OneLoad {
            name,
            question,
            keys: keys.clone(),
        }
    };
    ((1..).zip(&all).map(scenario).collect(), left_out)
}

/// What was asked for, as keys of a scenario, and the keys that are left out of it: only the hosts have these files and
/// addresses.
fn keys(asked: &Asked) -> (toml::Table, Vec<String>) {
    let mut keys = asked.keys.clone();
    let left_out: Vec<String> = OF_A_HOST
        .into_iter()
        .filter_map(|key| Some(format!("{key} = {}", keys.remove(key)?)))
        .collect();
    // Default values of flags that were not given do not contradict each other.
    keys.remove("speed");
    if keys.contains_key("stages") {
        keys.remove("duration");
    }
    let mut set = |key: &str, value: toml::Value| keys.insert(key.to_owned(), value);
    if let Ok(serde_json::Value::String(mode)) = serde_json::to_value(asked.mode) {
        set("mode", mode.into());
    }
    if asked.tls {
        set("tls", true.into());
    }
    match asked.rate {
        None => {
            keys.remove("arrivals");
        }
        Some(rate) if !keys.contains_key("stages") => {
            keys.insert("rate".to_owned(), rate.into());
        }
        Some(_) => {}
    }
    if asked.mode == Mode::Raw && !keys.contains_key("send") {
        keys.insert("send".to_owned(), "as each shard was told".into());
    }
    (keys, left_out)
}
