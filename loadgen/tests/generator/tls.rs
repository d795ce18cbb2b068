//! TLS: the versions, what a handshake costs and whether it is counted, whose certificates are accepted, and how
//! connections end.

use std::path::Path;
use std::process::{Command, Output};
use std::thread;
use std::time::{Duration, Instant};

use loadgen::engine;
use loadgen::results::trial::Trial;
use loadgen::workload::load::{Arrivals, Mode, Neighbours, Timestamps, Workload};
use loadgen::workload::raw::{RawAnswer, RawRequest};
use loadgen::workload::tls::{Tls, Trust};
use rcgen::{BasicConstraints, IsCa, date_time_ymd};
use rustls::pki_types::ServerName;
use rustls::version::{TLS12, TLS13};
use rustls::{ProtocolVersion, SupportedProtocolVersion};

use crate::scripted::{OK, Script, Server};
use crate::tls_server::{Identity, SOON, TlsScript, TlsServer, parameters};
use crate::{Unwatched, loads, open, run, workload};

const BOTH: [&SupportedProtocolVersion; 2] = [&TLS12, &TLS13];
const GREETING: &[u8] = b"Hello from server!\n";

fn identity() -> Identity {
    Identity::new(&parameters())
}

fn trusting(trust: Trust) -> Tls {
    Tls {
        server_name: ServerName::try_from("127.0.0.1").unwrap(),
        trust,
        resumption: true,
    }
}

