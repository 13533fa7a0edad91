//! What the compiler cannot see in one crate: which room may import which, that pure rooms stay pure, that nothing grows too large.
//!
//! The rules are ARCHITECTURE.md's invariants. A breach names the file, the line and the rule.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// For each room, the rooms that it may import. `cli` and `main` may import everything.
const LAYERS: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("causes", &[]),
    ("clock", &["model"]),
    ("private_file", &[]),
    ("telemetry", &[]),
    ("manifest", &["model"]),
    ("diff", &["model", "manifest"]),
    ("apply", &["model", "diff"]),
    ("controller", &["model", "diff", "apply"]),
    ("controller/shell", &["model", "manifest", "controller", "trust", "wire", "sync", "status", "causes", "clock"]),
    ("trust", &["model", "private_file"]),
    ("wire", &["model", "trust", "causes", "clock"]),
    ("agent", &["model", "trust", "wire", "causes", "clock"]),
    ("sync", &["model", "manifest", "private_file", "clock"]),
    ("status", &["model", "clock"]),
];

/// Rooms and files that decide and do not act.
const PURE: &[&str] = &[
    "model",
    "manifest",
    "diff",
    "apply",
    "controller",
    "agent/core",
    "agent/core.rs",
    "agent/converge",
    "agent/converge.rs",
    "agent/launch",
    "agent/launch.rs",
    "agent/net/dns/zone",
    "agent/net/dns/zone.rs",
    "agent/net/dns/message",
    "agent/net/dns/message.rs",
];

/// Exceptions within pure rooms: the shells.
const SHELLS: &[&str] = &["controller/shell"];

/// What a pure file must not contain, and why.
const IMPURE: &[(&str, &str)] = &[
    ("async fn", "pure rooms are synchronous"),
    (".await", "pure rooms are synchronous"),
    ("tokio::", "pure rooms know no runtime"),
    ("std::fs", "pure rooms read no files"),
    ("std::process", "pure rooms start no processes"),
    ("std::env", "pure rooms read no environment"),
    ("std::thread::sleep", "pure rooms do not wait"),
    ("TcpStream", "pure rooms open no sockets"),
    ("TcpListener", "pure rooms open no sockets"),
    ("UdpSocket", "pure rooms open no sockets"),
    ("crate::clock", "time is an argument"),
    ("SystemTime", "time is an argument"),
    ("Instant::", "time is an argument"),
    ("Uuid::new_v4", "ids are derived, not random"),
    ("HashMap", "ordered maps wherever something is iterated"),
    ("HashSet", "ordered sets wherever something is iterated"),
];

/// Lines of a file, its tests not counted.
const FILE_LINES_MAX: usize = 500;

struct Source {
    /// Relative to `src/`.
    path: String,
    text: String,
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    collect(&root, &mut files);
    files.sort();
    files
        .into_iter()
        .map(|path| Source {
            path: path.strip_prefix(&root).expect("below src").to_string_lossy().into_owned(),
            text: fs::read_to_string(&path).expect("a readable source file"),
        })
        .collect()
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a readable folder") {
        let path = entry.expect("a readable entry").path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// The lines before the tests of a file, with their numbers; comments are blanked.
fn code_lines(source: &Source) -> impl Iterator<Item = (usize, &str)> {
    source
        .text
        .lines()
        .enumerate()
        .take_while(|(_, line)| !line.starts_with("#[cfg(test)]"))
        .map(|(index, line)| (index + 1, line.split("//").next().unwrap_or("")))
}

fn is_test_file(path: &str) -> bool {
    path.ends_with("tests.rs") || path.contains("/tests/") || path.contains("test_")
}

fn is_below(path: &str, room: &str) -> bool {
    path == room || path == format!("{room}.rs") || path.starts_with(&format!("{room}/"))
}

fn room_of(path: &str) -> Option<&'static str> {
    LAYERS.iter().map(|(room, _)| *room).filter(|room| is_below(path, room)).max_by_key(|room| room.len())
}

fn assert_none(rule: &str, breaches: &[String]) {
    assert!(breaches.is_empty(), "{rule}:\n  {}", breaches.join("\n  "));
}

#[test]
fn rooms_import_only_what_lies_below_them() {
    let mut breaches = Vec::new();
    for source in sources().iter().filter(|source| !is_test_file(&source.path)) {
        let Some(room) = room_of(&source.path) else { continue };
        let top = room.split('/').next().unwrap_or(room);
        let allowed = LAYERS.iter().find(|(name, _)| *name == room).map_or(&[][..], |(_, allowed)| allowed);
        for (number, line) in code_lines(source) {
            for import in line.split("crate::").skip(1) {
                let target = import.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or("");
                let known = LAYERS.iter().any(|(name, _)| *name == target) || target == "cli";
                if known && target != top && !allowed.contains(&target) {
                    breaches.push(format!("src/{}:{number}: {room} imports {target}", source.path));
                }
            }
        }
    }
    assert_none("data flows one way", &breaches);
}

