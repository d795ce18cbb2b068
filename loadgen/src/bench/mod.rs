//! The bench: every server of a line-up under every load of a profile, in turns, each trial with a
//! fresh process. What finishes is on disk at once, so an interrupted bench loses nothing and goes on.

mod progress;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use anyhow::{Context, bail, ensure};
use nix::sys::resource::{Resource, getrlimit};
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use supervisor::keeper;

use crate::cli::run::{Usage, directory_name, parse_positive_duration};
use crate::engine::{self, Interrupted, Observer, Phase};
use crate::measure::interrupt::{self, Interrupt};
use crate::observe::keep_awake::KeepAwake;
use crate::observe::machine::{Machine, allowed_cpus, shortcomings, wait_until_quiet};
use crate::observe::watch::Watch;
use crate::process::{Server, StartError, Stopped};
use crate::recording::record::Recording;
use crate::report::files;
use crate::report::summary::{Section, Summary, head_text};
use crate::report::table::{self, Style, words};
use crate::results::directory::{NoResult, PointDir, Run, RunDir, Settings, Status};
use crate::results::trial::{self, SCHEMA_VERSION, Trial, Verdict};
use crate::workload::scenario::{Point, Profile, Scenario, ServerEntry};

use crate::servers::contestant::Contestant;
use progress::Progress;

/// How often an INVALID trial is repeated.
const REPEATS: usize = 2;
/// How long a server may take to get ready, and to end on SIGTERM: its own grace is 5 s.
const PATIENCE: Duration = Duration::from_secs(7);
/// How long the machine is given to become quiet before a trial; half of it after each time in vain.
const QUIET_LIMIT: Duration = Duration::from_secs(2);
/// Descriptors of the generator beside its connections.
const SPARE_DESCRIPTORS: u64 = 64;
/// The exit code of `--strict` with an INVALID result.
const EXIT_INVALID: u8 = 3;

/// The orders of `loadgen bench`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  loadgen bench                                    two minutes, a rough idea
  loadgen bench --profile standard                 several trials, with spread
  loadgen bench --servers epoll,poll --scenarios idle
  loadgen bench --scenario-file mine.toml --out results/mine
  loadgen bench --resume results/latest            goes on after an interruption

Exit codes: 0 done, 1 it could not be done, 2 bad usage, 3 --strict and an INVALID result, 130 interrupted.")]
pub struct BenchArgs {
    /// Which scenarios, how often and how long: quick, standard or full
    #[arg(long, value_name = "NAME", default_value = "quick", value_parser = ["quick", "standard", "full"])]
    profile: String,
    /// A profile of your own (TOML; the built-in ones are in loadgen/scenarios)
    #[arg(long, value_name = "FILE", conflicts_with = "profile")]
    scenario_file: Option<PathBuf>,
    /// Only these rows of the line-up, such as epoll,poll
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    servers: Vec<String>,
    /// Only these scenarios, such as ping,idle
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    scenarios: Vec<String>,
    /// Trials of each point, whatever the profile says
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    trials: Option<u32>,
    /// The measured time of each trial, whatever the profile says, such as 5s
    #[arg(long, value_name = "DURATION", value_parser = parse_positive_duration)]
    duration: Option<Duration>,
    /// Of the order of the trials, their schedules and payloads
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Where the results go [default: results/<UTC time>]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Continue an interrupted bench with what it was asked then
    #[arg(long, value_name = "DIR", conflicts_with_all = [
        "profile", "scenario_file", "servers", "scenarios", "trials", "duration", "seed", "out",
        "servers_dir", "server_cpus", "generator_cpus", "no_keep_awake",
    ])]
    resume: Option<PathBuf>,
    /// Where to look for servers that are not beside loadgen
    #[arg(long, value_name = "DIR")]
    servers_dir: Option<PathBuf>,
    /// The cores of the servers, such as 1,2 [default: all but the generator's]
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    server_cpus: Vec<usize>,
    /// The cores of the generator, a thread on each [default: the first]
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    generator_cpus: Vec<usize>,
    /// Let idle cores sleep: each wake-up then enters the figures
    #[arg(long)]
    no_keep_awake: bool,
    /// Exit with 3 when a result stays INVALID
    #[arg(long)]
    strict: bool,
}

