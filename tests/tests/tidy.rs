//! The house rules that a program can check: sizes, names, docs, the direction of dependencies. Uses the standard library alone, so
//! that it also builds in a second with `rustc --test`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Most lines of a file before its tests.
const FILE_LINES_MAX: usize = 400;
/// Most lines of a file of tests.
const TEST_FILE_LINES_MAX: usize = 600;
/// File names that say nothing.
const EMPTY_NAMES: &[&str] =
    &["mod", "util", "utils", "helper", "helpers", "common", "misc", "manager", "handler", "context", "data", "info"];
/// Crates with their folders and what each may name of the others.
const CRATES: &[(&str, &str, &[&str])] = &[
    ("weft-env", "simulator/env", &[]),
    ("weft-identity", "gossip/identity", &["weft-env"]),
    ("weft-ledger", "gossip/ledger", &["weft-env", "weft-identity"]),
    ("weft-policy", "gateway/policy", &["weft-identity", "weft-ledger"]),
    ("weft-gossip", "gossip", &["weft-env", "weft-identity", "weft-ledger"]),
    ("weft-world", "node/world", BELOW_WORLD),
    ("weft-proxy", "node/proxy", &["weft-env", "weft-identity", "weft-gossip", "weft-policy", "weft-world"]),
    ("weft-actors", "actors", BELOW_ACTORS),
    ("weft-cli", "node/cli", BELOW_CLI),
    (
        "weft",
        "node",
        &["weft-env", "weft-identity", "weft-ledger", "weft-world", "weft-proxy", "weft-actors", "weft-cli"],
    ),
    ("weft-sim", "simulator", BELOW_CLI),
    ("weft-tests", "tests", &["weft", "weft-env", "weft-identity", "weft-ledger", "weft-gossip"]),
];
const BELOW_WORLD: &[&str] = &["weft-env", "weft-identity", "weft-ledger", "weft-policy", "weft-gossip"];
const BELOW_ACTORS: &[&str] = &["weft-env", "weft-identity", "weft-ledger", "weft-policy", "weft-gossip", "weft-world"];
const BELOW_CLI: &[&str] =
    &["weft-env", "weft-identity", "weft-ledger", "weft-policy", "weft-gossip", "weft-world", "weft-actors"];
/// The modules of the actors' crate, in the order of dependencies: each may name only those before it.
const ACTOR_LAYERS: &[&str] = &[
    "address",
    "metrics",
    "telemetry",
    "standing",
    "state",
    "supervisor",
    "message",
    "core",
    "shell",
    "actor",
    "enlist",
    "control",
    "ca",
    "tree",
];
/// What may stand at the top level.
const TOP_LEVEL: &[&str] = &[
    ".ci",
    ".git",
    ".gitignore",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "README.md",
    "actors",
    "clippy.toml",
    "deny.toml",
    "docs",
    "gateway",
    "gossip",
    "node",
    "rustfmt.toml",
    "simulator",
    "target",
    "tests",
];
/// The only file that may contain unsafe code: it stands between std and the operating system's randomness.
const UNSAFE_FILES: &[&str] = &["simulator/src/shim.rs"];
/// Libraries with the only places that may name them.
const NAMED_ONLY_IN: &[(&str, &[&str])] = &[
    ("bincode::", &["gossip/identity/src/wire.rs", "gossip/identity/src/wire/"]),
    ("ractor::", &["actors/src/"]),
    ("clap::", &["node/cli/src/", "simulator/src/"]),
    ("redb::", &["actors/src/actor/store.rs"]),
    ("chitchat::", &["gossip/src/membership"]),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the checkout").to_owned()
}

fn files_below(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let name = entry.file_name();
        if path.is_dir() && name != "target" && name != ".git" && name != "__pycache__" {
            files_below(&path, found);
        } else if path.is_file() {
            found.push(path);
        }
    }
}

/// Every file of the checkout with one of these endings, as (path from the top, text), in order.
fn texts(endings: &[&str]) -> Vec<(String, String)> {
    let top = root();
    let mut found = Vec::new();
    for entry in fs::read_dir(&top).expect("the checkout can be read").flatten() {
        let known = TOP_LEVEL.iter().any(|name| entry.file_name() == *name) && entry.file_name() != "target";
        if known && entry.path().is_dir() && entry.file_name() != ".git" {
            files_below(&entry.path(), &mut found);
        } else if known && entry.path().is_file() {
            found.push(entry.path());
        }
    }
    found.sort();
    let wanted = found.into_iter().filter(|path| endings.iter().any(|ending| path.to_string_lossy().ends_with(ending)));
    let named = |path: PathBuf| {
        let short = path.strip_prefix(&top).expect("below the top").to_string_lossy().into_owned();
        fs::read_to_string(&path).ok().map(|text| (short, text))
    };
    wanted.filter_map(named).collect()
}

