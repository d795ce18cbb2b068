//! The picture as SVG.

use std::fmt::Write as _;

use minijinja::HtmlEscape;

use super::axis::Axis;
use super::span::{Arrow, Errand, Lane, Span, State, Story, Who};
use super::summary::summary;
use super::words::{count, duration};

const STYLE: &str = include_str!("../../assets/timeline.css");

/// The width of a picture in docs, pixels.
pub const WIDTH: u32 = 800;
/// The narrowest picture that can be read, pixels.
pub const LEAST_WIDTH: u32 = 320;

/// Measures, pixels.
const MARGIN: f64 = 8.0;
const LINE: f64 = 17.0;
const LANE: f64 = 28.0;
const BOX: f64 = 19.0;
const BAR: f64 = 15.0;
/// Between the clients and the workers.
const APART: f64 = 12.0;
/// About the width of a letter.
const LETTER: f64 = 6.3;
/// About the width of a letter of a label.
const LABEL_LETTER: f64 = 5.9;
/// About the width of a bold one.
const BOLD: f64 = 7.3;
/// Bars that are narrower than this are drawn together with their neighbours.
const THINNEST: f64 = 0.8;
/// The least width of a bar, so that it can be seen.
const LEAST_SPAN: f64 = 1.2;
/// A bar that is wider than this needs an explanation in the legend.
const VISIBLE: f64 = 2.5;
/// With more arrows than this they would hide each other, so they are left out.
const MOST_ARROWS: usize = 400;
/// The page has more arrows, because it can be zoomed.
const ZOOM: f64 = 25.0;

/// What is made of a story.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A file of its own.
    File,
    /// A part of the page, whose script moves it.
    Page,
}

/// A picture.
pub struct Picture {
    /// The SVG.
    pub svg: String,
    /// Where the time axis changes its scale.
    pub points: Vec<(i64, f64)>,
    /// What a legend has to explain.
    pub states: Vec<State>,
    /// What is not drawn, in sentences.
    pub missing: Vec<String>,
}

/// Draws a story.
pub fn draw(story: &Story, width: u32, kind: Kind) -> Picture {
    let width = f64::from(width);
    let longest = story
        .lanes
        .iter()
        .map(|lane| lane.name.chars().count())
        .max();
    let left = (2.0 * MARGIN + longest.unwrap_or(0) as f64 * BOLD)
        .min(width / 3.0)
        .round();
    let room = width - left - MARGIN;
    let mut sheet = Sheet {
        axis: Axis::new(story.from, story.to, &story.moments, room),
        svg: String::new(),
        kind,
        left,
        width,
        labelled: Vec::new(),
        present: Vec::new(),
    };
    let missing = sheet.draw(story);
    Picture {
        states: sheet.unexplained(),
        missing,
        points: sheet.axis.points().to_vec(),
        svg: sheet.svg,
    }
}

struct Sheet {
    axis: Axis,
    svg: String,
    kind: Kind,
    left: f64,
    width: f64,
    /// States that a label explains, and all that were drawn.
    labelled: Vec<State>,
    present: Vec<State>,
}

impl Sheet {
    fn put(&mut self, text: std::fmt::Arguments) {
        // Writing to a string cannot fail.
        let _ = self.svg.write_fmt(text);
        self.svg.push('\n');
    }

    /// A text; the class says how it looks.
    fn text(&mut self, class: &str, x: f64, y: f64, text: &str) {
        let text = HtmlEscape(text);
        self.put(format_args!(
            "<text class=\"{class}\" x=\"{x:.0}\" y=\"{y:.0}\">{text}</text>"
        ));
    }

    fn x(&self, t: i64) -> f64 {
        self.left + self.axis.x(t)
    }

