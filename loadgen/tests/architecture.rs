//! Which parts of the workspace may use which.
//!
//! The list for the modules of loadgen stands once, in the docs of its `lib.rs`; the one for the crates stands here.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// The crates of the workspace that a crate may use, also for its tests.
const CRATES: [(&str, &[&str]); 5] = [
    ("supervisor", &[]),
    ("conformance", &["supervisor"]),
    ("loadgen", &["supervisor", "conformance"]),
    ("serverkit", &[]),
    ("crates/*", &["serverkit", "conformance"]),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The segments of a module's or an item's path.
type Segments = Vec<String>;

/// The paths in a file of Rust, in `use` and elsewhere, each with the module that it stands in.
fn paths(module: &[String], code: TokenStream, found: &mut Vec<(Segments, Segments)>) {
    let tokens: Vec<TokenTree> = code.into_iter().collect();
    let mut at = 0;
    while at < tokens.len() {
        match &tokens[at] {
            TokenTree::Ident(_) => {
                let mut here = Vec::new();
                at = path(Vec::new(), &tokens, at, &mut here);
                found.extend(here.into_iter().map(|path| (module.to_vec(), path)));
            }
            TokenTree::Group(group) => {
                let word = |back: usize| at.checked_sub(back).map(|at| tokens[at].to_string());
                let mut inside = module.to_vec();
                if word(2).as_deref() == Some("mod") {
                    inside.extend(word(1));
                }
                // What stands behind `pub` says who may use an item, and uses nothing.
                if word(1).as_deref() != Some("pub") {
                    paths(&inside, group.stream(), found);
                }
                at += 1;
            }
            _ => at += 1,
        }
    }
}

/// The path or the tree of paths that begins at a token; returns where it ends.
fn path(
    mut segments: Segments,
    tokens: &[TokenTree],
    mut at: usize,
    found: &mut Vec<Segments>,
) -> usize {
    let colon =
        |at: usize| matches!(tokens.get(at), Some(TokenTree::Punct(c)) if c.as_char() == ':');
    while let Some(TokenTree::Ident(word)) = tokens.get(at) {
        segments.push(word.to_string());
        at += 1;
        if !(colon(at) && colon(at + 1)) {
            break;
        }
        at += 2;
        if let Some(TokenTree::Group(group)) = tokens.get(at)
            && group.delimiter() == Delimiter::Brace
        {
            let inside: Vec<TokenTree> = group.stream().into_iter().collect();
            let comma = |token: &TokenTree| token.to_string() == ",";
            for tree in inside.split(comma).filter(|tree| !tree.is_empty()) {
                path(segments.clone(), tree, 0, found);
            }
            return at + 1;
        }
    }
    found.push(segments);
    at
}

/// A crate's files by the module that each of them is.
fn files(source: &Path) -> BTreeMap<Segments, PathBuf> {
    let mut files = BTreeMap::new();
    let mut directories = vec![(Vec::new(), source.to_owned())];
    while let Some((module, directory)) = directories.pop() {
        for entry in fs::read_dir(directory).expect("it can be read") {
            let path = entry.expect("it can be read").path();
            let name = path.file_stem().expect("it has a name");
            let name = name.to_string_lossy().into_owned();
            let mut module = module.clone();
            if path.is_dir() {
                module.push(name);
                directories.push((module, path));
            } else if path.extension().is_some_and(|kind| kind == "rs") {
                if !["lib", "mod"].contains(&&*name) {
                    module.push(name);
                }
                files.insert(module, path);
            }
        }
    }
    files
}

/// Which modules each module's file names in its paths.
fn uses(source: &Path, package: &str) -> BTreeMap<Segments, BTreeSet<Segments>> {
    let files = files(source);
    let mut uses = BTreeMap::new();
    for (module, file) in &files {
        let code = read(file).parse().expect("it is Rust");
        let mut found = Vec::new();
        paths(module, code, &mut found);
        let targets = found
            .into_iter()
            .filter_map(|(from, path)| target(&files, package, from, &path))
            .filter(|target| target != module);
        uses.insert(module.clone(), targets.collect());
    }
    uses
}

/// The module of the crate that a path leads to; `None`: it leads elsewhere.
fn target(
    files: &BTreeMap<Segments, PathBuf>,
    package: &str,
    from: Segments,
    path: &[String],
) -> Option<Segments> {
    // A word alone is no path: `crate` stands in `pub(crate)` as well.
    let [first, others @ ..] = path else {
        return None;
    };
    if others.is_empty() {
        return None;
    }
    let mut to = match first.as_str() {
        "crate" => Vec::new(),
        // The program of a crate that has a library as well.
        own if own == package => Vec::new(),
        "self" | "super" => from,
        child => {
            let mut to = from;
            to.push(child.to_owned());
            if !files.contains_key(&to) {
                return None;
            }
            to
        }
    };
    if first == "super" {
        to.pop();
    }
    for segment in others {
        match segment.as_str() {
            "self" => {}
            "super" => drop(to.pop()),
            name => to.push(name.to_owned()),
        }
    }
    // What is left at the end is an item.
    while !files.contains_key(&to) {
        to.pop()?;
    }
    Some(to)
}

/// A circle in a graph, if there is one: each of these uses the next, and the last one the first.
fn circle(uses: &BTreeMap<Segments, BTreeSet<Segments>>) -> Option<Vec<String>> {
    let mut left: BTreeSet<&Segments> = uses.keys().collect();
    // A node that uses no remaining node is in no circle.
    while let Some(&end) = left
        .iter()
        .find(|module| uses[**module].iter().all(|used| !left.contains(used)))
    {
        left.remove(end);
    }
    let mut at = *left.first()?;
    let mut walk: Vec<&Segments> = Vec::new();
    while !walk.contains(&at) {
        walk.push(at);
        at = uses[at].iter().find(|used| left.contains(used))?;
    }
    let begin = walk.iter().position(|module| *module == at)?;
    let circle = walk[begin..].iter();
    Some(circle.map(|module| module.join("::")).collect())
}

/// The list in the docs of loadgen's `lib.rs`: each module with those that it may use.
fn allowed(docs: &str) -> Vec<(String, BTreeSet<String>)> {
    let lines = docs.lines().filter_map(|line| {
        let (module, used) = line.strip_prefix("//! ")?.split_once(" <-")?;
        let used = used.split_whitespace().map(str::to_owned);
        Some((module.trim().to_owned(), used.collect()))
    });
    lines.collect()
}

/// Folders of loadgen that each folder uses.
fn folders() -> BTreeMap<String, BTreeSet<String>> {
    let mut folders: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (module, used) in uses(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("src"),
        "loadgen",
    ) {
        let Some(folder) = module.first().filter(|folder| *folder != "main") else {
            continue;
        };
        let used = used.into_iter().filter_map(|used| used.first().cloned());
        let others = used.filter(|used| used != folder);
        folders.entry(folder.clone()).or_default().extend(others);
    }
    folders
}

#[test]
fn no_arrow_of_the_list_points_against_the_stream() {
    let list = allowed(include_str!("../src/lib.rs"));
    let mut above = BTreeSet::new();
    for (module, used) in &list {
        let against: Vec<_> = used.difference(&above).collect();
        assert!(against.is_empty(), "{module} may not use {against:?}");
        assert!(above.insert(module.clone()), "{module} stands there twice");
    }
}

#[test]
fn the_modules_use_each_other_as_the_list_says() {
    let list: BTreeMap<_, _> = allowed(include_str!("../src/lib.rs")).into_iter().collect();
    let folders = folders();
    for (folder, used) in &folders {
        let allowed = list
            .get(folder)
            .unwrap_or_else(|| panic!("{folder} is not in the list of lib.rs"));
        let forbidden: Vec<_> = used.difference(allowed).collect();
        assert!(forbidden.is_empty(), "{folder} uses {forbidden:?}");
        let stale: Vec<_> = allowed.difference(used).collect();
        assert!(stale.is_empty(), "{folder} does not use {stale:?}");
    }
    let gone: Vec<_> = list
        .keys()
        .filter(|name| !folders.contains_key(*name))
        .collect();
    assert!(gone.is_empty(), "there is no {gone:?}");
}

#[test]
fn no_file_is_in_a_circle_of_imports() {
    let circles: BTreeMap<String, Vec<String>> = packages()
        .into_iter()
        .filter_map(|(package, directory)| {
            let circle = circle(&uses(&directory.join("src"), &package))?;
            Some((package, circle))
        })
        .collect();
    assert!(circles.is_empty(), "{circles:#?}");
}

#[test]
fn a_file_is_one_idea_and_so_not_long() {
    for file in files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src")).values() {
        let lines = read(file).lines().count();
        assert!(lines <= 500, "{} has {lines} lines", file.display());
    }
}

