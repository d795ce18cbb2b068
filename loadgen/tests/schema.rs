//! What loadgen writes is what `docs/schema` says.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Command;

use serde_json::{Value, json};

fn schema(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn trial_schema() -> Value {
    schema(include_str!("../../docs/schema/trial.schema.json"))
}

fn run_schema() -> Value {
    schema(include_str!("../../docs/schema/run.schema.json"))
}

/// Where a value is not what its schema says. Knows the key words that these schemas use and no others.
fn faults(root: &Value, schema: &Value, value: &Value, at: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (key, wanted) in schema.as_object().unwrap() {
        let right = match key.as_str() {
            "$schema" | "title" | "description" | "$defs" => true,
            "$ref" => {
                let pointer = wanted.as_str().unwrap().strip_prefix('#').unwrap();
                let target = root.pointer(pointer).unwrap();
                found.extend(faults(root, target, value, at));
                true
            }
            "type" => match wanted {
                Value::Array(types) => types.iter().any(|name| is(value, name)),
                name => is(value, name),
            },
            "const" => value == wanted,
            "enum" => wanted.as_array().unwrap().contains(value),
            "minimum" => value.as_f64().is_none_or(|n| n >= wanted.as_f64().unwrap()),
            "anyOf" => {
                let mut choices = wanted.as_array().unwrap().iter();
                choices.any(|choice| faults(root, choice, value, at).is_empty())
            }
            "items" => {
                for (n, item) in value.as_array().into_iter().flatten().enumerate() {
                    found.extend(faults(root, wanted, item, &format!("{at}/{n}")));
                }
                true
            }
            "required" => {
                let mut names = wanted.as_array().unwrap().iter();
                names.all(|name| value.get(name.as_str().unwrap()).is_some())
            }
            "properties" => {
                for (name, property) in wanted.as_object().unwrap() {
                    if let Some(inner) = value.get(name) {
                        found.extend(faults(root, property, inner, &format!("{at}/{name}")));
                    }
                }
                true
            }
            "additionalProperties" => {
                let known = schema.get("properties");
                for (name, inner) in value.as_object().into_iter().flatten() {
                    if known.and_then(|known| known.get(name)).is_some() {
                        continue;
                    }
                    if wanted == &Value::Bool(false) {
                        found.push(format!("{at}/{name} is not in the schema"));
                    } else {
                        found.extend(faults(root, wanted, inner, &format!("{at}/{name}")));
                    }
                }
                true
            }
            other => panic!("this check does not know `{other}`"),
        };
        if !right {
            found.push(format!("{at}: {value} is not {key} {wanted}"));
        }
    }
    found
}

fn is(value: &Value, name: &Value) -> bool {
    match name.as_str().unwrap() {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("this check does not know the type `{other}`"),
    }
}

fn check(schema: &Value, value: &Value) {
    let found = faults(schema, schema, value, "");
    assert!(found.is_empty(), "{found:#?}\n{value:#}");
}

/// An echo server, and its address.
fn echo() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut buffer = [0; 4096];
                while let Ok(n @ 1..) = client.read(&mut buffer) {
                    if client.write_all(&buffer[..n]).is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

fn trial(arguments: &[&str]) -> Value {
    let address = echo();
    let output = Command::new(env!("CARGO_BIN_EXE_loadgen"))
        .args(["run", &address, "--json", "--no-save", "-c", "2"])
        .args(["-d", "200ms", "--warmup", "10ms"])
        .args(arguments)
        .output()
        .unwrap();
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn trials_are_as_the_schema_says() {
    let pid = std::process::id().to_string();
    for arguments in [
        &[][..],
        &["--rate", "100"],
        &["--server-pid", &pid],
        // INVALID, with errors: an echo is no HTTP response.
        &["--mode", "http"],
    ] {
        check(&trial_schema(), &trial(arguments));
    }
}

#[test]
fn a_run_is_as_the_schema_says() {
    let top = tempfile::tempdir().unwrap();
    std::fs::write(
        top.path().join("mine.toml"),
        "[[server]]\nname = \"none\"\ncrate = \"none\"\n[[scenario]]\nname = \"one\"\nquestion = \"?\"\n",
    )
    .unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_loadgen"))
        .args([
            "bench",
            "--scenario-file",
            "mine.toml",
            "--out",
            "run",
            "--no-keep-awake",
        ])
        .current_dir(top.path())
        .output()
        .unwrap();
    let text = std::fs::read(top.path().join("run/run.json"))
        .unwrap_or_else(|error| panic!("{error}: {output:?}"));
    check(&run_schema(), &serde_json::from_slice(&text).unwrap());
}

#[test]
fn what_is_not_as_the_schema_says_is_found() {
    let right = trial(&[]);
    for (pointer, wrong) in [
        ("/verdict", json!("MAYBE")),
        ("/schema_version", json!(2)),
        ("/answered", json!(-1)),
        ("/causes", json!(["bad-luck"])),
        ("/response_us/p99", json!("slow")),
        ("/server", json!({"pid": 1})),
        ("/errors", json!({"reset": "many"})),
        (
            "/generator",
            json!({"cpu_us_per_request": 1, "cpu_share": 1, "threads": 1, "more": 1}),
        ),
    ] {
        let mut trial = right.clone();
        *trial.pointer_mut(pointer).unwrap() = wrong;
        let schema = trial_schema();
        assert!(
            !faults(&schema, &schema, &trial, "").is_empty(),
            "{pointer}"
        );
    }
    let mut trial = right;
    trial.as_object_mut().unwrap().remove("rate");
    let schema = trial_schema();
    assert!(!faults(&schema, &schema, &trial, "").is_empty());
}
