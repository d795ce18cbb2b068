//! Any text as a scenario file: refused, or a workload can be made of each of its points.
#![no_main]

use std::net::{Ipv4Addr, SocketAddr};

use libfuzzer_sys::fuzz_target;
use loadgen::workload::profile::{Profile, ScenarioFile};

fuzz_target!(|text: &str| {
    let line_up = include_str!("../../scenarios/lineup.toml");
    let files = [("mine.toml", text), ("lineup.toml", line_up)].map(|(name, text)| ScenarioFile {
        name: name.to_owned(),
        text: text.to_owned(),
        base64: false,
    });
    let Ok(profile) = Profile::from_kept(&files) else {
        return;
    };
    for point in profile
        .scenarios
        .iter()
        .flat_map(|scenario| &scenario.points)
    {
        assert!(point.clients() >= point.workload.connections && point.served_at_once() >= 1);
        let workload = point.workload(SocketAddr::from((Ipv4Addr::LOCALHOST, 1)), vec![0], 1);
        assert_eq!(workload.connections, point.workload.connections);
    }
});
