//! The workspace is complete: each server is tested, documented and ranked.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn crates() -> BTreeSet<String> {
    fs::read_dir(root().join("crates"))
        .expect("there are crates")
        .map(|entry| {
            let name = entry.expect("it can be listed").file_name();
            name.into_string().expect("a crate's name is text")
        })
        .collect()
}

fn text(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn each_crate_is_a_server_with_its_conformance_test() {
    for name in crates() {
        let manifest: toml::Table = text(format!("crates/{name}/Cargo.toml"))
            .parse()
            .expect("a manifest is TOML");
        assert_eq!(manifest["package"]["name"].as_str(), Some(&*name));
        let binary = &manifest["bin"][0];
        assert_eq!(binary["name"].as_str(), Some(&*format!("{name}-server")));
        let test = text(format!("crates/{name}/tests/conformance.rs"));
        let program = format!("CARGO_BIN_EXE_{name}-server");
        assert!(
            test.contains(&program),
            "{name}: its conformance test does not try {program}"
        );
        let harness = manifest["test"].as_array().and_then(|tests| {
            tests
                .iter()
                .find(|test| test["name"].as_str() == Some("conformance"))
        });
        let harness = harness.unwrap_or_else(|| panic!("{name}: no [[test]] conformance"));
        assert_eq!(harness["harness"].as_bool(), Some(false), "{name}");
    }
}

#[test]
fn each_crate_has_its_row_in_the_readme_and_its_section_in_the_tour() {
    let (readme, tour) = (text("README.md"), text("docs/models.md"));
    for name in crates() {
        let row = format!("| [`{name}`](crates/{name}/src/main.rs) |");
        assert!(readme.contains(&row), "README.md has no row {row}");
        assert!(
            tour.contains(&format!("`{name}`")),
            "docs/models.md does not tell of {name}"
        );
    }
}

#[test]
fn each_crate_has_its_picture_and_each_picture_is_shown() {
    let pictures: BTreeSet<String> = fs::read_dir(root().join("docs/pictures"))
        .expect("there are pictures")
        .map(|entry| entry.expect("it can be listed").file_name())
        .filter_map(|name| Some(name.to_str()?.strip_suffix(".svg")?.to_owned()))
        .collect();
    let tour = text("docs/models.md");
    for name in crates() {
        assert!(
            pictures.contains(&name) && tour.contains(&format!("](pictures/{name}.svg)")),
            "docs/models.md does not show docs/pictures/{name}.svg: run `make pictures`"
        );
    }
    let shown = tour + &text("README.md") + &text("docs/pictures/README.md");
    for name in pictures {
        let picture = text(format!("docs/pictures/{name}.svg"));
        assert!(picture.len() < 100_000, "{name}: {} bytes", picture.len());
        // The servers are named as their crates.
        let model = picture
            .split("class=\"title\"")
            .nth(1)
            .expect("it has a title");
        let model = model.split(['<', '>']).nth(1).expect("it is a text");
        assert!(crates().contains(model), "{name} shows {model}");
        assert!(name.starts_with(model), "{name} shows {model}");
        assert!(
            shown.contains(&format!("/{name}.svg)")) || shown.contains(&format!("({name}.svg)")),
            "no document shows {name}"
        );
    }
}

#[test]
fn the_line_up_ranks_each_crate_and_no_other() {
    let line_up: toml::Table = text("loadgen/scenarios/lineup.toml")
        .parse()
        .expect("the line-up is TOML");
    let servers = line_up["server"].as_array().expect("it has servers");
    let ranked: BTreeSet<String> = servers
        .iter()
        .filter_map(|server| Some(server.get("crate")?.as_str()?.to_owned()))
        .collect();
    assert_eq!(ranked, crates());
}

#[test]
fn each_row_of_the_line_up_has_a_family() {
    let line_up: toml::Table = text("loadgen/scenarios/lineup.toml")
        .parse()
        .expect("the line-up is TOML");
    let servers = line_up["server"].as_array().expect("it has servers");
    for server in servers {
        let family = server.get("family").and_then(|family| family.as_str());
        assert!(
            family.is_some_and(|family| family != "other"),
            "{}: without a family it stands apart on the page",
            server["name"]
        );
    }
}

#[test]
fn a_page_of_code_stays_a_page() {
    for name in crates() {
        let lines = text(format!("crates/{name}/src/main.rs")).lines().count();
        assert!(lines <= 250, "crates/{name}/src/main.rs has {lines} lines");
    }
}

/// All documents in Markdown.
fn documents() -> Vec<PathBuf> {
    let files = ["", "docs", "docs/pictures", "results"]
        .into_iter()
        .flat_map(|directory| {
            let files = fs::read_dir(root().join(directory)).expect("there are documents");
            files.map(|file| file.expect("it can be listed").path())
        });
    let is_document = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "md");
    files.filter(is_document).collect()
}

/// The anchors of a document's headings, as the usual hosts make them.
fn anchors(document: &str) -> BTreeSet<String> {
    let headings = prose(document).filter(|line| line.starts_with('#'));
    let anchor = |heading: &str| {
        let text = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = text
            .chars()
            .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        kept.collect::<String>().replace(' ', "-")
    };
    headings.map(anchor).collect()
}

/// The lines outside of blocks of code.
fn prose(document: &str) -> impl Iterator<Item = &str> {
    let mut is_code = false;
    document.lines().filter(move |line| {
        let is_fence = line.trim_start().starts_with("```");
        is_code ^= is_fence;
        !is_code && !is_fence
    })
}

#[test]
fn each_link_leads_somewhere() {
    let documents = documents();
    assert!(documents.len() >= 8, "{documents:?}");
    for path in documents {
        let document = text(&path);
        let links = prose(&document).flat_map(|line| line.split("](").skip(1));
        let links = links.filter_map(|link| Some(link.split_once(')')?.0));
        for link in links.filter(|link| !link.contains("://")) {
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = match file {
                "" => path.clone(),
                file => path.with_file_name("").join(file),
            };
            assert!(target.exists(), "{}: {link}", path.display());
            let leads = anchor.is_empty() || anchors(&text(&target)).contains(anchor);
            assert!(leads, "{}: no such heading: {link}", path.display());
        }
    }
}
