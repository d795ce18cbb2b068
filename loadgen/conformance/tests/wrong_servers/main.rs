//! The suite is tested: a correct server passes it, and each wrong server fails the case that names its fault.
//!
//! The servers are this program again, started with `serve`; a process that one of them leaves behind, with `sleep`.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test reads what its servers print"
)]

use std::ffi::{OsStr, OsString};
use std::net::{SocketAddr, TcpListener};
use std::process::ExitCode;
use std::time::Duration;

use clap::ValueEnum;
use conformance::{NotPassed, PATIENCE, Target};
use libtest_mimic::{Failed, Trial};
use supervisor::Mode;

use fault::Fault;

mod client;
mod fault;
mod flags;
mod http;
mod server;
mod trace;

fn main() -> ExitCode {
    supervisor::run_helper_if_asked();
    let mut arguments = std::env::args_os().skip(1);
    match arguments.next().as_deref().and_then(OsStr::to_str) {
        Some("serve") => return server::run(arguments),
        Some("sleep") => {
            std::thread::sleep(Duration::from_mins(10));
            return ExitCode::SUCCESS;
        }
        _ => {}
    }
    let right = Target::program(command(None), PATIENCE);
    let noticing: Vec<&str> = Fault::value_variants()
        .iter()
        .map(|fault| fault.case())
        .collect();
    let mut tests: Vec<Trial> = conformance::cases()
        .into_iter()
        // This server knows only as much HTTP as its faults need.
        .filter(|case| case.mode != Mode::Http || noticing.contains(&case.name))
        .map(|case| case.test("right", right.clone()))
        .collect();
    tests.extend(Fault::value_variants().iter().map(|&fault| {
        Trial::test(fault.name(), move || {
            fails(fault, fault.case()).map_err(Into::into)
        })
        .with_kind("wrong")
    }));
    tests.push(Trial::test("soak", move || soak(None)).with_kind("right"));
    for fault in [Fault::LeaksADescriptor, Fault::SwapsTwoClients] {
        let name = format!("soak-{}", fault.name());
        tests.push(Trial::test(name, move || soak(Some(fault))).with_kind("wrong"));
    }
    let later = || Ok(a_server_at_the_second_address_of_a_name()?);
    tests.push(Trial::test("second-address", later).with_kind("right"));
    conformance::run_tests(tests)
}

/// A name may have several addresses, and the server listen at one of them.
fn a_server_at_the_second_address_of_a_name() -> Result<(), String> {
    let listener = TcpListener::bind("127.0.0.2:0").map_err(|e| e.to_string())?;
    let listens = listener.local_addr().map_err(|e| e.to_string())?;
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || std::io::copy(&mut &stream, &mut &stream));
        }
    });
    let refuses = |last| SocketAddr::from(([127, 0, 0, last], listens.port()));
    let at = |addresses| Target::address(addresses, Mode::Echo, PATIENCE);
    let mut target = at(vec![refuses(3), listens, refuses(4)]);
    target.ensure_there().map_err(|e| e.to_string())?;
    let mut cases = conformance::cases().into_iter();
    let case = cases.find(|case| case.name == "bytes::one");
    let case = case.ok_or("no such case")?;
    case.try_on(&target).map_err(|e| format!("{e:?}"))?;
    // Where nobody listens at any, each is named.
    match at(vec![refuses(3), refuses(4)]).ensure_there() {
        Err(error)
            if [3, 4]
                .map(refuses)
                .iter()
                .all(|address| error.to_string().contains(&address.to_string())) =>
        {
            Ok(())
        }
        other => Err(format!("{other:?}")),
    }
}

fn command(fault: Option<Fault>) -> Vec<OsString> {
    let program = std::env::current_exe().expect("this program is a file");
    let mut command = vec![program.into(), "serve".into()];
    if let Some(fault) = fault {
        command.extend(["--fault".into(), fault.name().into()]);
    }
    command
}

fn fails(fault: Fault, name: &str) -> Result<(), String> {
    // A fault that makes the server hang is noticed soon enough.
    let target = Target::program(command(Some(fault)), Duration::from_secs(3));
    let case = conformance::cases()
        .into_iter()
        .find(|case| case.name == name)
        .ok_or_else(|| format!("no case is called {name}"))?;
    match case.try_on(&target) {
        Err(NotPassed::Failed { .. }) => Ok(()),
        other => Err(format!("{name} does not notice it: {other:?}")),
    }
}

/// A soak passes without a fault, and fails with one.
fn soak(fault: Option<Fault>) -> Result<(), Failed> {
    let patience = if fault.is_some() {
        Duration::from_secs(3)
    } else {
        PATIENCE
    };
    let target = Target::program(command(fault), patience);
    match (fault, conformance::soak(&target, Duration::from_secs(1))) {
        (None, Ok(_)) | (Some(_), Err(NotPassed::Failed { .. })) => Ok(()),
        (_, other) => Err(format!("{other:?}").into()),
    }
}