    /// Draws all of it. Returns what is missing.
    fn draw(&mut self, story: &Story) -> Vec<String> {
        let mut y = MARGIN;
        let about = self.folded(&story.about);
        if self.kind == Kind::File {
            y += LINE;
            self.text("title", MARGIN, y - 4.0, &story.title);
            for line in &about {
                y += LINE;
                self.text("about", MARGIN, y - 4.0, line);
            }
            y += 6.0;
        }
        let top = y;
        let mut middles = Vec::new();
        let mut before = None;
        for lane in &story.lanes {
            let is_client = matches!(lane.who, Who::Client(_));
            if before == Some(true) && lane.who == Who::Worker {
                y += APART;
            }
            before = Some(is_client || before == Some(true) && lane.who == Who::Others);
            middles.push(y + LANE / 2.0);
            y += LANE;
        }
        let bottom = y;
        self.grid(top, bottom);
        if let Some(stop) = story.stop {
            self.stop(stop, top, bottom);
        }
        // Lines below bars, bars below arrows, and text above all.
        let mut labels = String::new();
        for (lane, &middle) in story.lanes.iter().zip(&middles) {
            self.lane(lane, middle, &mut labels);
        }
        let left_out = self.arrows(story, &middles);
        self.svg.push_str(&labels);
        for (lane, &middle) in story.lanes.iter().zip(&middles) {
            self.text("name", MARGIN, middle + 4.0, &lane.name);
        }
        y += LINE + 4.0;
        if self.kind == Kind::File {
            y = self.legend(y);
        }
        let mut notes = story.missing.clone();
        notes.extend(left_out);
        if self.kind == Kind::File {
            if self.axis.is_stretched() {
                notes.push("Busy moments are drawn wider than they last.".to_owned());
            }
            for line in self.folded(&notes.join(" ")) {
                y += LINE;
                self.text("note", MARGIN, y - 4.0, &line);
            }
        }
        self.wrap(story, y + MARGIN);
        notes
    }

    fn folded(&self, text: &str) -> Vec<String> {
        let columns = ((self.width - 2.0 * MARGIN) / LETTER) as usize;
        let lines = textwrap::wrap(text, columns.max(20));
        lines
            .into_iter()
            .map(std::borrow::Cow::into_owned)
            .collect()
    }