impl BenchArgs {
    /// Runs the bench to its end, or until it is interrupted.
    ///
    /// # Errors
    /// When the orders contradict the profile, or the results cannot be written.
    pub fn run(&self) -> anyhow::Result<ExitCode> {
        // First of all: the threads that are started later inherit that signals are held back.
        let mut interrupt = Interrupt::new()?;
        keeper::start();
        let (directory, run) = match &self.resume {
            Some(path) => resumed(path)?,
            None => self.begin()?,
        };
        let mut bench = Bench::new(&directory, &run, &mut interrupt)?;
        let end = bench.run();
        let progress = bench.progress;
        progress.finish();

        let summary = Summary::read(&directory, &run)?;
        let written = files::write(&directory, &summary);
        let path = directory.path().display();
        // What ended the bench is the cause of all that follows.
        let style = Style::of_stdout();
        if end? == Done::Interrupted {
            written?;
            style.print(&format!(
                "Interrupted; what finished is in {path}. Go on with: loadgen bench --resume {path}\n"
            ))?;
            return Ok(ExitCode::from(interrupt::EXIT_CODE));
        }
        written?;
        style.print(&format!(
            "{}\n\n{}\n\nResults: {path}/report.html (charts, for a browser), summary.md and summary.csv, and each trial's histograms beside them.\n",
            summary.sentences().join("\n"),
            table::legend(style),
        ))?;
        if self.strict && summary.any_invalid() {
            return Ok(ExitCode::from(EXIT_INVALID));
        }
        Ok(ExitCode::SUCCESS)
    }

    /// Makes the directory of a new run.
    fn begin(&self) -> anyhow::Result<(RunDir, Run)> {
        let mut profile = match &self.scenario_file {
            Some(path) => Profile::read(path),
            None => Profile::built_in(&self.profile),
        }
        .map_err(|error| usage(&error))?;
        // `--servers ""` asks for all, as `make bench` does with an unset variable.
        let named = |names: &[String]| -> Vec<String> {
            names
                .iter()
                .map(|name| name.trim().to_owned())
                .filter(|name| !name.is_empty())
                .collect()
        };
        let (servers, scenarios) = (named(&self.servers), named(&self.scenarios));
        profile
            .keep_servers(&servers)
            .map_err(|error| usage(&error))?;
        profile
            .keep_scenarios(&scenarios)
            .map_err(|error| usage(&error))?;
        let (generator_cpus, server_cpus) = self.cpus().map_err(|error| usage(&error))?;

        let clients = profile
            .scenarios
            .iter()
            .flat_map(|scenario| &scenario.points)
            .map(Point::clients)
            .max();
        let started = directory_name(SystemTime::now());
        let run = Run {
            schema_version: SCHEMA_VERSION,
            loadgen: env!("CARGO_PKG_VERSION").to_owned(),
            started: started.clone(),
            command: std::env::args().collect(),
            machine: Machine::here(),
            shortcomings: shortcomings(clients.unwrap_or(0)),
            settings: Settings {
                servers,
                scenarios,
                trials: self.trials.map_or(profile.trials, |trials| trials as usize),
                duration_s: self.duration.map(|duration| duration.as_secs_f64()),
                seed: self.seed,
                keep_awake: !self.no_keep_awake,
                server_cpus,
                generator_cpus,
                servers_dir: match &self.servers_dir {
                    Some(path) => Some(std::path::absolute(path)?),
                    None => None,
                },
            },
            scenario_files: profile.files,
        };
        if let Some(path) = &self.out {
            return Ok((RunDir::create(path, &run)?, run));
        }
        let directory = RunDir::create(&Path::new("results").join(started), &run)?;
        directory.link_latest()?;
        Ok((directory, run))
    }

    /// The cores of the generator and of the servers: apart where there are two or more.
    fn cpus(&self) -> anyhow::Result<(Vec<usize>, Vec<usize>)> {
        let allowed = allowed_cpus();
        let known = |cpus: &[usize], what: &str| {
            let unknown = cpus.iter().find(|cpu| !allowed.contains(cpu));
            ensure!(
                unknown.is_none(),
                "--{what}: core {} is not among those that may be used here: {allowed:?}",
                unknown.unwrap_or(&0)
            );
            Ok(())
        };
        known(&self.generator_cpus, "generator-cpus")?;
        known(&self.server_cpus, "server-cpus")?;
        let first_other = allowed.iter().find(|cpu| !self.server_cpus.contains(cpu));
        let generator = match (self.generator_cpus.as_slice(), first_other) {
            ([], Some(&cpu)) if allowed.len() > 1 => vec![cpu],
            (cpus, _) => cpus.to_vec(),
        };
        let server = match self.server_cpus.as_slice() {
            [] if !generator.is_empty() => allowed
                .into_iter()
                .filter(|cpu| !generator.contains(cpu))
                .collect(),
            cpus => cpus.to_vec(),
        };
        Ok((generator, server))
    }
}

/// What the user asked for cannot be done.
fn usage(error: &anyhow::Error) -> Usage {
    Usage(format!("{error:#}"))
}

