//! TOML that a user wrote, and what is wrong with it.

use anyhow::anyhow;

/// Parses TOML; the error is `FILE:LINE: MESSAGE`.
///
/// # Errors
/// When it is no TOML, a key is unknown or missing, or a value does not fit.
pub fn from_toml<T: serde::de::DeserializeOwned>(name: &str, text: &str) -> anyhow::Result<T> {
    toml::from_str(text).map_err(|error| misread(name, text, &error))
}

/// What is wrong with a text, as `FILE:LINE: MESSAGE`.
pub fn misread(name: &str, text: &str, error: &toml::de::Error) -> anyhow::Error {
    let at = error.span().map_or(0, |span| span.start);
    anyhow!(
        "{}: {}",
        place(name, text, at),
        error.message().replace('\n', ", ")
    )
}

/// The place of a byte of a text, as `FILE:LINE`.
pub fn place(name: &str, text: &str, at: usize) -> String {
    format!("{name}:{}", 1 + text[..at].matches('\n').count())
}