    /// The element around all that was drawn.
    fn wrap(&mut self, story: &Story, height: f64) {
        let (width, style) = (self.width, STYLE);
        let inside = std::mem::take(&mut self.svg);
        let title = HtmlEscape(&story.title);
        let what = summary(story);
        let what = HtmlEscape(&what);
        let size = match self.kind {
            Kind::File => format!(" width=\"{width:.0}\" height=\"{height:.0}\""),
            Kind::Page => format!(
                " id=\"picture\" tabindex=\"0\" data-left=\"{:.0}\"",
                self.left
            ),
        };
        self.put(format_args!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\"{size} role=\"img\" \
             aria-label=\"{title}: how it waited. {what}\">"
        ));
        if self.kind == Kind::File {
            self.put(format_args!("<style>{style}</style>"));
            self.put(format_args!(
                "<rect class=\"page\" width=\"100%\" height=\"100%\"/>"
            ));
        }
        self.put(format_args!("{DEFINITIONS}"));
        self.svg.push_str(&inside);
        self.put(format_args!("</svg>"));
    }

    fn grid(&mut self, top: f64, bottom: f64) {
        let ends = match self.kind {
            Kind::File => String::new(),
            Kind::Page => format!(" data-top=\"{top:.0}\" data-bottom=\"{:.0}\"", bottom + 3.0),
        };
        self.put(format_args!("<g class=\"grid\"{ends}>"));
        for (t, x) in self.axis.ticks() {
            let x = self.left + x;
            let text = if t == 0 { "0".to_owned() } else { tick(t) };
            let below = x.min(self.width - MARGIN - text.len() as f64 * LETTER / 2.0);
            self.put(format_args!(
                "<path d=\"M{x:.1} {top:.0}V{:.0}\"/><text x=\"{below:.1}\" y=\"{:.0}\">{text}</text>",
                bottom + 3.0,
                bottom + 15.0
            ));
        }
        self.put(format_args!("</g>"));
    }

    fn stop(&mut self, t: i64, top: f64, bottom: f64) {
        let x = self.x(t);
        let data = self.data(t, t, "The server is asked to stop (SIGTERM).");
        self.put(format_args!(
            "<path class=\"stop\" d=\"M{x:.1} {top:.0}V{bottom:.0}\"{data}/>"
        ));
        // Left of the line: at the end there is no room.
        let data = self.data(t, t, "");
        self.put(format_args!(
            "<text class=\"stopped\" x=\"{:.1}\" y=\"{:.0}\"{data}>SIGTERM</text>",
            x - 4.0,
            top + 9.0
        ));
    }

    /// What the page's script needs to know.
    fn data(&self, from: i64, to: i64, say: &str) -> String {
        match self.kind {
            Kind::File => String::new(),
            Kind::Page => format!(
                " data-a=\"{from}\" data-b=\"{to}\" data-say=\"{}\"",
                HtmlEscape(say)
            ),
        }
    }

    fn lane(&mut self, lane: &Lane, middle: f64, labels: &mut String) {
        let bars = lane.spans.iter().filter(|span| !span.state.is_line());
        let bars: Vec<(i64, i64)> = bars.map(|span| (span.from, span.to)).collect();
        for span in self.thinned(&lane.spans) {
            let (x0, x1) = (self.x(span.from), self.x(span.to));
            let class = span.state.class();
            let data = self.data(span.from, span.to, &span.say);
            if x1 - x0 > VISIBLE && !self.present.contains(&span.state) {
                self.present.push(span.state);
            }
            if span.state.is_line() {
                self.put(format_args!(
                    "<path class=\"{class}\" d=\"M{x0:.1} {middle:.0}H{:.1}\"{data}/>",
                    x1.max(x0 + LEAST_SPAN)
                ));
                let place = free((span.from, span.to), &bars, |t| self.x(t));
                self.label(&span, place, middle - 4.0, labels);
            } else {
                let height = if lane.who == Who::Worker { BOX } else { BAR };
                self.put(format_args!(
                    "<rect class=\"{class}\" x=\"{x0:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{height:.0}\"{data}/>",
                    middle - height / 2.0,
                    (x1 - x0).max(LEAST_SPAN)
                ));
                self.label(&span, (span.from, span.to), middle + 4.0, labels);
            }
        }
    }

    /// The longest of a span's labels for which there is room.
    fn label(&mut self, span: &Span, place: (i64, i64), y: f64, labels: &mut String) {
        let (x0, x1) = (self.x(place.0), self.x(place.1));
        let fits = |text: &&String| text.chars().count() as f64 * LABEL_LETTER + 4.0 <= x1 - x0;
        let text = span.labels.iter().find(fits);
        if text.is_some() && !self.labelled.contains(&span.state) {
            self.labelled.push(span.state);
        }
        let (class, x) = (span.state.class(), f64::midpoint(x0, x1));
        let data = match self.kind {
            Kind::File if text.is_none() => return,
            Kind::Page if span.labels.is_empty() => return,
            Kind::File => String::new(),
            Kind::Page => {
                let texts: Vec<_> = span
                    .labels
                    .iter()
                    .map(|text| text.replace('|', "/"))
                    .collect();
                let texts = texts.join("|");
                format!(
                    " data-a=\"{}\" data-b=\"{}\" data-texts=\"{}\"",
                    place.0,
                    place.1,
                    HtmlEscape(&texts)
                )
            }
        };
        let text = HtmlEscape(text.map_or("", |text| text));
        let _ = writeln!(
            labels,
            "<text class=\"on on-{class}\" x=\"{x:.1}\" y=\"{y:.0}\"{data}>{text}</text>"
        );
    }

    /// The spans of a lane, where those that are too thin to be seen are drawn as one.
    fn thinned(&self, spans: &[Span]) -> Vec<Span> {
        let zoom = if self.kind == Kind::Page { ZOOM } else { 1.0 };
        let mut thinned: Vec<Span> = Vec::new();
        // How many of them the last one stands for, if it is thin.
        let mut run = 0_u64;
        for span in spans {
            let (x0, x1) = (self.axis.x(span.from), self.axis.x(span.to));
            let is_thin = (x1 - x0) * zoom < THINNEST && !span.state.is_line();
            match thinned.last_mut() {
                Some(last)
                    if run > 0 && is_thin && (x0 - self.axis.x(last.to)) * zoom < THINNEST =>
                {
                    run += 1;
                    last.to = last.to.max(span.to);
                    if last.state != span.state {
                        last.state = State::Mixed;
                    }
                    last.labels.clear();
                    let long = duration(last.to - last.from);
                    last.say = format!(
                        "{} spans in a row, each too short to be drawn: {long}.",
                        count(run)
                    );
                }
                _ => {
                    thinned.push(span.clone());
                    run = u64::from(is_thin);
                }
            }
        }
        thinned
    }

    /// Draws the arrows. Returns what to say if there are too many.
    fn arrows(&mut self, story: &Story, middles: &[f64]) -> Option<String> {
        let most = if self.kind == Kind::Page {
            10 * MOST_ARROWS
        } else {
            MOST_ARROWS
        };
        if story.arrows.len() > most {
            return Some(format!(
                "The arrows are left out, because there are {}.",
                count(story.arrows.len() as u64)
            ));
        }
        for arrow in &story.arrows {
            self.arrow(arrow, story, middles);
        }
        None
    }

    fn arrow(&mut self, arrow: &Arrow, story: &Story, middles: &[f64]) {
        let ((t0, from), (t1, to)) = (arrow.from, arrow.to);
        let half = |lane: usize| match story.lanes[lane].who {
            Who::Worker => BOX / 2.0,
            _ => BAR / 2.0,
        };
        let down = if middles[to] > middles[from] {
            1.0
        } else {
            -1.0
        };
        let y0 = middles[from] + down * half(from);
        let y1 = middles[to] - down * half(to);
        let (x0, x1) = (self.x(t0), self.x(t1));
        let class = arrow.errand.class();
        let head = if arrow.errand == Errand::Answer {
            "answer"
        } else {
            "request"
        };
        let data = self.data(t0, t1, &arrow.say);
        self.put(format_args!(
            "<line class=\"{class}\" x1=\"{x0:.1}\" y1=\"{y0:.1}\" x2=\"{x1:.1}\" y2=\"{y1:.1}\" \
             marker-end=\"url(#{head})\"{data}/>"
        ));
    }

    /// The states that were drawn and are to be explained.
    fn unexplained(&self) -> Vec<State> {
        State::ALL
            .into_iter()
            .filter(|state| self.present.contains(state))
            .filter(|state| self.kind == Kind::Page || !self.labelled.contains(state))
            // A line between two ends needs no words.
            .filter(|state| *state != State::Open)
            .collect()
    }

    /// What the states mean that no label explains. Returns where it ends.
    fn legend(&mut self, mut y: f64) -> f64 {
        let unexplained = self.unexplained();
        if unexplained.is_empty() {
            return y;
        }
        y += LINE;
        let mut x = MARGIN;
        for state in unexplained {
            let text = state.meaning();
            let wide = 26.0 + text.len() as f64 * LETTER + 14.0;
            if x + wide > self.width && x > MARGIN {
                x = MARGIN;
                y += LINE;
            }
            let class = state.class();
            if state.is_line() {
                self.put(format_args!(
                    "<path class=\"{class}\" d=\"M{x:.0} {:.0}h20\"/>",
                    y - 8.0
                ));
            } else {
                self.put(format_args!(
                    "<rect class=\"{class}\" x=\"{x:.0}\" y=\"{:.0}\" width=\"20\" height=\"11\"/>",
                    y - 14.0
                ));
            }
            self.text("key", x + 26.0, y - 4.0, text);
            x += wide;
        }
        y
    }
}

