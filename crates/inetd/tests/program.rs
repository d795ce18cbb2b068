//! The program's file changes or disappears while the server runs.

use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::fs::PermissionsExt;

use conformance::OwnServer;

/// The bytes that a client gets back.
fn echo(server: &OwnServer, message: &[u8]) -> Vec<u8> {
    let mut client = server.connect();
    let mut back = Vec::new();
    // These fail where the client was closed with its bytes unread.
    let _ = client.write_all(message);
    let _ = client.shutdown(Shutdown::Write);
    let _ = client.read_to_end(&mut back);
    back
}

/// One test: a file that is written while another thread forks cannot be executed.
#[test]
fn a_program_that_cannot_be_started_costs_its_client_and_a_removed_one_nobody() {
    let directory = tempfile::tempdir().expect("a directory");
    let program = directory.path().join("inetd-server");
    fs::copy(env!("CARGO_BIN_EXE_inetd-server"), &program).expect("a copy");
    let server = OwnServer::start(program.to_str().expect("text"), "");
    assert_eq!(echo(&server, b"before"), b"before");

    // Not even the superuser executes a file that nobody may execute.
    fs::set_permissions(&program, Permissions::from_mode(0o600)).expect("a file");
    for _ in 0..3 {
        assert_eq!(echo(&server, b"meanwhile"), b"");
    }
    fs::set_permissions(&program, Permissions::from_mode(0o700)).expect("a file");
    assert_eq!(echo(&server, b"after"), b"after");

    fs::remove_file(&program).expect("a file");
    assert_eq!(echo(&server, b"removed"), b"removed");

    let (stats, told) = server.stop();
    assert_eq!(told.lines().count(), 1, "{told}");
    assert!(told.contains("/proc/self/exe"), "{told}");
    assert_eq!(stats["accepted"], 6, "{stats}");
    assert_eq!(stats["closed"], 6, "{stats}");
    assert_eq!(stats["refused"], 3, "{stats}");
}
