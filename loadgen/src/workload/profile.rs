//! A profile (`quick`, `standard`, `full`, or a file of one's own): which servers, which loads, how often.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail, ensure};

use super::course::Course;
use super::line_up::ServerEntry;
use super::profile_file::{self, LineUpFile, OneLoad, ProfileFile};
use super::scenario::Scenario;
pub use super::sources::ScenarioFile;
use super::sources::{Sources, built_in};
use super::toml_text::from_toml;

/// A profile: its servers and its scenarios.
#[derive(Debug, Clone)]
pub struct Profile {
    /// One line that says what it is good for.
    pub about: String,
    /// Trials of each point.
    pub trials: usize,
    /// The rows.
    pub servers: Vec<ServerEntry>,
    /// The questions.
    pub scenarios: Vec<Scenario>,
    /// The files that it was read from.
    pub files: Vec<ScenarioFile>,
}

impl Profile {
    /// Reads the profile that is built in under this name.
    pub fn built_in(name: &str) -> anyhow::Result<Self> {
        let file = format!("{name}.toml");
        let text = built_in(&file).with_context(|| format!("there is no profile `{name}`"))?;
        Self::parse(&file, text, Sources::In(Path::new("")))
    }

    /// Reads a profile from a file.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let text = fs::read_to_string(path)
            .with_context(|| format!("cannot read the scenario file {}", path.display()))?;
        let directory = path.parent().unwrap_or(Path::new(""));
        Self::parse(&path.display().to_string(), &text, Sources::In(directory))
    }

    /// Reads a profile from the text of a file.
    pub fn of_text(file: &str, text: &str) -> anyhow::Result<Self> {
        Self::parse(file, text, Sources::In(Path::new("")))
    }

    /// A profile with these servers and a scenario for each of these loads, and its file with this name.
    pub fn of_loads(
        file: &str,
        servers: &[ServerEntry],
        loads: &[OneLoad],
    ) -> anyhow::Result<Self> {
        Self::of_text(file, &profile_file::of_loads(servers, loads)?)
    }

    /// Makes the profile of a run again, from the files that its `run.json` holds.
    pub fn from_kept(files: &[ScenarioFile]) -> anyhow::Result<Self> {
        let [profile, others @ ..] = files else {
            bail!("no scenario file was kept");
        };
        Self::parse(&profile.name, &profile.text, Sources::Kept(others))
    }

    fn parse(name: &str, text: &str, sources: Sources<'_>) -> anyhow::Result<Self> {
        let file: ProfileFile = from_toml(name, text)?;
        let mut files = vec![ScenarioFile::new(name, text.into())];
        let mut servers = Vec::new();
        if let Some(line_up) = &file.line_up {
            let text = sources.line_up(line_up).with_context(|| name.to_owned())?;
            servers = from_toml::<LineUpFile>(line_up, &text)?.server;
            files.push(ScenarioFile::new(line_up, text.into()));
        }
        servers.extend(file.server.iter().cloned());
        // All points of all scenarios see the same.
        let named = RefCell::new(BTreeMap::new());
        let scenarios = file.scenarios(name, text, &|path| {
            if let Some(bytes) = named.borrow().get(path) {
                return Ok(Vec::clone(bytes));
            }
            let bytes = sources.read(path)?;
            let path = path.to_owned();
            named.borrow_mut().insert(path, bytes.clone());
            Ok(bytes)
        })?;
        let named = named.into_inner().into_iter();
        files.extend(named.map(|(path, bytes)| ScenarioFile::new(&path.to_string_lossy(), bytes)));
        let profile = Self {
            about: file.about,
            trials: file.trials,
            servers,
            scenarios,
            files,
        };
        profile.check().with_context(|| name.to_owned())?;
        Ok(profile)
    }

    fn check(&self) -> anyhow::Result<()> {
        ensure!(self.trials > 0, "trials must be at least 1");
        ensure!(!self.scenarios.is_empty(), "there is no [[scenario]]");
        ensure!(
            !self.servers.is_empty(),
            "there is no [[server]] and no line_up"
        );
        let mut names = BTreeSet::new();
        for server in &self.servers {
            check_name("server", &server.name)?;
            ensure!(
                names.insert(&server.name),
                "the server `{}` is there twice",
                server.name
            );
            server
                .check()
                .with_context(|| format!("server `{}`", server.name))?;
        }
        let mut names = BTreeSet::new();
        for scenario in &self.scenarios {
            check_name("scenario", &scenario.name)?;
            ensure!(
                names.insert(&scenario.name),
                "the scenario `{}` is there twice",
                scenario.name
            );
            if let Some(standstill) = &scenario.standstill {
                ensure!(
                    !standstill.length.is_zero() && standstill.length < standstill.every,
                    "scenario `{}`: the length of a standstill must be above 0 and below `every`",
                    scenario.name
                );
            }
            let mut points = BTreeSet::new();
            for point in &scenario.points {
                ensure!(
                    points.insert(&point.name),
                    "scenario `{}`: the point `{}` is there twice",
                    scenario.name,
                    point.name
                );
            }
        }
        Ok(())
    }

    /// Keeps these servers (all if none is named), in the order of the line-up.
    pub fn keep_servers(&mut self, names: &[String]) -> anyhow::Result<()> {
        let known: Vec<String> = self
            .servers
            .iter()
            .map(|server| server.name.clone())
            .collect();
        check_known("server", names, &known)?;
        self.servers
            .retain(|server| names.is_empty() || names.contains(&server.name));
        Ok(())
    }

    /// Keeps these scenarios (all if none is named), in the order of the file.
    pub fn keep_scenarios(&mut self, names: &[String]) -> anyhow::Result<()> {
        let known: Vec<String> = self
            .scenarios
            .iter()
            .map(|scenario| scenario.name.clone())
            .collect();
        check_known("scenario", names, &known)?;
        self.scenarios
            .retain(|scenario| names.is_empty() || names.contains(&scenario.name));
        Ok(())
    }

    /// Replaces `{cores}` in the line-up by the number of cores that a server is given.
    pub fn set_server_cores(&mut self, cores: usize) {
        for server in &mut self.servers {
            for text in server.flags.iter_mut().chain([&mut server.about]) {
                *text = text.replace("{cores}", &cores.to_string());
            }
        }
    }

    /// Gives every point the same measured time, unless its stages or its recording have their own.
    pub fn set_duration(&mut self, duration: Duration) {
        for point in self
            .scenarios
            .iter_mut()
            .flat_map(|scenario| &mut scenario.points)
        {
            if point.workload.course == Course::Steady {
                point.workload.duration = duration;
            }
        }
    }
}

