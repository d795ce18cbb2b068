//! A panic for which there is no memory ends the process: it does not hang.
//!
//! This program is also the server that panics: `panic_without_memory --listen 127.0.0.1:0`.

use std::error::Error;
use std::io::Read;
use std::process::{Command, ExitCode, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, setrlimit};
use serverkit::{Context, Limits, Model, NoFlags};

const PATIENCE: Duration = Duration::from_secs(20);

const MODEL: Model<NoFlags> = Model {
    name: "panicking",
    family: "none",
    summary: "It panics when all memory is used up",
    limits: |_, _| Limits {
        clients: 0,
        why: String::new(),
    },
};

fn serve(_: &'static Context, _: NoFlags) -> anyhow::Result<()> {
    setrlimit(Resource::RLIMIT_AS, 0, 0)?;
    for size in (4..=16).rev().map(|power| 1 << power) {
        let mut piece = Vec::<u8>::new();
        while piece.try_reserve_exact(size).is_ok() {
            std::mem::forget(std::mem::take(&mut piece));
        }
    }
    panic!("as the test wants it");
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    if std::env::args().any(|argument| argument == "--listen") {
        return Ok(serverkit::main(&MODEL, serve));
    }
    let mut server = Command::new(std::env::current_exe()?)
        .args(["--listen", "127.0.0.1:0"])
        .env("RUST_BACKTRACE", "1")
        .stderr(Stdio::piped())
        .spawn()?;
    let begin = Instant::now();
    let status = loop {
        if let Some(status) = server.try_wait()? {
            break status;
        }
        if begin.elapsed() > PATIENCE {
            server.kill()?;
            server.wait()?;
            panic!("it hangs");
        }
        thread::sleep(Duration::from_millis(10));
    };
    let mut said = String::new();
    let stderr = server.stderr.as_mut().ok_or("it has no stderr")?;
    stderr.read_to_string(&mut said)?;
    assert!(!status.success());
    assert!(said.contains("as the test wants it"), "{said}");
    Ok(ExitCode::SUCCESS)
}
