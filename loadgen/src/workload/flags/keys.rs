//! Flags as keys of a scenario: `no_keep_alive = true` is `--no-keep-alive`, `header = ["A: b", "C: d"]` gives `--header`
//! twice. A flag that [`AskArgs`] gets is a key at once.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};
use toml::{Table, Value};

use super::ask::AskArgs;

/// A key and its value.
#[derive(Debug, Clone)]
pub struct Key {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: Value,
    /// Where it stands in its file, bytes.
    pub at: usize,
}

/// What is wrong with keys.
#[derive(Debug)]
pub struct Wrong {
    /// Where the key stands in its file, bytes; `None`: a key is missing.
    pub at: Option<usize>,
    /// What is wrong, in one line.
    pub message: String,
}

/// The flags that keys stand for. `defaults` are values of flags that are not given, by the name of the key.
///
/// # Errors
/// When a key is unknown, or its value does not fit.
pub fn ask(keys: &[Key], defaults: &[(&'static str, String)]) -> Result<AskArgs, Wrong> {
    let mut command = command();
    for (key, value) in defaults {
        command = command.mut_arg(key, |flag| flag.default_value(value.clone()));
    }
    let mut words = Vec::new();
    for key in keys {
        let wrong = |message: String| Wrong {
            at: Some(key.at),
            message,
        };
        match command.get_arguments().find(|flag| is(flag, &key.name)) {
            Some(flag) => words.extend(arguments(flag, key).map_err(wrong)?),
            // It has no such flag, and says which one is similar.
            None => words.push(format!("--{}", key.name.replace('_', "-")).into()),
        }
    }
    let matches = command.try_get_matches_from_mut(words);
    matches
        .and_then(|matches| AskArgs::from_arg_matches(&matches))
        .map_err(|error| unfit(keys, &told(&error)))
}

/// What is wrong with these keys, from a message that names flags.
pub fn unfit(keys: &[Key], message: &str) -> Wrong {
    let (message, named) = with_keys(message);
    let known = named.iter().find_map(|name| position(keys, name));
    // Only a key without a flag of its name is unknown.
    let unknown = || {
        let unknown = keys.iter().find(|key| !is_key(&key.name));
        unknown.map(|key| key.at)
    };
    Wrong {
        at: unknown().or(known),
        message,
    }
}

fn position(keys: &[Key], name: &str) -> Option<usize> {
    let key = keys.iter().find(|key| key.name == name)?;
    Some(key.at)
}

fn command() -> Command {
    let command = Command::new("scenario")
        .no_binary_name(true)
        .disable_help_flag(true);
    AskArgs::augment_args(command)
}

/// Whether there is such a key.
pub fn is_key(name: &str) -> bool {
    command().get_arguments().any(|flag| is(flag, name))
}

fn is(flag: &Arg, key: &str) -> bool {
    flag.get_long()
        .is_some_and(|long| long.replace('-', "_") == key)
}

/// What is given on a command line for a key.
fn arguments(flag: &Arg, key: &Key) -> Result<Vec<OsString>, String> {
    let long = flag.get_long().unwrap_or_default();
    let name = &key.name;
    if !flag.get_action().takes_values() {
        return match &key.value {
            Value::Boolean(true) => Ok(vec![format!("--{long}").into()]),
            Value::Boolean(false) => Ok(Vec::new()),
            _ => Err(format!("{name} must be true or false")),
        };
    }
    let argument = |value: &Value| match scalar(value) {
        Some(text) => Ok(format!("--{long}={text}").into()),
        None => Err(format!("{name} must be a text or a number")),
    };
    match &key.value {
        Value::Array(values) if matches!(flag.get_action(), ArgAction::Append) => {
            values.iter().map(argument).collect()
        }
        Value::Array(_) => Err(format!(
            "{name} has one value: vary = {{ {name} = [..] }} makes a point of each"
        )),
        value => Ok(vec![argument(value)?]),
    }
}

/// A text or a number as it would be typed.
pub fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Integer(number) => Some(number.to_string()),
        Value::Float(number) => Some(number.to_string()),
        _ => None,
    }
}

/// What clap has to say, in one line and without usage.
fn told(error: &clap::Error) -> String {
    if error.kind() == ErrorKind::UnknownArgument {
        let context = |kind| match error.get(kind) {
            Some(ContextValue::String(text)) => Some(text.clone()),
            Some(ContextValue::Strings(texts)) => texts.first().cloned(),
            _ => None,
        };
        let unknown = context(ContextKind::InvalidArg).unwrap_or_default();
        let unknown = unknown.trim_start_matches('-').replace('-', "_");
        let similar = context(ContextKind::SuggestedArg);
        let similar = similar.map_or_else(String::new, |flag| format!(", is it `{flag}`?"));
        return format!("unknown field `{unknown}`{similar}");
    }
    let text = error.to_string();
    let first = text.split("\n\n").next().unwrap_or_default();
    let lines: Vec<&str> = first.lines().map(str::trim).collect();
    let line = lines.join(" ");
    line.strip_prefix("error: ").unwrap_or(&line).to_owned()
}

/// A message with keys in place of flags and their values' names, and these keys.
fn with_keys(message: &str) -> (String, Vec<String>) {
    let (mut text, mut keys) = (String::new(), Vec::new());
    let mut rest = message;
    while let Some(start) = rest.find("--") {
        let (before, flag) = rest.split_at(start);
        text.push_str(before);
        let flag = &flag[2..];
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '-';
        let (name, after) = flag.split_at(flag.find(|c| !is_name(c)).unwrap_or(flag.len()));
        let key = name.replace('-', "_");
        rest = after;
        if !is_key(&key) {
            text.push_str("--");
            text.push_str(name);
            continue;
        }
        text.push_str(&key);
        keys.push(key);
        if let Some((_, after)) = after
            .strip_prefix(" <")
            .and_then(|value| value.split_once('>'))
        {
            rest = after;
        }
    }
    text.push_str(rest);
    (text, keys)
}

/// Flags, and their values as keys of a scenario.
#[derive(Debug)]
pub struct WithKeys<T> {
    /// The flags.
    pub flags: T,
    /// The keys of all that have a value.
    pub keys: Table,
}

impl<T: Args> Args for WithKeys<T> {
    fn augment_args(command: Command) -> Command {
        T::augment_args(command)
    }

    fn augment_args_for_update(command: Command) -> Command {
        T::augment_args_for_update(command)
    }
}

impl<T: Args> FromArgMatches for WithKeys<T> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        Ok(Self {
            flags: T::from_arg_matches(matches)?,
            keys: keys_of::<T>(matches),
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        self.flags.update_from_arg_matches(matches)?;
        self.keys = keys_of::<T>(matches);
        Ok(())
    }
}

fn keys_of<T: Args>(matches: &ArgMatches) -> Table {
    let command = T::augment_args(Command::new("flags"));
    let mut keys = Table::new();
    for flag in command.get_arguments() {
        let Some(long) = flag.get_long() else {
            continue;
        };
        let id = flag.get_id().as_str();
        let value = if flag.get_action().takes_values() {
            let texts = matches.get_raw(id).into_iter().flatten();
            let mut values: Vec<Value> = texts
                .map(|text| Value::String(text.to_string_lossy().into_owned()))
                .collect();
            match flag.get_action() {
                ArgAction::Append if !values.is_empty() => Some(Value::Array(values)),
                _ => values.pop(),
            }
        } else {
            matches.get_flag(id).then_some(Value::Boolean(true))
        };
        if let Some(value) = value {
            keys.insert(long.replace('-', "_"), value);
        }
    }
    keys
}
