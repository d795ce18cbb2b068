//! Starts servers that behave well and badly, recognises which they are, and ends them.
//!
//! This program is also those servers: `serve BEHAVIOUR`.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test reads what its servers print"
)]

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use libtest_mimic::{Arguments, Trial};
use nix::sched::{CpuSet, sched_getaffinity};
use nix::sys::signal::{SigSet, Signal};
use nix::unistd::{Pid, geteuid};
use procfs::process::Process;
use supervisor::limit::{Limit, Resource, set_soft};
use supervisor::{Launch, Ready, StartError, Stopped};

const LONG: Duration = Duration::from_secs(20);
const READY: &str = "listening on 127.0.0.1:7";

fn main() -> ExitCode {
    supervisor::run_helper_if_asked();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [first, behaviour, rest @ ..] = arguments.as_slice()
        && first == "serve"
    {
        serve(behaviour, rest);
        return ExitCode::SUCCESS;
    }
    let tests: &[(&str, fn())] = &[
        (
            "a_ready_server_tells_its_address_and_stops_on_sigterm",
            ready_and_stopped,
        ),
        (
            "a_server_gets_its_own_limits_core_and_user",
            limits_core_and_user,
        ),
        ("a_limit_changes_while_the_server_runs", limit_changes),
        (
            "a_server_that_ignores_sigterm_is_killed_with_its_children",
            ignores_sigterm,
        ),
        (
            "a_server_is_not_waited_for_when_the_user_gives_up",
            is_not_waited_for_when_the_user_gives_up,
        ),
        (
            "a_server_that_dies_before_it_is_ready_says_how",
            dies_before_ready,
        ),
        (
            "a_server_that_dies_later_is_told_apart_from_one_that_stops",
            dies_later,
        ),
        ("a_server_that_fails_at_its_end_is_told", fails_at_its_end),
        (
            "what_a_server_leaves_behind_is_counted_and_killed",
            leaves_a_child,
        ),
        ("another_line_than_the_ready_line_is_shown", wrong_line),
        (
            "a_server_that_never_gets_ready_is_given_up_and_ended",
            never_ready,
        ),
        ("an_interrupt_ends_the_wait", interrupted),
        ("a_missing_program_is_named", missing_program),
        (
            "a_foreign_server_is_ready_when_its_port_accepts",
            foreign_server,
        ),
        (
            "a_server_ignores_no_signal_because_its_supervisor_does",
            ignores_nothing,
        ),
        ("a_process_is_held_before_its_program_runs", held),
        ("no_server_outlives_a_killed_supervisor", killed_supervisor),
    ];
    let tests = tests.iter().map(|&(name, test)| {
        Trial::test(name, move || {
            test();
            Ok(())
        })
    });
    libtest_mimic::run(&Arguments::from_args(), tests.collect()).exit_code()
}

fn serve(behaviour: &str, arguments: &[String]) {
    match behaviour {
        "well" => println!("{READY}"),
        "with-a-child" => {
            child();
            println!("{READY}");
        }
        "telling" => {
            let limits = Process::myself().and_then(|me| me.limits()).unwrap();
            let files = limits.max_open_files;
            let (soft, hard) = (files.soft_limit, files.hard_limit);
            println!("{soft:?} {hard:?} {:?} {}", cores(), geteuid());
        }
        "ignoring-sigterm" => {
            SigSet::all().thread_block().unwrap();
            child();
            println!("{READY}");
        }
        "dying" | "dying-before-its-child" => {
            if behaviour == "dying-before-its-child" {
                let mut child = Command::new("/proc/self/exe");
                // It holds its parent's standard output.
                child.args(["serve", "never"]).stderr(Stdio::null());
                drop(child.spawn().unwrap());
            }
            eprintln!("the port is taken");
            std::process::exit(7);
        }
        "aborting" => {
            println!("{READY}");
            std::process::abort();
        }
        "failing-at-the-end" | "leaving-a-child" => {
            SigSet::all().thread_block().unwrap();
            if behaviour == "leaving-a-child" {
                child();
            }
            println!("{READY}");
            SigSet::all().wait().unwrap();
            std::process::exit(if behaviour == "leaving-a-child" { 0 } else { 3 });
        }
        "saying" => println!("{}", arguments[0]),
        "saying-without-end" => while std::io::stdout().write_all(&[b'x'; 4096]).is_ok() {},
        "never" => eprintln!("{} waits for its database", std::process::id()),
        "foreign" => {
            let listener = TcpListener::bind(&arguments[0]).unwrap();
            listener.incoming().for_each(drop);
        }
        "supervising" => {
            let (server, _) = start("with-a-child").unwrap();
            let children = server.group().children();
            println!("{} {}", server.pid(), children[0]);
            std::thread::sleep(LONG);
        }
        "listing" => println!("ignores {:?}", ignored()),
        "listing-its-server" => {
            supervisor::hear_of_children().unwrap();
            let listed = start("listing").unwrap_err();
            println!("ignores {:?}, its server: {listed}", ignored());
            return;
        }
        "ending" => return,
        other => panic!("nobody serves {other}"),
    }
    std::thread::sleep(3 * LONG);
}

