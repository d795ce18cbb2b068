//! The message of a server that cannot get its requests.

use std::process::Command;

fn refused(entries: u64) -> String {
    let ended = Command::new(env!("CARGO_BIN_EXE_aio-server"))
        .args(["--listen", "127.0.0.1:0", "--entries"])
        .arg(entries.to_string())
        .output()
        .expect("it starts");
    assert_eq!(ended.status.code(), Some(1));
    assert!(ended.stdout.is_empty(), "it is not ready");
    let told = String::from_utf8(ended.stderr).expect("text");
    assert_eq!(told.lines().count(), 1, "{told}");
    told
}

#[test]
fn more_requests_than_the_system_allows_are_refused_in_one_line() {
    let limit = std::fs::read_to_string("/proc/sys/fs/aio-max-nr");
    // Without the file the kernel has no AIO, and the server says so.
    let limit: u64 = limit.map_or(65_536, |limit| limit.trim().parse().expect("a number"));
    if limit < 1 << 22 {
        let told = refused(limit.max(2) + 1);
        assert!(told.contains("Linux AIO is not available"), "{told}");
        assert!(
            told.contains("fs.aio-max-nr") || told.contains("Function not implemented"),
            "{told}"
        );
    }
}