fn check_known(what: &str, names: &[String], known: &[String]) -> anyhow::Result<()> {
    match names.iter().find(|name| !known.contains(name)) {
        Some(name) => bail!(
            "there is no {what} `{name}`; there are {}",
            known.join(", ")
        ),
        None => Ok(()),
    }
}

/// Names are used as names of directories.
fn check_name(what: &str, name: &str) -> anyhow::Result<()> {
    let good = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    ensure!(
        name.chars().all(good) && name.starts_with(|c: char| c.is_ascii_alphanumeric()),
        "the {what} name `{name}` must be of letters, digits, `-`, `_` and `.`"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::load::Load;
    use crate::workload::scenario::Point;

    const SMALL: &str = r#"
line_up = "lineup.toml"
[[scenario]]
name = "ping"
question = "?"
"#;

    fn parse(text: &str) -> anyhow::Result<Profile> {
        Profile::parse("mine.toml", text, Sources::In(Path::new("")))
    }

    fn error(text: &str) -> String {
        format!("{:#}", parse(text).unwrap_err())
    }

    #[test]
    fn the_built_in_profiles_are_sound() {
        for (name, scenarios) in [("quick", 4), ("standard", 7), ("full", 7)] {
            let profile = Profile::built_in(name).unwrap();
            assert_eq!(profile.scenarios.len(), scenarios, "{name}");
            assert!(
                profile
                    .servers
                    .iter()
                    .any(|server| server.name == "epoll-edge")
            );
            assert_eq!(
                Profile::from_kept(&profile.files).unwrap().scenarios,
                profile.scenarios
            );
        }
        assert!(Profile::built_in("slow").is_err());
    }

    #[test]
    fn an_unknown_key_is_refused_with_its_line() {
        let text = error("trials = 3\n\nduratoin = \"1s\"\n");
        assert!(
            text.starts_with("mine.toml:3: unknown field `duratoin`"),
            "{text}"
        );
        let text = error(&format!("{SMALL}connection = 7\n"));
        assert!(
            text.starts_with("mine.toml:6: unknown field `connection`, is it `connections`?"),
            "{text}"
        );
        let text = error(&format!("{SMALL}vary = {{ rates = [1] }}\n"));
        assert!(
            text.starts_with("mine.toml:6: unknown field `rates`, is it `rate`?"),
            "{text}"
        );
        let text = error(&format!("{SMALL}[[server]]\nname = \"x\"\nport = 7\n"));
        assert!(
            text.starts_with("mine.toml:8: unknown field `port`"),
            "{text}"
        );
    }

    #[test]
    fn bad_values_are_refused_with_their_line_or_name() {
        let text = error(&format!("{SMALL}duration = \"soon\"\n"));
        assert!(
            text.starts_with("mine.toml:6: invalid value 'soon' for 'duration'"),
            "{text}"
        );
        let text = error("this is not toml");
        assert!(
            text.starts_with("mine.toml:1: ") && !text.contains('\n'),
            "{text}"
        );
        for (line, what) in [
            ("connections = 0", "'connections': must be at least 1"),
            ("rate = -1.0", "'rate': must be above 0"),
            ("rate = 1e300", "at most 1e9"),
            ("rate = nan", "at most 1e9"),
            ("churn = 1e300", "at most 1e9"),
            ("vary = { churn = [-1.0] }", "'churn': must be above 0"),
            ("warmup = \"40000 years\"", "a year at most"),
            ("duration = \"580000000000 years\"", "a year at most"),
            ("drain = \"40000 years\"", "a year at most"),
            ("pipeline = 1000000000000", "requests can be in flight"),
            ("pipeline = 2\nmode = \"once\"", "its own connection"),
            ("connections = 9223372036854775807", "at most 1048576"),
            ("vary = { idle = [2147483647] }", "at most 1048576"),
            ("connections = [1, 2]", "vary = { connections = [..] }"),
            ("connections = true", "a text or a number"),
            ("tls = 1", "tls must be true or false"),
            ("path = \"/a\"", "path needs a URL or mode http"),
            ("rate = 1\nstages = \"1/1s\"", "cannot be used with"),
            ("arrivals = \"constant\"", "<rate|stages|replay>"),
            ("mode = \"raw\"", "send 'PING"),
            (
                "mode = \"http\"\nbody_file = \"none.txt\"",
                "body_file none.txt: ",
            ),
            ("url = \"http://localhost:80800/\"", "no port"),
            ("url = \"http://localhost:8080/\"", "leave :8080 out"),
            ("goal = [\"p99<5ms\", \"failed\"]", "such as p99<5ms"),
            ("think = \"soon\"", "'think'"),
            ("help = true", "unknown field `help`"),
        ] {
            let text = error(&format!("{SMALL}{line}\n"));
            // A scenario's own line where none of its keys is to blame.
            let named = ["mine.toml:6: ", "mine.toml:7: ", "mine.toml:3: "];
            assert!(
                named.iter().any(|place| text.starts_with(place)),
                "{line}: {text}"
            );
            assert!(
                text.contains(what) && !text.contains('\n'),
                "{line}: {text}"
            );
        }
        for (line, what) in [
            (
                "vary = { idle = [5, 5] }",
                "the point `idle-5` is there twice",
            ),
            (
                "[[server]]\nname = \"epoll\"\ncrate = \"epoll\"",
                "the server `epoll` is there twice",
            ),
            (
                "[[server]]\nname = \"a/b\"\ncrate = \"epoll\"",
                "letters, digits",
            ),
            ("[[server]]\nname = \"x\"", "either `crate` or `command`"),
            (
                "[[server]]\nname = \"x\"\ncommand = [\"nc\"]",
                "{port} or {addr}",
            ),
        ] {
            let text = error(&format!("{SMALL}{line}\n"));
            assert!(
                text.starts_with("mine.toml: ") && text.contains(what),
                "{text}"
            );
        }
        assert!(error("line_up = \"mine\"").contains("no line-up `mine`"));
    }

    #[test]
    fn each_value_that_varies_is_a_point() {
        let profile = parse(&format!(
            "{SMALL}connections = 20\nvary = {{ idle = [0, 9], floods = [3], rate = [500.0] }}\n"
        ))
        .unwrap();
        let points = &profile.scenarios[0].points;
        let names: Vec<&str> = points.iter().map(|point| point.name.as_str()).collect();
        assert_eq!(names, ["idle-0", "idle-9", "floods-3", "rate-500"]);
        assert_eq!(
            points.iter().map(Point::clients).collect::<Vec<_>>(),
            [20, 29, 23, 20]
        );
        assert!(matches!(
            points[3].workload.load,
            Load::Open { rate: 500.0, .. }
        ));
        assert_eq!(points[1].workload.load, Load::Closed);
    }

    #[test]
    fn a_scenario_asks_what_a_run_can_ask() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("mine.toml");
        fs::write(directory.path().join("body.bin"), [0xff, 0]).unwrap();
        let text = format!(
            "{SMALL}url = 'https://user:secret@shop.test/items?all'\nheader = ['A: b', 'C: d']\n\
             body_file = 'body.bin'\nno_keep_alive = true\ninsecure = true\ntimeout = '2s'\n\
             goal = ['p99<5ms', 'failed<1%']\nstages = '0-10/1s,10/2s'\nconnections = '7'\n"
        );
        fs::write(&path, text).unwrap();
        let profile = Profile::read(&path).unwrap();
        fs::remove_file(directory.path().join("body.bin")).unwrap();
        // What it read is kept, so that it can be run and reported again.
        let again = Profile::from_kept(&profile.files).unwrap();
        assert_eq!(again.scenarios, profile.scenarios);

        let point = &profile.scenarios[0].points[0];
        let workload = point.workload("127.0.0.1:4711".parse().unwrap(), vec![0], 5);
        assert_eq!(workload.target.to_string(), "https://shop.test:4711");
        let name = workload.tls.unwrap().server_name;
        assert_eq!(name.to_str(), "shop.test");
        let request = &workload.http.requests[0];
        assert_eq!((&*request.method, &*request.path), ("POST", "/items?all"));
        assert_eq!(request.body, [0xff, 0]);
        assert_eq!(request.headers[..2], ["A: b", "C: d"]);
        assert!(request.has("authorization") && !workload.http.keep_alive);
        assert_eq!(workload.client.timeout, Some(Duration::from_secs(2)));
        assert_eq!(workload.duration, Duration::from_secs(3));
        assert_eq!((workload.connections, workload.seed), (7, 5));
        let goals: Vec<String> = point.goals.iter().map(ToString::to_string).collect();
        assert_eq!(goals, ["p99<5ms", "failed<1%"]);
    }

    #[test]
    fn every_crate_has_a_row() {
        let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates");
        let profile = Profile::built_in("quick").unwrap();
        for entry in fs::read_dir(crates).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let has_row = |server: &ServerEntry| server.package.as_ref() == Some(&name);
            assert!(
                profile.servers.iter().any(has_row),
                "crates/{name} is not in lineup.toml"
            );
        }
    }

    #[test]
    fn narrowing_names_what_there_is() {
        let mut profile = parse(SMALL).unwrap();
        let error = profile
            .keep_servers(&["epol".to_owned()])
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("`epol`") && error.contains("epoll-edge"),
            "{error}"
        );
        profile
            .keep_servers(&["poll".to_owned(), "epoll".to_owned()])
            .unwrap();
        assert_eq!(profile.servers.len(), 2);
        assert!(profile.keep_scenarios(&["pong".to_owned()]).is_err());
    }
}