/// A server that speaks these versions, and a load whose clients know its certificate.
fn server_with(
    versions: &[&'static SupportedProtocolVersion],
    script: TlsScript,
) -> (TlsServer, Workload) {
    let identity = identity();
    let server = TlsServer::start(identity.config(versions), script);
    let workload = Workload {
        tls: Some(trusting(Trust::Authorities(vec![
            identity.certificate.clone(),
        ]))),
        ..workload(server.address)
    };
    (server, workload)
}

fn server(script: TlsScript) -> (TlsServer, Workload) {
    server_with(&BOTH, script)
}

/// Why a trial cannot begin, as the user is told.
fn refusal(workload: &Workload) -> String {
    let result = engine::trial::run(workload, &mut Unwatched);
    format!("{:#}", result.map(|_| "it began").unwrap_err())
}

fn all_right(trial: &Trial) {
    assert!(trial.answered > 0, "{trial:#?}");
    assert_eq!(trial.answered, trial.scheduled, "{trial:#?}");
    assert!(trial.errors.is_empty(), "{trial:#?}");
}

#[test]
fn every_byte_comes_back_over_each_version() {
    for (version, spoken) in [
        (&TLS12, ProtocolVersion::TLSv1_2),
        (&TLS13, ProtocolVersion::TLSv1_3),
    ] {
        for (load, pipeline) in loads() {
            let (server, workload) = server_with(&[version], TlsScript::Echo);
            let (trial, _) = run(&Workload {
                load,
                pipeline,
                ..workload
            });
            all_right(&trial);
            assert_eq!((trial.connect_us.count, trial.tls_us.count), (4, 4));
            assert!(trial.tls_us.max <= trial.connect_us.max, "{trial:#?}");
            let handshakes = server.handshakes();
            // One more was the test connection.
            assert_eq!(handshakes.len(), 5);
            assert!(handshakes.iter().all(|one| one.version == spoken));
            // An address is no name that is sent, and an echo no protocol that has one.
            assert!(handshakes.iter().all(|one| one.server_name.is_none()));
            assert!(handshakes.iter().all(|one| one.protocol.is_none()));
        }
    }
}

#[test]
fn tls_messages_larger_than_all_buffers_come_back_whole() {
    for (size, pipeline) in [(1, 7), (20_000, 3), (100_000, 1), (4 << 20, 2)] {
        let (_server, workload) = server(TlsScript::Echo);
        let (trial, _) = run(&Workload {
            size,
            pipeline,
            connections: 2,
            warmup: Duration::ZERO,
            drain: Duration::from_secs(20),
            ..workload
        });
        all_right(&trial);
    }
}

#[test]
fn an_answer_counts_that_comes_with_an_alert() {
    for version in [&TLS12, &TLS13] {
        let (_server, workload) = server_with(&[version], TlsScript::EchoAndAlert);
        let (trial, _) = run(&workload);
        assert!(trial.answered > 0 && trial.failed > 0, "{trial:#?}");
        let kinds: Vec<&String> = trial.errors.keys().collect();
        assert_eq!(kinds, ["tls-alert-bad-record-mac"], "{trial:#?}");
    }
}

#[test]
fn each_connection_ends_with_close_notify() {
    let (server, workload) = server(TlsScript::Echo);
    run(&workload);
    let deadline = Instant::now() + SOON;
    while server.clean_ends() < 5 {
        assert!(Instant::now() < deadline, "{}", server.clean_ends());
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_server_that_waits_for_the_last_word_of_the_client_hears_it() {
    for (mode, answer) in [
        (Mode::Once, GREETING),
        (Mode::Http, b"HTTP/1.0 200 OK\r\n\r\nsome text"),
        (Mode::Http, OK),
    ] {
        let (_server, mut workload) = server(TlsScript::OnceBothEnd(answer));
        workload.mode = mode;
        workload.http.keep_alive = false;
        workload.duration = Duration::from_secs(2);
        let (trial, _) = run(&workload);
        all_right(&trial);
        // Who does not hear it is let go after a tenth of a second. So the four clients would have less than 24 answers each.
        assert!(trial.answered > 4 * 24, "{trial:#?}");
    }
}

#[test]
fn http_asks_for_its_protocol_and_names_the_server() {
    for (load, pipeline) in loads() {
        let (server, mut workload) = server(TlsScript::Http(OK));
        workload.mode = Mode::Http;
        workload.load = load;
        workload.pipeline = pipeline;
        let tls = workload.tls.as_mut().unwrap();
        tls.server_name = ServerName::try_from("localhost").unwrap();
        let (trial, _) = run(&workload);
        all_right(&trial);
        for handshake in server.handshakes() {
            assert_eq!(handshake.server_name.as_deref(), Some("localhost"));
            assert_eq!(handshake.protocol, None, "the server chose none");
        }
    }
    let identity = identity();
    let mut config = identity.config(&BOTH);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let server = TlsServer::start(config, TlsScript::Http(OK));
    let over_http = Workload {
        mode: Mode::Http,
        tls: Some(trusting(Trust::Anyone)),
        ..workload(server.address)
    };
    all_right(&run(&over_http).0);
    let chosen = server.handshakes().remove(0).protocol;
    assert_eq!(chosen.as_deref(), Some(&b"http/1.1"[..]));

    let mut config = identity.config(&BOTH);
    config.alpn_protocols = vec![b"h2".to_vec()];
    let server = TlsServer::start(config, TlsScript::Http(OK));
    let said = refusal(&Workload {
        mode: Mode::Http,
        tls: Some(trusting(Trust::Anyone)),
        ..workload(server.address)
    });
    assert!(said.contains("http/1.1"), "{said}");
}

#[test]
fn sessions_are_resumed_unless_each_handshake_shall_be_a_full_one() {
    for version in BOTH {
        for resumption in [true, false] {
            for (mode, script) in [
                (Mode::Once, TlsScript::Once(GREETING)),
                (Mode::Http, TlsScript::Http(OK)),
            ] {
                let (server, mut workload) = server_with(&[version], script);
                workload.mode = mode;
                workload.http.keep_alive = false;
                workload.tls.as_mut().unwrap().resumption = resumption;
                let (trial, _) = run(&workload);
                all_right(&trial);
                assert_eq!(trial.tls_us.count, trial.connect_us.count);
                let handshakes = server.handshakes();
                let resumed = handshakes.iter().filter(|one| one.resumed).count();
                if resumption {
                    // At first there is nothing to resume for any of the four, nor for the test connection.
                    assert!(handshakes.len() - resumed <= 5, "{handshakes:?}");
                    assert!(trial.tls_resumed > 0 && trial.tls_resumed <= resumed as u64);
                } else {
                    assert_eq!((resumed, trial.tls_resumed), (0, 0));
                }
            }
        }
    }
}

#[test]
fn the_kernel_stamps_tls_records_too() {
    for timestamps in [Timestamps::Sampled, Timestamps::Kernel] {
        let (_server, workload) = server(TlsScript::Echo);
        let (trial, _) = run(&Workload {
            timestamps,
            ..workload
        });
        all_right(&trial);
        let stamped = trial.read_delay_us.count;
        match timestamps {
            // A session ticket may arrive behind an answer, whose stamp is then another's.
            Timestamps::Kernel => assert!(stamped + 10 >= trial.answered, "{trial:#?}"),
            _ => assert!((1..trial.answered / 16).contains(&stamped), "{trial:#?}"),
        }
    }
}

#[test]
fn whose_certificates_are_accepted() {
    let plain = identity();
    let mut own_authority = parameters();
    own_authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let own_authority = Identity::new(&own_authority);
    let (signed, root) = Identity::signed(&parameters());
    for (identity, known) in [
        (&plain, &plain.certificate),
        (&own_authority, &own_authority.certificate),
        (&signed, &root),
    ] {
        let server = TlsServer::start(identity.config(&BOTH), TlsScript::Echo);
        let with = |tls| Workload {
            tls: Some(tls),
            duration: Duration::from_millis(100),
            ..workload(server.address)
        };
        all_right(&run(&with(trusting(Trust::Authorities(vec![known.clone()])))).0);
        all_right(&run(&with(trusting(Trust::Anyone))).0);
        // Another's certificate is no authority for this one.
        let other = Identity::new(&parameters()).certificate;
        let said = refusal(&with(trusting(Trust::Authorities(vec![other]))));
        for part in ["not trusted", "--ca-file", "--insecure"] {
            assert!(said.contains(part), "{said}");
        }
        // A name that it does not bear, although it is known.
        let mut elsewhere = trusting(Trust::Authorities(vec![known.clone()]));
        elsewhere.server_name = ServerName::try_from("example.org").unwrap();
        let said = refusal(&with(elsewhere));
        for part in [
            "for 127.0.0.1, localhost",
            "not for example.org",
            "--server-name",
        ] {
            assert!(said.contains(part), "{said}");
        }
    }
}

#[test]
fn a_certificate_out_of_its_time_is_told_as_such() {
    for (not_before, not_after, told) in [
        (1990, 2001, "expired at 2001-01-01T00:00:00Z"),
        (4000, 4001, "valid from 4000-01-01T00:00:00Z on"),
    ] {
        for is_ca in [IsCa::NoCa, IsCa::Ca(BasicConstraints::Unconstrained)] {
            let mut parameters = parameters();
            parameters.is_ca = is_ca;
            parameters.not_before = date_time_ymd(not_before, 1, 1);
            parameters.not_after = date_time_ymd(not_after, 1, 1);
            let identity = Identity::new(&parameters);
            let server = TlsServer::start(identity.config(&BOTH), TlsScript::Echo);
            let with = |trust| Workload {
                tls: Some(trusting(trust)),
                duration: Duration::from_millis(100),
                ..workload(server.address)
            };
            let said = refusal(&with(Trust::Authorities(vec![
                identity.certificate.clone(),
            ])));
            assert!(said.contains(told) && said.contains("--insecure"), "{said}");
            all_right(&run(&with(Trust::Anyone)).0);
        }
    }
}

#[test]
fn a_server_that_speaks_no_tls_is_told_at_once() {
    for script in [Script::Echo, Script::Once(GREETING), Script::Http(OK)] {
        let server = Server::start(script.clone());
        let said = refusal(&Workload {
            tls: Some(trusting(Trust::Anyone)),
            ..workload(server.address)
        });
        // An HTTP server waits for the end of what it takes for a request.
        let told = if matches!(script, Script::Http(_)) {
            "no answer in the TLS handshake"
        } else {
            "does not speak TLS"
        };
        assert!(
            said.contains(told) && said.contains("--tls"),
            "{script:?}: {said}"
        );
    }
    let (server, _) = server(TlsScript::CloseInHandshake);
    let said = refusal(&Workload {
        tls: Some(trusting(Trust::Anyone)),
        ..workload(server.address)
    });
    assert!(
        said.contains("closed the connection in the TLS handshake"),
        "{said}"
    );
}

#[test]
fn a_server_that_speaks_tls_is_told_to_a_client_that_does_not() {
    const WANTS_TLS: &[u8] = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 48\r\n\r\n\
        Client sent an HTTP request to an HTTPS server.\n";
    let (tls, _) = server(TlsScript::Echo);
    let http = Server::start(Script::Http(WANTS_TLS));
    for (address, mode) in [
        (tls.address, Mode::Echo),
        (tls.address, Mode::Http),
        (tls.address, Mode::Once),
        (http.address, Mode::Http),
    ] {
        let said = refusal(&Workload {
            mode,
            duration: Duration::from_hours(1),
            ..workload(address)
        });
        assert!(
            said.contains("speaks TLS") && said.contains("--tls"),
            "{mode:?}: {said}"
        );
    }
}

#[test]
fn a_server_that_lets_clear_text_go_without_a_word_is_asked_whether_it_speaks_tls() {
    let (tls, _) = server(TlsScript::EchoOrNothing);
    let clear = Server::start(Script::CloseAfter(1));
    for (address, hint) in [(tls.address, true), (clear.address, false)] {
        let output = loadgen(&address.to_string(), &[]);
        assert_eq!(output.status.code(), Some(1));
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains("closed-early"), "{said}");
        assert_eq!(said.contains("it speaks TLS: add --tls"), hint, "{said}");
    }
}

#[test]
fn a_stream_that_is_cut_off_is_not_one_that_ends() {
    const UNTIL_CLOSE: &[u8] = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nsome text";
    for (script, kind) in [
        (TlsScript::CloseAfter(1000), "closed-early"),
        (TlsScript::TruncateAfter(1000), "tls-truncated"),
    ] {
        for (load, pipeline) in loads() {
            let (_server, workload) = server(script);
            let (trial, _) = run(&Workload {
                load,
                pipeline,
                ..workload
            });
            assert!(trial.failed > 0 && trial.answered > 0, "{trial:#?}");
            assert_eq!(trial.errors.keys().collect::<Vec<_>>(), [kind]);
            // More than one connection can bring, so it was replaced.
            assert!(trial.answers_per_connection.max > 1000 / 64, "{trial:#?}");
        }
    }
    let (_server, mut workload) = server(TlsScript::HttpUntilClose(UNTIL_CLOSE));
    workload.mode = Mode::Http;
    all_right(&run(&workload).0);
    let (_server, mut workload) = server(TlsScript::HttpTruncated(UNTIL_CLOSE));
    workload.mode = Mode::Http;
    let (trial, _) = run(&workload);
    assert_eq!(trial.answered, 0);
    assert_eq!(trial.errors.keys().collect::<Vec<_>>(), ["tls-truncated"]);
}

#[test]
fn a_server_may_speak_first_with_the_end_of_the_handshake() {
    for version in BOTH {
        let (server, mut workload) = server_with(&[version], TlsScript::Greets(GREETING));
        workload.mode = Mode::Raw;
        workload.raw = RawRequest {
            send: Vec::new(),
            answer: RawAnswer::Until(b"\n".to_vec()),
            keep_alive: false,
        };
        let (trial, _) = run(&workload);
        all_right(&trial);
        assert!(server.handshakes().len() as u64 > trial.answered);
    }
}

#[test]
fn a_handshake_that_stands_still_holds_up_no_other() {
    // The test connection and two of the four are served.
    let (_server, workload) = server(TlsScript::StallAfter(3));
    let (trial, _) = run(&workload);
    assert_eq!(trial.connections_answered, 2, "{trial:#?}");
    assert_eq!(trial.tls_us.count, 2, "{trial:#?}");
    let (_server, workload) = server(TlsScript::StallAfter(0));
    let said = refusal(&workload);
    assert!(said.contains("no answer in the TLS handshake"), "{said}");
}

#[test]
fn a_handshake_that_stands_still_is_given_up_after_its_time() {
    // The test connection and two of the four are served.
    let (server, mut workload) = server(TlsScript::StallAfter(3));
    workload.client.connect_timeout = Some(Duration::from_millis(100));
    let (trial, _) = run(&workload);
    assert_eq!(trial.connections_answered, 2, "{trial:#?}");
    // The other two try again and again.
    let tried = trial.errors["connect-timeout"];
    assert!(tried >= 2, "{trial:#?}");
    assert_eq!(server.handshakes().len(), 3);
}

#[test]
fn a_request_that_finds_no_connection_is_given_up_unsent() {
    // The test connection alone is served.
    let (_server, mut workload) = server(TlsScript::StallAfter(1));
    workload.load = open(200.0, Arrivals::Constant);
    workload.client.timeout = Some(Duration::from_millis(100));
    let (trial, _) = run(&workload);
    assert_eq!((trial.scheduled, trial.timed_out), (200, 200), "{trial:#?}");
    assert_eq!(trial.errors["request-timeout"], 200);
    // None was sent, and each was as old as the timeout.
    assert_eq!((trial.lateness_us.count, trial.never_sent), (0, 0));
    assert!(trial.response_us.min >= Some(99_900.0), "{trial:#?}");
}

#[test]
fn neighbours_speak_tls_as_well() {
    let (server, mut workload) = server(TlsScript::Echo);
    workload.neighbours = Neighbours {
        idle: 20,
        slow_readers: 2,
        half_senders: 3,
        floods: 2,
        churn: 100.0,
    };
    let (trial, recording) = run(&workload);
    all_right(&trial);
    assert_eq!(trial.tls_us.count, 4);
    let neighbours = recording.neighbours;
    assert_eq!((neighbours.asked, neighbours.present), (27, 27));
    // The test connection, 31 that stay, and the churn.
    assert!(
        server.handshakes().len() > 32 + 10,
        "{}",
        server.handshakes().len()
    );
}

fn loadgen(address: &str, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_loadgen"))
        .args(["run", address, "-d", "200ms", "--warmup", "10ms", "-c", "2"])
        .args(["--no-save", "--json"])
        .args(arguments)
        .output()
        .unwrap()
}

/// The trial, of which all was answered; on a busy machine it may be INVALID.
fn answered(output: &Output) -> serde_json::Value {
    let trial: serde_json::Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {output:?}"));
    assert!(trial["answered"].as_u64() > Some(0), "{trial:#}");
    assert_eq!(trial["answered"], trial["scheduled"], "{trial:#}");
    trial
}

#[test]
fn the_flags_of_tls() {
    let identity = identity();
    let server = TlsServer::start(identity.config(&BOTH), TlsScript::Echo);
    let address = server.address.to_string();
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.into_os_string().into_string().unwrap()
    };
    let (authority, empty) = (
        file("ca.pem", &identity.pem),
        file("empty.pem", "no certificate\n"),
    );
    let broken = file(
        "broken.pem",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    );
    for arguments in [
        &["--tls", "--ca-file", &authority][..],
        &[
            "--tls",
            "--ca-file",
            &authority,
            "--server-name",
            "localhost",
        ],
        &["--tls", "--insecure", "--no-resumption"],
    ] {
        let output = loadgen(&address, arguments);
        let trial = answered(&output);
        assert_eq!(trial["tls_us"]["count"], 2, "{arguments:?}: {trial:#}");
    }
    let http = TlsServer::start(identity.config(&BOTH), TlsScript::Http(OK));
    let url = format!("https://{}/", http.address);
    let output = loadgen(&url, &["--ca-file", &authority]);
    answered(&output);
    let said = String::from_utf8(loadgen(&url, &[]).stderr).unwrap();
    // Which of the two depends on whether this system trusts any authority.
    assert!(
        said.contains("--ca-file") && said.contains("trust"),
        "{said}"
    );
    let missing = dir.path().join("missing.pem");
    let missing = missing.to_str().unwrap();
    for (arguments, code, hint) in [
        (&["--insecure"][..], 2, "need --tls"),
        (&["--tls", "--ca-file", missing], 2, "No such file"),
        (&["--tls", "--ca-file", &empty], 2, "no certificate in it"),
        (&["--tls", "--ca-file", &broken], 2, "cannot be used"),
        (&["--tls", "--server-name", "no name"], 2, "not a name"),
        (
            &[
                "--tls",
                "--ca-file",
                &authority,
                "--server-name",
                "example.org",
            ],
            1,
            "--server-name",
        ),
        (&[], 1, "speaks TLS"),
    ] {
        let output = loadgen(&address, arguments);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
        assert!(said.contains(hint), "{arguments:?}: {said}");
        if code == 1 {
            assert_eq!(said.lines().count(), 1, "{said}");
        }
    }
    let socket = format!("unix:{}", Path::new(missing).display());
    let said = String::from_utf8(loadgen(&socket, &["--tls"]).stderr).unwrap();
    assert!(said.contains("--server-name"), "{said}");
}
