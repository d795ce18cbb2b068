//! `loadgen timeline`: a picture of how a server waited.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Args;

use super::{Usage, overwriting};
use crate::console;
use crate::timeline::limit::limit;
use crate::timeline::play::play;
use crate::timeline::scene::{self, Scene};
use crate::timeline::span::Story;
use crate::timeline::svg::{Kind, LEAST_WIDTH, WIDTH};
use crate::timeline::trace::Trace;
use crate::timeline::{chrome, page, story, svg};

/// The flags of `loadgen timeline`.
#[derive(Debug, Args)]
#[command(after_help = format!("\
FILE is a trace that a server wrote with --trace-to. With --server a server is started, clients play a scene, and both \
sides are drawn: what the server did, and how long each client waited.

Scenes: {}. Or a file of your own: copy one of loadgen/scenes/.

Examples:
  loadgen timeline --server target/release/epoll-server
  loadgen timeline --server target/release/thread-pool-server --scene more-clients-than-workers --out pool.svg
  loadgen timeline --server target/release/polling-server --out polling.html -- --interval 20ms
  loadgen timeline trace.jsonl --from 1.2s --to 1.3s --out part.svg --chrome-trace perfetto.json", scene::names()))]
pub struct TimelineArgs {
    /// A trace: what a server wrote with --trace-to
    #[arg(
        value_name = "FILE",
        required_unless_present = "server",
        conflicts_with = "server"
    )]
    file: Option<PathBuf>,

    /// A server program of this workspace: it is started, and a scene is played with it
    #[arg(long, value_name = "PROGRAM")]
    server: Option<OsString>,

    /// What the clients do: a scene's name, or a TOML file
    #[arg(long, value_name = "NAME|FILE.toml", default_value = scene::DEFAULT, conflicts_with = "file")]
    scene: String,

    /// Where the picture is written: FILE.svg or FILE.html; may be given twice [default: timeline.svg and timeline.html]
    #[arg(short, long, value_name = "FILE", value_parser = picture)]
    out: Vec<Out>,

    /// Also write it in the Trace Event format, which Perfetto (ui.perfetto.dev) opens
    #[arg(long, value_name = "FILE")]
    chrome_trace: Option<PathBuf>,

    /// The width of the SVG in pixels
    #[arg(long, value_name = "PX", default_value_t = WIDTH, value_parser = clap::value_parser!(u32).range(i64::from(LEAST_WIDTH)..=10_000))]
    width: u32,

    /// Draw nothing before this time
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    from: Option<Duration>,

    /// Draw nothing after this time
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    to: Option<Duration>,

    /// Further flags of the server
    #[arg(last = true, value_name = "SERVER FLAGS", requires = "server")]
    flags: Vec<OsString>,
}

/// A picture that is asked for.
#[derive(Debug, Clone)]
enum Out {
    Svg(PathBuf),
    Page(PathBuf),
}

fn picture(text: &str) -> anyhow::Result<Out> {
    let path = Path::new(text);
    match path.extension().and_then(|end| end.to_str()) {
        Some("svg") => Ok(Out::Svg(path.into())),
        Some("html") => Ok(Out::Page(path.into())),
        _ => anyhow::bail!("expected FILE.svg or FILE.html"),
    }
}

impl TimelineArgs {
    /// Draws what is asked for, and says which files were written.
    ///
    /// # Errors
    /// When a trace or a scene cannot be read, a server cannot be started, or a file cannot be written.
    pub fn run(&self) -> anyhow::Result<ExitCode> {
        let scene = self.server.is_some().then_some(Path::new(&self.scene));
        let read = || self.file.as_deref().into_iter().chain(scene);
        if let Some(path) = &self.chrome_trace {
            overwriting::refuse("--chrome-trace", path, read())?;
        }
        for Out::Svg(path) | Out::Page(path) in &self.out {
            overwriting::refuse("--out", path, read())?;
        }
        let mut story = self.story()?;
        self.cut(&mut story)?;
        let mut written = Vec::new();
        if let Some(path) = &self.chrome_trace {
            write(path, &chrome::text(&story)?, &mut written)?;
        }
        limit(&mut story);
        let default = ["timeline.svg", "timeline.html"];
        let mut out = self.out.clone();
        if out.is_empty() && self.chrome_trace.is_none() {
            out = vec![Out::Svg(default[0].into()), Out::Page(default[1].into())];
        }
        for out in &out {
            match out {
                Out::Svg(path) => {
                    let picture = svg::draw(&story, self.width, Kind::File);
                    write(path, &picture.svg, &mut written)?;
                }
                Out::Page(path) => write(path, &page::render(&story)?, &mut written)?,
            }
        }
        console::print(&format!("wrote {}\n", written.join(", ")))?;
        Ok(ExitCode::SUCCESS)
    }

    fn story(&self) -> anyhow::Result<Story> {
        let Some(program) = &self.server else {
            let file = self.file.as_deref().unwrap_or(Path::new(""));
            let trace = Trace::read(file)?;
            return Ok(story::of_trace(&trace, "As the server saw it."));
        };
        let scene = Scene::find(&self.scene).map_err(|error| Usage(format!("{error:#}")))?;
        let played = play(&scene, program, &self.flags)?;
        Ok(story::of_scene(&played, &scene))
    }

    fn cut(&self, story: &mut Story) -> anyhow::Result<()> {
        if self.from.is_none() && self.to.is_none() {
            return Ok(());
        }
        let ns = |time: Duration| i64::try_from(time.as_nanos()).unwrap_or(i64::MAX);
        let from = self.from.map_or(story.from, ns);
        let to = self.to.map_or(story.to, ns).min(story.to);
        if from >= to {
            let last = crate::timeline::words::duration(story.to);
            return Err(Usage(format!(
                "there is nothing between --from and --to: the trace ends at {last}"
            ))
            .into());
        }
        story.keep(from, to);
        Ok(())
    }
}

fn write(path: &Path, text: &str, written: &mut Vec<String>) -> anyhow::Result<()> {
    let shown = path.display();
    std::fs::write(path, text).with_context(|| format!("cannot write {shown}"))?;
    written.push(shown.to_string());
    Ok(())
}