/// Opens the directory of a run that was interrupted.
fn resumed(path: &Path) -> anyhow::Result<(RunDir, Run)> {
    let (directory, run) = RunDir::open(path)?;
    if let Some(difference) = run.machine.difference(&Machine::here()) {
        bail!(
            "{} was begun on another machine than this ({difference})",
            path.display()
        );
    }
    Ok((directory, run))
}

/// How a bench came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Done {
    /// All was done.
    Everything,
    /// The user asked to end.
    Interrupted,
}

struct Bench<'a> {
    directory: &'a RunDir,
    run: &'a Run,
    servers: Vec<ServerEntry>,
    scenarios: Vec<Scenario>,
    contestants: Vec<Contestant>,
    progress: Progress,
    interrupt: &'a mut Interrupt,
    keep_awake: KeepAwake,
    quiet_limit: Duration,
    /// The limit of descriptors that this bench was given.
    descriptors: u64,
}

impl<'a> Bench<'a> {
    fn new(
        directory: &'a RunDir,
        run: &'a Run,
        interrupt: &'a mut Interrupt,
    ) -> anyhow::Result<Self> {
        let profile = run.profile()?;
        let settings = &run.settings;
        let launcher = std::env::current_exe().context("cannot find loadgen's own program")?;
        let find = |entry: &ServerEntry| Contestant::find(entry.clone(), &launcher, settings);
        let contestants: Vec<Contestant> = profile.servers.iter().map(find).collect();
        // The servers do not inherit this: the launcher gives them what it was.
        let (descriptors, _) = getrlimit(Resource::RLIMIT_NOFILE)?;
        engine::raise_descriptor_limit()?;
        let points = profile
            .scenarios
            .iter()
            .flat_map(|scenario| &scenario.points);
        let planned: Duration = points.map(Progress::planned).sum();
        let trials = settings.trials.saturating_mul(contestants.len());
        let trials = u32::try_from(trials).unwrap_or(u32::MAX);
        let cpus = if settings.keep_awake {
            allowed_cpus()
        } else {
            Vec::new()
        };
        Ok(Self {
            directory,
            run,
            servers: profile.servers,
            scenarios: profile.scenarios,
            contestants,
            progress: Progress::new(planned.saturating_mul(trials)),
            interrupt,
            keep_awake: KeepAwake::on(&cpus),
            quiet_limit: QUIET_LIMIT,
            descriptors,
        })
    }

    fn run(&mut self) -> anyhow::Result<Done> {
        let style = Style::of_stdout();
        let head = head_text(self.run, &self.servers);
        self.progress.apart(|| style.print(&format!("{head}\n")))?;
        let scenarios = std::mem::take(&mut self.scenarios);
        let points: Vec<(&Scenario, &Point)> = scenarios
            .iter()
            .flat_map(|scenario| scenario.points.iter().map(move |point| (scenario, point)))
            .collect();
        for (scenario, point) in &points {
            self.excuse(scenario, point)?;
        }
        // Round by round: a machine has spells of minutes, which no trial of the same minute tells of.
        for number in 1..=self.run.settings.trials {
            for (scenario, point) in &points {
                let done = self.round(scenario, point, number)?;
                if done == Done::Interrupted || number == self.run.settings.trials {
                    let section = Section::read(self.directory, &self.servers, scenario, point)?;
                    let text = table::for_section(&section, style);
                    self.progress.apart(|| style.print(&format!("{text}\n")))?;
                }
                if done == Done::Interrupted {
                    return Ok(done);
                }
            }
        }
        Ok(Done::Everything)
    }

    fn place(&self, at: usize, scenario: &Scenario, point: &Point) -> PointDir {
        let server = self.contestants[at].name();
        self.directory.point(&scenario.name, server, &point.name)
    }

    /// Writes which servers have no figures at a point, and why.
    fn excuse(&self, scenario: &Scenario, point: &Point) -> anyhow::Result<()> {
        for (at, contestant) in self.contestants.iter().enumerate() {
            let place = self.place(at, scenario, point);
            // What failed before an interruption is tried again.
            place.remove_no_result();
            if let Some(reason) = not_here(point).or_else(|| contestant.excuse(scenario, point)) {
                place.write_no_result(&reason)?;
            }
        }
        Ok(())
    }

    /// A trial of each server at one point, in random order.
    fn round(&mut self, scenario: &Scenario, point: &Point, number: usize) -> anyhow::Result<Done> {
        let seed = mix(
            self.run.settings.seed,
            &(&scenario.name, &point.name, number),
        );
        let mut order: Vec<usize> = (0..self.contestants.len()).collect();
        order.shuffle(&mut StdRng::seed_from_u64(seed));
        for at in order {
            let place = self.place(at, scenario, point);
            if place.no_result()?.is_none() && place.trial(number)?.is_none() {
                let name = self.contestants[at].name();
                self.progress
                    .tell(scenario, point, name, number, self.run.settings.trials);
                match self.trial(at, scenario, point, &place, number, seed)? {
                    Done::Everything => {}
                    Done::Interrupted => return Ok(Done::Interrupted),
                }
            }
            self.progress.advance(Progress::planned(point));
        }
        Ok(Done::Everything)
    }