/// The packages of the workspace and their directories.
fn packages() -> BTreeMap<String, PathBuf> {
    let workspace = manifest(&root());
    let members = workspace["workspace"]["members"].as_array();
    let mut packages = BTreeMap::new();
    for member in members.expect("it has members") {
        let member = member.as_str().expect("a member is a path");
        let directories = match member.strip_suffix("/*") {
            None => vec![root().join(member)],
            Some(parent) => fs::read_dir(root().join(parent))
                .expect("it can be read")
                .map(|entry| entry.expect("it can be read").path())
                .collect(),
        };
        for directory in directories {
            let name = manifest(&directory)["package"]["name"].clone();
            let name = name.as_str().expect("a name is a text").to_owned();
            packages.insert(name, directory);
        }
    }
    packages
}

/// The names by which crates of the workspace depend on each other; another crate may be called as a server is.
fn own_dependencies() -> BTreeSet<String> {
    let workspace = manifest(&root());
    let all = workspace["workspace"]["dependencies"].as_table();
    let own = all.expect("there are some").iter();
    let own = own.filter(|(_, what)| what.get("path").is_some());
    own.map(|(name, _)| name.clone()).collect()
}

fn manifest(directory: &Path) -> toml::Table {
    let manifest = read(&directory.join("Cargo.toml")).parse();
    manifest.expect("it is TOML")
}