#[test]
fn pure_rooms_do_no_io_and_read_no_clock() {
    let mut breaches = Vec::new();
    for source in sources().iter().filter(|source| !is_test_file(&source.path)) {
        let pure = PURE.iter().any(|room| is_below(&source.path, room));
        if !pure || SHELLS.iter().any(|room| is_below(&source.path, room)) {
            continue;
        }
        for (number, line) in code_lines(source) {
            for (token, why) in IMPURE.iter().filter(|(token, _)| line.contains(token)) {
                breaches.push(format!("src/{}:{number}: {token}: {why}", source.path));
            }
        }
    }
    assert_none("decide in pure code, act in the shell", &breaches);
}

#[test]
fn files_stay_small() {
    let mut breaches = Vec::new();
    for source in sources().iter().filter(|source| !is_test_file(&source.path)) {
        let lines = code_lines(source).count();
        if lines > FILE_LINES_MAX {
            breaches.push(format!("src/{}: {lines} lines, at most {FILE_LINES_MAX}", source.path));
        }
    }
    assert_none("a file does one thing", &breaches);
}

#[test]
fn every_room_tells_its_story() {
    let mut breaches = Vec::new();
    for source in sources().iter().filter(|source| !is_test_file(&source.path)) {
        if !source.text.starts_with("//!") {
            breaches.push(format!("src/{}: no module docs", source.path));
        }
    }
    assert_none("a newcomer finds the room by its story", &breaches);
}

#[test]
fn names_say_what_a_module_is_for() {
    const VAGUE: &[&str] = &["util", "utils", "helper", "helpers", "common", "misc", "manager"];
    let breaches: Vec<String> = sources()
        .iter()
        .filter(|source| {
            let name = source.path.rsplit('/').next().unwrap_or("").trim_end_matches(".rs");
            VAGUE.contains(&name) || source.path.split('/').any(|part| VAGUE.contains(&part))
        })
        .map(|source| format!("src/{}", source.path))
        .collect();
    assert_none("modules are nouns of the field", &breaches);
}

#[test]
fn only_the_clock_reads_the_clock_and_no_lint_is_switched_off() {
    let mut breaches = Vec::new();
    for source in sources().iter().filter(|source| !is_test_file(&source.path) && source.path != "clock.rs") {
        for (number, line) in code_lines(source) {
            if line.contains("Instant::now()") && !line.contains("tokio::time") || line.contains("SystemTime::now()") {
                breaches.push(format!("src/{}:{number}: clock.rs alone reads the clock", source.path));
            }
            if line.contains("#[allow(") || line.contains("#![allow(") {
                breaches.push(format!("src/{}:{number}: #[expect(lint, reason)] instead of allow", source.path));
            }
        }
    }
    assert_none("rules without exceptions", &breaches);
}

#[test]
fn every_dependency_has_a_licence_that_deny_toml_allows() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let deny = fs::read_to_string(root.join("deny.toml")).expect("deny.toml");
    let allowed: Vec<&str> = deny
        .lines()
        .skip_while(|line| !line.starts_with("allow = ["))
        .skip(1)
        .take_while(|line| !line.starts_with(']'))
        .filter_map(|line| line.split('"').nth(1))
        .collect();
    let output = std::process::Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--locked", "--offline", "--filter-platform=x86_64-unknown-linux-gnu"])
        .current_dir(root)
        .output()
        .expect("cargo metadata runs");
    assert!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let mut breaches: BTreeMap<String, String> = BTreeMap::new();
    for package in metadata["packages"].as_array().expect("packages") {
        let licence = package["license"].as_str().unwrap_or("none");
        if !satisfies(licence, &allowed) {
            breaches.insert(package["name"].to_string(), licence.to_owned());
        }
    }
    assert!(breaches.is_empty(), "licences that deny.toml does not allow: {breaches:?}");
}

/// Whether an SPDX expression can be met with the allowed licences: every AND part has an allowed OR alternative. Enough for the
/// expressions that crates use, which nest no deeper than `(A OR B) AND C`.
fn satisfies(expression: &str, allowed: &[&str]) -> bool {
    let flat = expression.replace('/', " OR ");
    flat.split(" AND ").all(|part| {
        part.split(" OR ")
            .map(|licence| licence.trim_matches(|c: char| c == '(' || c == ')' || c == ' '))
            .any(|licence| allowed.contains(&licence))
    })
}