fn ignored() -> Vec<Signal> {
    Signal::iterator()
        .filter(|&signal| supervisor::is_ignored(signal))
        .collect()
}

/// A child of a server, which does not hold the server's pipes.
fn child() {
    let mut child = Command::new("/proc/self/exe");
    child.args(["serve", "never"]);
    child.stdout(Stdio::null()).stderr(Stdio::null());
    // The server does not wait for it: it is killed with the server's group.
    drop(child.spawn().unwrap());
}

fn launch(behaviour: &str, arguments: &[&str]) -> Launch {
    let program = std::env::current_exe().unwrap();
    let words = ["serve", behaviour]
        .into_iter()
        .chain(arguments.iter().copied());
    let command = std::iter::once(program.into()).chain(words.map(OsString::from));
    Launch::new(command.collect())
}

fn ready(launch: &Launch) -> Result<(supervisor::Process, SocketAddr), StartError> {
    launch.run()?.ready(Ready::Line, LONG, &mut || false)
}

fn start(behaviour: &str) -> Result<(supervisor::Process, SocketAddr), StartError> {
    ready(&launch(behaviour, &[]))
}

fn wait_until_gone(pid: i32) {
    let deadline = Instant::now() + LONG;
    // A zombie whose parent is init may be there for a moment.
    while Process::new(pid)
        .and_then(|process| process.stat())
        .is_ok_and(|stat| stat.state != 'Z')
    {
        assert!(Instant::now() < deadline, "process {pid} is still there");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn ready_and_stopped() {
    let (server, address) = start("well").unwrap();
    assert_eq!(address, SocketAddr::from(([127, 0, 0, 1], 7)));
    let pid = server.pid() as i32;
    assert_eq!(server.stop(LONG, &mut || false), Stopped::Gracefully);
    wait_until_gone(pid);
}

/// The cores that this process may use.
fn cores() -> Vec<usize> {
    let set = sched_getaffinity(Pid::from_raw(0)).unwrap();
    let all = 0..CpuSet::count();
    all.filter(|&cpu| set.is_set(cpu).unwrap()).collect()
}

/// Another user whom this process may become.
fn other_user() -> Option<u32> {
    const NOBODY: u32 = 65534;
    geteuid().is_root().then_some(NOBODY)
}

fn limits_core_and_user() {
    let mut launch = launch("telling", &[]);
    let core = *cores().last().unwrap();
    launch.orders.cpus = vec![core];
    launch.orders.limits = vec![Limit::hard(Resource::Descriptors, 77)];
    launch.orders.user = other_user();
    let user = other_user().unwrap_or(geteuid().as_raw());
    let told = format!("Value(77) Value(77) [{core}] {user}");
    let error = ready(&launch).unwrap_err();
    assert!(
        matches!(&error, StartError::WrongLine(line) if *line == told),
        "{error}"
    );
}

fn limit_changes() {
    for user in [None, other_user()] {
        let mut launch = launch("well", &[]);
        launch.orders.user = user;
        let (server, _) = ready(&launch).unwrap();
        let pid = server.pid() as i32;
        let before = set_soft(pid, Resource::Descriptors, Some(10)).unwrap();
        let lowered = set_soft(pid, Resource::Descriptors, before).unwrap();
        assert_eq!(lowered, Some(10));
    }
}

fn ignores_sigterm() {
    let (server, _) = start("ignoring-sigterm").unwrap();
    let children = server.group().children();
    assert_eq!(children.len(), 1);
    assert_eq!(
        server.stop(Duration::from_millis(50), &mut || false),
        Stopped::Killed
    );
    wait_until_gone(children[0].as_raw());
}

fn is_not_waited_for_when_the_user_gives_up() {
    let (server, _) = start("ignoring-sigterm").unwrap();
    let children = server.group().children();
    assert_eq!(server.stop(LONG, &mut || true), Stopped::Cancelled);
    wait_until_gone(children[0].as_raw());
}

fn dies_before_ready() {
    let error = start("dying").unwrap_err();
    assert_eq!(
        error.to_string(),
        "ended before it was ready: exit code 7: the port is taken"
    );
    let error = start("dying-before-its-child").unwrap_err();
    assert_eq!(
        error.to_string(),
        "ended before it was ready: exit code 7, 1 process left behind: the port is taken"
    );
}

fn dies_later() {
    let (server, _) = start("aborting").unwrap();
    wait_until_gone(server.pid() as i32);
    let stopped = server.stop(LONG, &mut || false);
    assert!(
        matches!(&stopped, Stopped::Before(how) if how.starts_with("SIGABRT")),
        "{stopped:?}"
    );
}

fn fails_at_its_end() {
    let (server, _) = start("failing-at-the-end").unwrap();
    assert_eq!(
        server.stop(LONG, &mut || false),
        Stopped::Badly("exit code 3".to_owned())
    );
}

fn leaves_a_child() {
    let (server, _) = start("leaving-a-child").unwrap();
    let child = server.group().children()[0];
    server.group().signal_leader(Signal::SIGTERM);
    let exit = server.wait(LONG).unwrap();
    assert_eq!(exit.to_string(), "exit code 0, 1 process left behind");
    assert_eq!(exit.stdout, format!("{READY}\n"));
    wait_until_gone(child.as_raw());
}

fn wrong_line() {
    for (line, shown) in [
        ("hello\u{1b}[31m", r"hello\u{1b}[31m"),
        ("listening on port 7000", "listening on port 7000"),
    ] {
        let error = ready(&launch("saying", &[line])).unwrap_err();
        assert!(
            matches!(&error, StartError::WrongLine(line) if line == shown),
            "{error}"
        );
    }
    let error = start("saying-without-end").unwrap_err();
    assert!(
        matches!(&error, StartError::WrongLine(line) if line.len() < 1000),
        "{error}"
    );
}

fn never_ready() {
    let server = launch("never", &[]).run().unwrap();
    let deadline = Instant::now() + LONG;
    while server.stderr().last_line().is_empty() {
        assert!(Instant::now() < deadline, "it says nothing");
        std::thread::sleep(Duration::from_millis(5));
    }
    let error = server.ready(Ready::Line, Duration::from_millis(300), &mut || false);
    let error = error.unwrap_err().to_string();
    let said = error
        .strip_prefix("was not ready within 300ms: ")
        .expect(&error);
    let pid = said.split(' ').next().unwrap().parse().unwrap();
    wait_until_gone(pid);
}

fn interrupted() {
    let server = launch("never", &[]).run().unwrap();
    let error = server.ready(Ready::Line, LONG, &mut || true).unwrap_err();
    assert!(matches!(error, StartError::Interrupted));
}

fn missing_program() {
    let error = ready(&Launch::new(vec!["/no/such/server".into()])).unwrap_err();
    let error = error.to_string();
    assert!(error.contains("cannot start /no/such/server"), "{error}");
}

fn foreign_server() {
    let address = supervisor::free_address();
    let server = launch("foreign", &[&address.to_string()]).run().unwrap();
    let ready = Ready::Port(address);
    let (server, there) = server.ready(ready, LONG, &mut || false).unwrap();
    assert_eq!(there, address);
    assert_eq!(server.stop(LONG, &mut || false), Stopped::Gracefully);
    // One that ends at once is not waited for.
    let server = launch("ending", &[]).run().unwrap();
    let error = server.ready(ready, LONG, &mut || false).unwrap_err();
    assert!(matches!(error, StartError::Ended(_)), "{error}");
    // Another program at the port is not taken for the server.
    let _other = TcpListener::bind(address).unwrap();
    let server = launch("never", &[]).run().unwrap();
    let soon = Duration::from_millis(300);
    let error = server.ready(ready, soon, &mut || false).unwrap_err();
    assert!(matches!(error, StartError::Silent(..)), "{error}");
}

/// A supervisor in a script's background, or one whose parent does not care for its children.
fn ignores_nothing() {
    let mut launch = launch("listing-its-server", &[]);
    let signals = [Signal::SIGHUP, Signal::SIGINT, Signal::SIGCHLD];
    launch.orders.inheritance.ignored = signals.map(|signal| signal as i32).to_vec();
    let exit = launch.run().unwrap().wait(LONG).unwrap();
    // The runtime ignores SIGPIPE in each Rust program.
    let told = "ignores [SIGHUP, SIGINT, SIGPIPE], its server: began with `ignores [SIGPIPE]`";
    assert!(exit.stdout.starts_with(told), "{}", exit.stdout);
}

fn held() {
    let held = launch("well", &[]).hold().unwrap();
    let pid = held.pid();
    let name = |pid: u32| loop {
        let words = Process::new(pid as i32).and_then(|process| process.cmdline());
        // There are none for a moment while a process changes its program.
        if let [name, ..] = words.unwrap().as_slice() {
            return name.clone();
        }
    };
    assert_eq!(name(pid), "supervisor-launcher");
    let server = held.release();
    let (server, _) = server.ready(Ready::Line, LONG, &mut || false).unwrap();
    assert_eq!(server.pid(), pid);
    let program = std::env::current_exe().unwrap();
    assert_eq!(name(pid), program.to_str().unwrap());
}

fn killed_supervisor() {
    let mut supervisor = Command::new(std::env::current_exe().unwrap())
        .args(["serve", "supervising"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let stdout = supervisor.stdout.take().unwrap();
    BufReader::new(stdout).read_line(&mut line).unwrap();
    let pids: Vec<i32> = line
        .split_whitespace()
        .map(|pid| pid.parse().unwrap())
        .collect();
    assert_eq!(pids.len(), 2, "{line}");
    supervisor.kill().unwrap();
    supervisor.wait().unwrap();
    pids.into_iter().for_each(wait_until_gone);
}
