//! Which of a server's addresses are used, and from where.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::thread;

use loadgen::engine::probe::leave_out_refusing;
use loadgen::workload::load::Workload;
use loadgen::workload::target::{Addresses, Target};

use crate::{run, workload};

/// An echo server that knows who its clients were.
fn server(address: SocketAddr) -> (SocketAddr, Arc<Mutex<BTreeSet<IpAddr>>>) {
    let listener = TcpListener::bind(address).unwrap();
    let address = listener.local_addr().unwrap();
    let clients = Arc::new(Mutex::new(BTreeSet::new()));
    let seen = clients.clone();
    thread::spawn(move || {
        while let Ok((stream, client)) = listener.accept() {
            seen.lock().unwrap().insert(client.ip());
            thread::spawn(move || std::io::copy(&mut &stream, &mut &stream));
        }
    });
    (address, clients)
}

fn named(addresses: &[SocketAddr]) -> Target {
    Target {
        host: "name".to_owned(),
        addresses: Addresses::Tcp(addresses.to_vec()),
        ..addresses[0].into()
    }
}

#[test]
fn all_addresses_are_used_but_those_that_refuse() {
    let (first, clients) = server(([127, 0, 0, 1], 0).into());
    let other = |ip: IpAddr| SocketAddr::new(ip, first.port());
    let (second, others) = server(other("127.0.0.2".parse().unwrap()));
    let refuses = other("127.0.0.3".parse().unwrap());
    let mut load = Workload {
        target: named(&[refuses, first, second]),
        ..workload(first)
    };
    let left_out = leave_out_refusing(&mut load, &mut || false).unwrap();
    assert!(
        left_out.len() == 1 && left_out[0].starts_with(&format!("{refuses}: ")),
        "{left_out:?}"
    );
    assert_eq!(load.target.addresses, named(&[first, second]).addresses);
    for clients in [&clients, &others] {
        clients.lock().unwrap().clear();
    }
    let (trial, _) = run(&load);
    assert!(trial.answered > 0 && trial.errors.is_empty(), "{trial:#?}");
    assert_eq!(trial.connections_answered, 4);
    for clients in [clients, others] {
        assert_eq!(clients.lock().unwrap().len(), 1);
    }
    // Where nobody listens at all, the trial says so.
    let mut nowhere = Workload {
        target: named(&[refuses, other("127.0.0.4".parse().unwrap())]),
        ..workload(first)
    };
    let before = nowhere.clone();
    assert!(
        leave_out_refusing(&mut nowhere, &mut || false)
            .unwrap()
            .is_empty()
    );
    assert_eq!(nowhere, before);
}

#[test]
fn connections_come_from_the_sources_in_turn() {
    let (address, clients) = server(([127, 0, 0, 1], 0).into());
    let sources: Vec<IpAddr> = ["127.0.0.5", "127.0.0.6", "127.0.0.7"]
        .map(|ip| ip.parse().unwrap())
        .to_vec();
    let (trial, _) = run(&Workload {
        sources: sources.clone(),
        ..workload(address)
    });
    assert!(trial.answered > 0 && trial.errors.is_empty(), "{trial:#?}");
    assert_eq!(*clients.lock().unwrap(), sources.into_iter().collect());
}