/// The widest part of a line that no bar covers: from when to when. `x` is the place of a moment.
fn free(line: (i64, i64), bars: &[(i64, i64)], x: impl Fn(i64) -> f64) -> (i64, i64) {
    let mut best = (line.0, line.0);
    let mut begin = line.0;
    let bars = bars.iter().filter(|bar| bar.1 > line.0 && bar.0 < line.1);
    for &(from, to) in bars.chain([&(line.1, line.1)]) {
        if x(from) - x(begin) > x(best.1) - x(best.0) {
            best = (begin, from);
        }
        begin = begin.max(to);
    }
    best
}

/// A round time.
fn tick(t: i64) -> String {
    let (unit, name) = match t {
        1_000_000_000.. => (1e9, "s"),
        t if t % 1_000_000 == 0 => (1e6, "ms"),
        t if t % 1000 == 0 => (1e3, "us"),
        _ => (1.0, "ns"),
    };
    format!("{} {name}", t as f64 / unit)
}

/// Patterns can be distinguished without colours.
const DEFINITIONS: &str = "<defs>\
<pattern id=\"hatch\" width=\"6\" height=\"6\" patternUnits=\"userSpaceOnUse\" patternTransform=\"rotate(45)\"><rect class=\"hatch-page\" width=\"6\" height=\"6\"/><rect class=\"hatch-line\" width=\"2\" height=\"6\"/></pattern>\
<pattern id=\"dots\" width=\"5\" height=\"5\" patternUnits=\"userSpaceOnUse\"><rect class=\"dots-page\" width=\"5\" height=\"5\"/><circle class=\"dots-dot\" cx=\"2.5\" cy=\"2.5\" r=\"1.2\"/></pattern>\
<pattern id=\"stripes\" width=\"4\" height=\"4\" patternUnits=\"userSpaceOnUse\"><rect class=\"waits-page\" width=\"4\" height=\"4\"/><rect class=\"works\" width=\"1.5\" height=\"4\"/></pattern>\
<marker id=\"request\" viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" markerWidth=\"7\" markerHeight=\"7\" orient=\"auto\"><path class=\"request-head\" d=\"M0 1L8 4L0 7Z\"/></marker>\
<marker id=\"answer\" viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" markerWidth=\"7\" markerHeight=\"7\" orient=\"auto\"><path class=\"answer-head\" d=\"M0 1L8 4L0 7Z\"/></marker>\
</defs>";