fn rust_files() -> Vec<(String, String)> {
    texts(&[".rs"])
}

fn page(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn none(found: &[String], rule: &str) {
    assert!(found.is_empty(), "{rule}:\n  {}", found.join("\n  "));
}

/// Whether a file holds nothing but tests.
fn is_test_file(path: &str) -> bool {
    path.starts_with("tests/")
        || path.contains("/tests/")
        || path.ends_with("/tests.rs")
        || path.ends_with("/testing.rs")
}

fn lines_before_tests(text: &str) -> usize {
    text.lines().position(|line| line.trim() == "#[cfg(test)]").unwrap_or_else(|| text.lines().count())
}

#[test]
fn files_are_short_and_named_for_what_they_hold() {
    let mut found = Vec::new();
    for (path, text) in rust_files() {
        let limit = if is_test_file(&path) { TEST_FILE_LINES_MAX } else { FILE_LINES_MAX };
        let lines = lines_before_tests(&text);
        if lines > limit {
            found.push(format!("{path}: {lines} lines, at most {limit}"));
        }
        let stem = Path::new(&path).file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if EMPTY_NAMES.contains(&stem.as_str()) {
            found.push(format!("{path}: a name that says nothing"));
        }
    }
    none(&found, "sizes and names");
}

#[test]
fn every_file_says_what_it_is_for() {
    // `foo/tests.rs` belongs to `foo.rs`, which says it.
    let files = rust_files().into_iter().filter(|(path, _)| !path.ends_with("/tests.rs"));
    let silent: Vec<String> = files.filter(|(_, text)| !text.starts_with("//!")).map(|(path, _)| path).collect();
    none(&silent, "a file starts with `//!`");
}

#[test]
fn a_crate_root_is_a_map() {
    let mut found = Vec::new();
    for (path, text) in rust_files().into_iter().filter(|(path, _)| path.ends_with("src/lib.rs")) {
        let code = ["fn ", "impl ", "struct ", "enum ", "trait "];
        let odd = text
            .lines()
            .filter(|line| code.iter().any(|word| line.starts_with(word) || line.starts_with(&format!("pub {word}"))));
        found.extend(odd.map(|line| format!("{path}: {line}")));
    }
    none(&found, "lib.rs holds docs, `mod` and `pub use`");
}

/// The crates of this workspace that a manifest depends on, also for its tests.
fn dependencies(manifest: &str) -> Vec<&str> {
    let mut in_section = false;
    let mut found = Vec::new();
    for line in manifest.lines() {
        if line.starts_with('[') {
            in_section = line.ends_with("dependencies]");
        } else if in_section && (line.starts_with("weft.") || line.starts_with("weft ") || line.starts_with("weft-")) {
            found.extend(line.split(['.', ' ', '=']).next());
        }
    }
    found
}

#[test]
fn dependencies_point_one_way() {
    let mut found = Vec::new();
    for (position, (name, folder, below)) in CRATES.iter().enumerate() {
        let manifest = page(&format!("{folder}/Cargo.toml"));
        let is_before = |below: &&&str| CRATES[..position].iter().any(|(earlier, ..)| earlier == *below);
        assert!(below.iter().filter(is_before).count() == below.len(), "{name} lies above what it may name");
        let odd = dependencies(&manifest).into_iter().filter(|named| !below.contains(named));
        found.extend(odd.map(|named| format!("{name} depends on {named}")));
    }
    none(&found, "a crate names only what lies below it");
}

#[test]
fn every_crate_is_known() {
    let known: BTreeSet<String> = CRATES.iter().map(|(_, folder, _)| format!("{folder}/Cargo.toml")).collect();
    // The fuzzer is a workspace of its own, above all of them.
    let is_outside = |path: &String| path == "Cargo.toml" || path == "tests/fuzz/Cargo.toml";
    let manifests = texts(&["Cargo.toml"]).into_iter().map(|(path, _)| path).filter(|path| !is_outside(path));
    let odd: Vec<String> = manifests.filter(|path| !known.contains(path)).collect();
    none(&odd, "a crate that the order of dependencies does not know");
    let text = page("docs/ARCHITECTURE.md");
    let row = |(name, folder, _): &&(&str, &str, &[&str])| !text.contains(&format!("| {name} | `{folder}` |"));
    let missing: Vec<String> = CRATES.iter().filter(row).map(|(name, ..)| (*name).to_owned()).collect();
    none(&missing, "docs/ARCHITECTURE.md lacks");
}

#[test]
fn actors_lie_in_a_line() {
    let mut found = Vec::new();
    for (path, text) in rust_files() {
        let Some(inner) = path.strip_prefix("actors/src/").filter(|inner| *inner != "lib.rs") else { continue };
        let module = inner.split(['/', '.']).next().unwrap_or_default();
        let Some(position) = ACTOR_LAYERS.iter().position(|layer| *layer == module) else {
            found.push(format!("{path} is in no layer"));
            continue;
        };
        let code: Vec<&str> = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
        for later in &ACTOR_LAYERS[position + 1..] {
            if code
                .iter()
                .any(|line| line.contains(&format!("crate::{later}::")) || line.contains(&format!("crate::{later};")))
            {
                found.push(format!("{path} names {later}"));
            }
        }
        if code.iter().any(|line| line.contains("crate::{")) {
            found.push(format!("{path}: a list of modules hides which it names"));
        }
    }
    none(&found, "messages <- core <- actors <- what asks them <- the tree");
}

#[test]
fn some_libraries_are_named_in_one_place() {
    let mut found = Vec::new();
    for (path, text) in rust_files().into_iter().filter(|(path, _)| !path.starts_with("tests/")) {
        for (word, places) in NAMED_ONLY_IN {
            let elsewhere = !places.iter().any(|place| path.starts_with(place));
            let names = |line: &str| line.contains(word) && !line.trim_start().starts_with("//");
            if elsewhere && text.lines().any(names) {
                found.push(format!("{path} names {word}"));
            }
        }
        let is_unsafe = text.lines().any(|line| line.contains("unsafe ") && !line.trim_start().starts_with("//"));
        if is_unsafe && !UNSAFE_FILES.contains(&path.as_str()) {
            found.push(format!("{path} is unsafe"));
        }
    }
    none(&found, "libraries behind a façade");
}

#[test]
fn nothing_is_left_unfinished() {
    let words = [["TO", "DO"], ["FIX", "ME"], ["to", "do!("], ["unimpl", "emented!("], ["#[ig", "nore"]]
        .map(|parts| parts.concat());
    let mut found = Vec::new();
    for (path, text) in texts(&[".rs", ".md", ".toml", ".py", ".sh", "run"]) {
        for (number, line) in text.lines().enumerate() {
            if words.iter().any(|word| line.contains(word.as_str())) {
                found.push(format!("{path}:{}: {}", number + 1, line.trim()));
            }
        }
    }
    none(&found, "unfinished places");
}

#[test]
fn the_project_speaks_of_itself_alone() {
    let words = [
        ["/wo", "rk/"],
        ["/fa", "rm/"],
        ["/ro", "ot/"],
        ["crates", ".io/"],
        ["pypi", ".org"],
        ["assis", "tant"],
        ["co-auth", "ored"],
    ];
    let words = words.map(|parts| parts.concat());
    let mut found = Vec::new();
    for (path, text) in texts(&[".rs", ".md", ".toml", ".py", ".sh", "run"]) {
        for (number, line) in text.lines().enumerate() {
            let lower = line.to_lowercase();
            if words.iter().any(|word| lower.contains(word.as_str())) {
                found.push(format!("{path}:{}: {}", number + 1, line.trim()));
            }
        }
    }
    none(&found, "a place of some machine, or of how the text came to be");
}

#[test]
fn the_top_level_is_known() {
    let mut found = Vec::new();
    for entry in fs::read_dir(root()).expect("the checkout can be read").flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if !TOP_LEVEL.contains(&name.as_str()) {
            found.push(name);
        }
    }
    none(&found, "the layout does not know");
}

