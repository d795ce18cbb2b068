//! The suite proves itself: a right server passes it, and each wrong one fails the case that names
//! its fault.
//!
//! The servers are this program again, started with `serve`; a process that one of them leaves behind, with `sleep`.

use std::ffi::{OsStr, OsString};
use std::process::ExitCode;
use std::time::Duration;

use clap::ValueEnum;
use conformance::{NotPassed, PATIENCE, Target};
use libtest_mimic::{Failed, Trial};
use supervisor::Mode;

use server::Fault;

#[path = "wrong_servers/server.rs"]
mod server;

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
    let http_cases: Vec<&str> = Fault::value_variants()
        .iter()
        .map(|&fault| case_for(fault))
        .filter(|name| name.starts_with("http::"))
        .collect();
    let mut tests: Vec<Trial> = conformance::cases()
        .into_iter()
        // Of HTTP the server here knows no more than its faults need.
        .filter(|case| case.mode != Mode::Http || http_cases.contains(&case.name))
        .map(|case| case.test("right", right.clone()))
        .collect();
    tests.extend(Fault::value_variants().iter().map(|&fault| {
        Trial::test(fault.name(), move || {
            fails(fault, case_for(fault)).map_err(Into::into)
        })
        .with_kind("wrong")
    }));
    tests.push(Trial::test("soak", move || soak(None)).with_kind("right"));
    for fault in [Fault::LeaksADescriptor, Fault::SwapsTwoClients] {
        let name = format!("soak-{}", fault.name());
        tests.push(Trial::test(name, move || soak(Some(fault))).with_kind("wrong"));
    }
    conformance::run_tests(tests)
}

/// The case that must notice the fault.
fn case_for(fault: Fault) -> &'static str {
    match fault {
        Fault::AnswersWithTheWholeBuffer => "bytes::one",
        Fault::LosesTheTailAtHalfClose => "life::half_close_then_drain",
        Fault::ForgetsTheEndAtTheLastRead => "life::end_at_any_read",
        Fault::HandlesHangUpBeforeInput => "life::input_and_end_at_once",
        Fault::NeverRearmsAfterAFullBuffer => "bytes::around_the_buffer",
        Fault::SwapsTwoClients => "bytes::clients_in_turn",
        Fault::BlocksInWrite => "isolation::never_reader",
        Fault::KeepsAllInMemory => "isolation::bounded_memory",
        Fault::ServesTheGreedyFirst | Fault::ChangesAByteOfALongStream => {
            "isolation::greedy_senders"
        }
        Fault::ForgetsAPartialWrite => "isolation::slow_reader",
        Fault::ClosesWithUnreadInput => "once::long_request",
        Fault::EndsWithItsClient => "life::reset_idle",
        Fault::SpinsWithoutDescriptors => "limits::no_descriptor_left",
        Fault::DropsAtCapacity => "limits::capacity",
        Fault::ServesOneTooMany => "limits::capacity_of_one",
        Fault::LeaksADescriptor => "leaks::after_5_000_clients",
        Fault::IgnoresTerm => "signals::term_idle",
        Fault::DropsInputAtTerm => "signals::term_in_mid_stream",
        Fault::WaitsForStuckClients => "signals::term_with_stuck_clients",
        Fault::LeavesAProcess => "signals::int_idle",
        Fault::CannotHaveItsPortAgain => "signals::port_free_at_once",
        Fault::ClosesTheActive => "life::idle_timeout_spares_the_active",
        Fault::ListensEverywhere => "command_line::no_other_address",
        Fault::AnswersTwice | Fault::StopsAfterAThousandReads => "bytes::ping_pong",
        Fault::LosesAByte => "bytes::size_9_999",
        Fault::WaitsForANewline => "bytes::one_byte_slices",
        Fault::EndsWithAReset => "bytes::none",
        Fault::EndsAtControlD => "bytes::every_value",
        Fault::LingersForEver => "once::closes_for_good",
        Fault::TakesBothFramings => "http::both_framings",
        Fault::TakesTheLastLength => "http::differing_lengths",
        Fault::TakesSignedLengths => "http::odd_lengths",
        Fault::TakesABodyForARequest => "http::get_with_body",
        Fault::NeedsNoHost => "http::missing_host",
        Fault::HasNoLimitOfHeads => "http::endless_head",
        Fault::ForgetsPipelinedRequests => "http::pipelined",
        Fault::SendsABodyToHead => "http::head",
        Fault::ClosesWhatShouldStay => "http::keep_alive",
        Fault::KeepsWhatShouldClose => "http::close",
        Fault::RefusesChunkExtensions
        | Fault::RefusesTrailers
        | Fault::RefusesChunkedInCapitals
        | Fault::RefusesHexInCapitals => "http::chunked_body",
        Fault::TakesChunksWithoutAnEnd => "http::bad_chunks",
        Fault::AnswersWithTwoLengths
        | Fault::AnswersWithBothFramings
        | Fault::AnswersWithoutASpace
        | Fault::AnswersAsHttp10 => "http::get",
        Fault::IgnoresFieldsInCapitals => "http::field_names_in_any_case",
        Fault::LosesAByteOfASplitHead => "http::split_everywhere",
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

/// A soak passes without a fault, and not with one.
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