#[test]
fn the_crates_use_each_other_as_the_list_says() {
    let own = own_dependencies();
    for (package, directory) in packages() {
        let is_server = directory
            .parent()
            .is_some_and(|parent| parent.ends_with("crates"));
        let entry = if is_server { "crates/*" } else { &package };
        let (_, allowed) = CRATES
            .iter()
            .find(|(name, _)| *name == entry)
            .unwrap_or_else(|| panic!("{package} is not in the list"));
        let manifest = manifest(&directory);
        let named = |table: &str| -> Vec<String> {
            let table = manifest.get(table).and_then(toml::Value::as_table);
            let names = table.into_iter().flat_map(toml::Table::keys);
            names.filter(|name| own.contains(*name)).cloned().collect()
        };
        let (used, for_tests) = (named("dependencies"), named("dev-dependencies"));
        for name in used.iter().chain(&for_tests) {
            assert!(allowed.contains(&name.as_str()), "{package} uses {name}");
        }
        assert!(
            !(is_server && used.contains(&"conformance".to_owned())),
            "{package}: the suite is for its tests alone"
        );
    }
}

#[test]
fn a_path_is_found_wherever_it_stands() {
    let code = "use crate::a::{self, b::{C, D}, e as f}; // crate::no\n\
        fn g() -> super::h::I { println!(\"crate::no {}\", crate::j()); k::l::<m::N>(); }\n\
        pub(super) struct No;\n\
        mod tests { use super::*; const O: &str = \"crate::no\"; }";
    let mut found = Vec::new();
    paths(
        &["p".to_owned()],
        code.parse().expect("it is Rust"),
        &mut found,
    );
    let found: BTreeSet<String> = found
        .into_iter()
        .filter(|(_, path)| path.len() > 1 || path[0] == "super")
        .map(|(module, path)| format!("{} {}", module.join("::"), path.join("::")))
        .collect();
    let expected = [
        "p crate::a::b::C",
        "p crate::a::b::D",
        "p crate::a::e",
        "p crate::a::self",
        "p crate::j",
        "p k::l",
        "p m::N",
        "p super::h::I",
        "p::tests super",
    ];
    assert_eq!(found, expected.map(str::to_owned).into());
}

#[test]
fn a_circle_is_found() {
    let graph = |arrows: &[(&str, &str)]| {
        let mut graph: BTreeMap<Segments, BTreeSet<Segments>> = BTreeMap::new();
        for (from, to) in arrows {
            let (from, to) = (vec![(*from).to_owned()], vec![(*to).to_owned()]);
            graph.entry(to.clone()).or_default();
            graph.entry(from).or_default().insert(to);
        }
        circle(&graph)
    };
    assert_eq!(graph(&[("a", "b"), ("b", "c"), ("a", "c")]), None);
    let found = graph(&[("a", "b"), ("b", "c"), ("c", "d"), ("d", "b")]);
    assert_eq!(found, Some(["b", "c", "d"].map(str::to_owned).into()));
}
