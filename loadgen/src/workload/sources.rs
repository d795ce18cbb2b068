//! The files that a profile is made of: those of the user, those that are built in, and those that a run kept.

use std::path::Path;
use std::{fs, io};

use anyhow::Context;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

/// The files that are built in, by name.
const BUILT_IN: [(&str, &str); 4] = [
    ("lineup.toml", include_str!("../../scenarios/lineup.toml")),
    ("quick.toml", include_str!("../../scenarios/quick.toml")),
    (
        "standard.toml",
        include_str!("../../scenarios/standard.toml"),
    ),
    ("full.toml", include_str!("../../scenarios/full.toml")),
];

/// A file's name and its text, as run.json keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScenarioFile {
    /// Its name or path.
    pub name: String,
    /// All of it.
    pub text: String,
    /// Whether the text is Base64, since the file is no text.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub base64: bool,
}

impl ScenarioFile {
    /// A file with this name.
    pub fn new(name: &str, bytes: Vec<u8>) -> Self {
        let name = name.to_owned();
        match String::from_utf8(bytes) {
            Ok(text) => Self {
                name,
                text,
                base64: false,
            },
            Err(error) => Self {
                name,
                text: STANDARD.encode(error.as_bytes()),
                base64: true,
            },
        }
    }

    fn bytes(&self) -> io::Result<Vec<u8>> {
        if self.base64 {
            let bytes = STANDARD.decode(&self.text);
            bytes.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
        } else {
            Ok(self.text.clone().into_bytes())
        }
    }
}

/// Where the files are that a profile names.
#[derive(Clone, Copy)]
pub enum Sources<'a> {
    /// In this directory, or built in.
    In(&'a Path),
    /// In a `run.json`.
    Kept(&'a [ScenarioFile]),
}

impl Sources<'_> {
    /// The text of a line-up.
    ///
    /// # Errors
    /// When there is none of this name.
    pub fn line_up(self, name: &str) -> anyhow::Result<String> {
        match self {
            Self::In(directory) => {
                let beside = directory.join(name);
                if beside.exists() {
                    return fs::read_to_string(&beside)
                        .with_context(|| format!("cannot read the line-up {}", beside.display()));
                }
                let text = built_in(name).map(str::to_owned);
                text.with_context(|| {
                    format!("there is no line-up `{name}` beside the file, and none is built in")
                })
            }
            Self::Kept(files) => {
                let file = files.iter().find(|file| file.name == name);
                let file = file.with_context(|| format!("`{name}` was not kept"))?;
                Ok(file.text.clone())
            }
        }
    }

    /// The content of a file.
    pub fn read(self, path: &Path) -> io::Result<Vec<u8>> {
        match self {
            Self::In(directory) => fs::read(directory.join(path)),
            Self::Kept(files) => {
                let file = files.iter().find(|file| Path::new(&file.name) == path);
                file.ok_or(io::ErrorKind::NotFound)?.bytes()
            }
        }
    }
}

/// The text of a file that is built in.
pub fn built_in(name: &str) -> Option<&'static str> {
    BUILT_IN
        .iter()
        .find(|(file, _)| *file == name)
        .map(|(_, text)| *text)
}
