//! The picture as one page that needs no network: it can be zoomed, and says what everything is and how long it took.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use minijinja::{AutoEscape, Environment, Value, context};
use sha2::{Digest, Sha256};

use super::span::Story;
use super::svg::{self, Kind, WIDTH};

const TEMPLATE: &str = include_str!("../../assets/timeline.html");
const SCRIPT: &str = include_str!("../../assets/timeline.js");
const PICTURE: &str = include_str!("../../assets/timeline.css");
const STYLE: &str = include_str!("../../assets/timeline-page.css");

/// The page of a story.
///
/// # Errors
/// When the template cannot be filled in.
pub fn render(story: &Story) -> anyhow::Result<String> {
    let picture = svg::draw(story, WIDTH, Kind::Page);
    // Only numbers.
    let points = serde_json::to_string(&picture.points)?;
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    environment.add_template("timeline", TEMPLATE)?;
    let hash = BASE64_STANDARD.encode(Sha256::digest(SCRIPT));
    Ok(environment.get_template("timeline")?.render(context! {
        title => story.title,
        about => story.about,
        missing => picture.missing,
        legend => picture.states.iter().map(|state| context! {
            class => state.class(),
            meaning => state.meaning(),
            line => state.is_line(),
        }).collect::<Vec<_>>(),
        version => env!("CARGO_PKG_VERSION"),
        script_hash => Value::from_safe_string(format!("'sha256-{hash}'")),
        css => Value::from_safe_string(format!("{STYLE}{PICTURE}")),
        js => Value::from_safe_string(SCRIPT.to_owned()),
        svg => Value::from_safe_string(picture.svg),
        points => Value::from_safe_string(points),
    })?)
}
