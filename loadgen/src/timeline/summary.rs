//! A picture in words.

use super::span::{State, Story};

/// The text for readers who cannot see the picture.
pub fn summary(story: &Story) -> String {
    let mut sentences = vec![story.about.clone()];
    for lane in &story.lanes {
        let longest = lane
            .spans
            .iter()
            .filter(|span| matches!(span.state, State::Blocked | State::Asks | State::Backlog))
            .max_by_key(|span| span.to - span.from);
        // Microseconds differ from run to run and show nothing.
        sentences.extend(
            longest
                .filter(|span| span.to - span.from >= 1_000_000)
                .map(|span| span.say.clone()),
        );
    }
    sentences.join(" ")
}