/// Every string that starts with `weft_` in the metrics files: a metric's name.
fn metric_names() -> BTreeSet<String> {
    let files =
        rust_files().into_iter().filter(|(path, _)| path.ends_with("/metrics.rs") && !path.starts_with("tests/"));
    let mut names = BTreeSet::new();
    for (_, text) in files {
        for quoted in text.split('"').skip(1).step_by(2) {
            let is_name = quoted.starts_with("weft_")
                && quoted.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
            let is_crate = CRATES.iter().any(|(name, ..)| name.replace('-', "_") == quoted);
            if is_name && !is_crate {
                names.insert(quoted.to_owned());
            }
        }
    }
    names
}

#[test]
fn every_metric_is_documented() {
    let text = page("docs/reference/metrics.md");
    let names = metric_names();
    let missing: Vec<String> = names.iter().filter(|name| !text.contains(&format!("`{name}`"))).cloned().collect();
    none(&missing, "docs/reference/metrics.md lacks");
    let listed =
        text.split('`').skip(1).step_by(2).filter(|word| word.starts_with("weft_") && !word.contains(['{', '=', ' ']));
    let gone: Vec<String> = listed.filter(|word| !names.contains(*word)).map(str::to_owned).collect();
    none(&gone, "docs/reference/metrics.md names what is no metric");
}