    /// One trial, repeated while it is INVALID, and written.
    fn trial(
        &mut self,
        at: usize,
        scenario: &Scenario,
        point: &Point,
        place: &PointDir,
        number: usize,
        seed: u64,
    ) -> anyhow::Result<Done> {
        let mut earlier = Vec::new();
        loop {
            match self.attempt(at, scenario, point, seed) {
                Attempt::Measured(mut trial, recording) => {
                    if trial.verdict == Verdict::Invalid && earlier.len() < REPEATS {
                        earlier.push(words(&trial.causes));
                        continue;
                    }
                    if let Some(causes) = earlier.last() {
                        trial
                            .notes
                            .push(format!("repeated: {} earlier, {causes}", earlier.len()));
                    }
                    trial::write(place.path(), number, &trial, &recording)?;
                }
                Attempt::Failed(reason) => {
                    let reason = format!("{reason} (trial {number})");
                    place.write_no_result(&NoResult {
                        status: Status::Failed,
                        reason,
                    })?;
                }
                Attempt::Interrupted => return Ok(Done::Interrupted),
            }
            return Ok(Done::Everything);
        }
    }

    fn attempt(&mut self, at: usize, scenario: &Scenario, point: &Point, seed: u64) -> Attempt {
        let settings = &self.run.settings;
        let quiet = wait_until_quiet(&self.keep_awake, self.run.machine.cores, self.quiet_limit);
        self.quiet_limit = if quiet {
            QUIET_LIMIT
        } else {
            self.quiet_limit / 2
        };
        let contestant = &self.contestants[at];
        let launch = match contestant.launch(scenario, point, self.descriptors, PATIENCE) {
            Ok(launch) => launch,
            Err(error) => return Attempt::Failed(format!("{error:#}")),
        };
        let mut server = match Server::start(&launch, &mut || self.interrupt.pending()) {
            Ok(server) => server,
            Err(StartError::Interrupted) => return Attempt::Interrupted,
            Err(error) => return Attempt::Failed(error.to_string()),
        };
        let workload = point.workload(server.address(), settings.generator_cpus.clone(), seed);
        let mut observer = Watching {
            watch: Watch::new(&self.keep_awake, Some(server.meter())),
            interrupt: self.interrupt,
        };
        let recording = engine::run(&workload, &mut observer);
        let trial = recording.map(|recording| {
            let (costs, machine) = observer.watch.result(recording.counts.in_time);
            let trial = Trial::new(&workload, &recording, costs, machine);
            (trial, recording)
        });
        if trial.as_ref().is_err_and(anyhow::Error::is::<Interrupted>) {
            // Of this trial nothing is kept: the server is killed, and nobody waits for it.
            return Attempt::Interrupted;
        }
        match (trial, server.stop(PATIENCE)) {
            (_, Stopped::Before(how)) => Attempt::Failed(format!("died: {how}")),
            (Err(error), _) => Attempt::Failed(format!("{error:#}")),
            (Ok((mut trial, recording)), stopped) => {
                match stopped {
                    Stopped::Killed => trial
                        .notes
                        .push("the server ignored SIGTERM and was killed".to_owned()),
                    Stopped::Badly(how) => {
                        trial.notes.push(format!("the server stopped badly: {how}"));
                    }
                    Stopped::Gracefully | Stopped::Before(_) => {}
                }
                Attempt::Measured(Box::new(trial), Box::new(recording))
            }
        }
    }
}

enum Attempt {
    Measured(Box<Trial>, Box<Recording>),
    Failed(String),
    Interrupted,
}

/// Takes the readings and asks for an interrupt.
struct Watching<'a, 'b> {
    watch: Watch<'a>,
    interrupt: &'b mut Interrupt,
}

impl Observer for Watching<'_, '_> {
    fn phase(&mut self, phase: Phase) {
        self.watch.phase(phase);
    }

    fn cancelled(&mut self) -> bool {
        self.interrupt.pending()
    }
}

/// Why nobody can be measured at a point on this machine.
fn not_here(point: &Point) -> Option<NoResult> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).ok()?;
    let needed = point.clients() as u64 + SPARE_DESCRIPTORS;
    (hard < needed).then(|| NoResult {
        status: Status::NotApplicable,
        reason: format!(
            "the generator needs {needed} descriptors, the hard limit here is {hard} (ulimit -Hn)"
        ),
    })
}

/// A seed for a part of the bench.
fn mix(seed: u64, part: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    (seed, part).hash(&mut hasher);
    hasher.finish()
}