/// The quoted texts that follow `prefix` in a file.
fn quoted_after(text: &str, prefix: &str) -> BTreeSet<String> {
    let parts = text.split(prefix).skip(1).filter_map(|rest| rest.split('"').next());
    parts.map(str::to_owned).collect()
}

#[test]
fn every_code_has_its_page_and_every_page_its_code() {
    let registry = page("gossip/identity/src/codes.rs");
    let table =
        registry.split("codes! {").nth(1).unwrap_or_default().split("\n}").next().unwrap_or_default().to_owned();
    let rows = table.lines().filter(|line| !line.trim_start().starts_with("//"));
    let codes: BTreeSet<String> = rows.filter_map(|line| line.split('"').nth(1)).map(str::to_owned).collect();
    assert!(codes.len() > 30, "the registry was read: {codes:?}");
    let pages = fs::read_dir(root().join("docs/errors")).expect("docs/errors").flatten();
    let pages: BTreeSet<String> =
        pages.map(|entry| entry.file_name().to_string_lossy().trim_end_matches(".md").to_owned()).collect();
    let odd: Vec<String> = codes.symmetric_difference(&pages).cloned().collect();
    none(&odd, "codes without a page, or pages without a code");
}

#[test]
fn every_setting_is_documented() {
    let keys = quoted_after(&page("node/world/src/config/keys.rs"), "key(\"");
    assert!(keys.len() > 10, "the table was read: {keys:?}");
    let text = page("docs/reference/configuration.md");
    let missing: Vec<String> = keys.into_iter().filter(|key| !text.contains(&format!("`{key}`"))).collect();
    none(&missing, "docs/reference/configuration.md lacks");
}

#[test]
fn every_gossip_key_is_documented() {
    let files = rust_files().into_iter().filter(|(path, _)| path.starts_with("gossip/src/membership"));
    let lines = files.flat_map(|(_, text)| text.lines().map(str::to_owned).collect::<Vec<_>>());
    let constants = lines.filter(|line| line.contains("const ") && line.contains("_KEY: &str = "));
    let keys: BTreeSet<String> = constants.filter_map(|line| line.split('"').nth(1).map(str::to_owned)).collect();
    assert!(!keys.is_empty(), "the keys were found");
    let text = page("docs/ARCHITECTURE.md");
    let table = text.split("| gossip key |").nth(1).unwrap_or_default().split("\n\n").next().unwrap_or_default();
    let rows = table.lines().skip(2).filter_map(|row| row.split('`').nth(1));
    let listed: BTreeSet<String> = rows.map(str::to_owned).collect();
    let odd: Vec<String> = keys.symmetric_difference(&listed).cloned().collect();
    none(&odd, "gossip keys that docs/ARCHITECTURE.md lacks, or lists and there are not");
}

#[test]
fn every_actor_is_documented() {
    let text = page("docs/actors.md").to_lowercase();
    let (mut missing, mut actors) = (Vec::new(), 0);
    for (path, source) in rust_files().into_iter().filter(|(path, _)| path.starts_with("actors/src/actor/")) {
        let stem = Path::new(&path).file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if !source.contains("impl Role for ") {
            continue;
        }
        actors += 1;
        if !text.contains(&format!("`{stem}`")) {
            missing.push(path);
        }
    }
    assert!(actors >= 8, "the actors were found: {actors}");
    none(&missing, "docs/actors.md lacks");
    for word in ["owns", "receives", "publishes", "crash"] {
        assert!(text.contains(word), "docs/actors.md tells what an actor {word}");
    }
}

#[test]
fn links_between_pages_lead_somewhere() {
    let mut found = Vec::new();
    for (path, text) in texts(&[".md"]) {
        let folder = root().join(&path).parent().expect("a file lies in a folder").to_owned();
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = target.split('#').next().unwrap_or_default();
            let is_foreign = file.is_empty() || file.contains("://") || file.contains(' ');
            if !is_foreign && !folder.join(file).exists() {
                found.push(format!("{path}: {target}"));
            }
        }
    }
    none(&found, "broken links");
}
