//! What packaging/ ships: units that systemd accepts, and options that the commands have.

use clap::{Command, CommandFactory, Parser};
use driftless::cli::Cli;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const UNITS: [&str; 3] = ["driftless-controller.service", "driftless-agent.service", "driftless.service"];

fn packaging() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging")
}

fn read(file: &str) -> String {
    std::fs::read_to_string(packaging().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// The values of a setting of a unit, in order.
fn values<'a>(unit: &'a str, setting: &str) -> Vec<&'a str> {
    let pairs = unit.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once('='));
    pairs.filter(|(name, _)| *name == setting).map(|(_, value)| value).collect()
}

/// The arguments of a unit's program, without the program.
fn arguments(unit: &str) -> Vec<&str> {
    let [start] = values(unit, "ExecStart")[..] else { panic!("one ExecStart: {unit}") };
    let mut words = start.split(' ');
    assert_eq!(words.next(), Some("/usr/local/bin/driftless"));
    words.collect()
}

fn subcommand(name: &str) -> Command {
    Cli::command().find_subcommand(name).unwrap_or_else(|| panic!("there is no driftless {name}")).clone()
}

/// The options of an example file: those in force, and those that are only shown.
fn options(text: &str) -> Vec<(String, String)> {
    let lines = text.lines().map(|line| line.strip_prefix("# ").unwrap_or(line));
    let pairs = lines.filter_map(|line| line.split_once(": "));
    let named = |name: &str| !name.is_empty() && name.chars().all(|c| c.is_ascii_lowercase() || c == '-');
    pairs.filter(|(name, _)| named(name)).map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

#[test]
fn every_unit_is_one_that_systemd_accepts() {
    let folder = tempfile::tempdir().expect("a folder");
    let units = UNITS.map(|unit| {
        let file = folder.path().join(unit);
        let text = read(unit).replace("/usr/local/bin/driftless", env!("CARGO_BIN_EXE_driftless"));
        std::fs::write(&file, text).expect("written");
        file
    });
    let output = std::process::Command::new("systemd-analyze").arg("verify").args(units).output();
    let output = output.expect("systemd-analyze must be installed (Debian: apt-get install systemd)");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{said}");
}

#[test]
fn every_unit_starts_a_command_with_a_file_that_is_shipped() {
    for unit in UNITS {
        let text = read(unit);
        let arguments = arguments(&text);
        let [name, "--config", file] = arguments[..] else { panic!("{unit}: {arguments:?}") };
        assert!(subcommand(name).get_arguments().any(|argument| argument.get_long() == Some("config")));
        let shipped = file.replace("/etc/driftless", "etc");
        assert!(!read(&shipped).is_empty());
    }
}

#[test]
fn every_variable_of_a_unit_is_one_that_its_command_reads() {
    for unit in UNITS {
        let text = read(unit);
        let command = subcommand(arguments(&text)[0]);
        let known: Vec<String> =
            command.get_arguments().filter_map(|argument| Some(argument.get_env()?.to_str()?.to_owned())).collect();
        for (name, _) in values(&text, "Environment").into_iter().filter_map(|pair| pair.split_once('=')) {
            assert!(name == "HOME" || known.iter().any(|known| known == name), "{unit} sets {name}, which nobody reads");
        }
    }
}

#[test]
fn every_option_of_an_example_file_is_one_that_its_command_takes() {
    for name in ["controller", "agent", "up"] {
        let text = read(&format!("etc/{name}.yaml"));
        let given: BTreeMap<String, String> = options(&text).into_iter().collect();
        assert!(given.len() > 2, "{name}: {given:?}");
        let flags = given.iter().map(|(option, value)| format!("--{option}={value}"));
        let line = ["driftless".to_owned(), name.to_owned()].into_iter().chain(flags);
        if let Err(error) = Cli::try_parse_from(line) {
            panic!("etc/{name}.yaml: {error}");
        }
    }
}

#[test]
fn host_processes_outlive_the_agent_and_nothing_hides_its_mounts_from_docker() {
    for unit in ["driftless-agent.service", "driftless.service"] {
        let text = read(unit);
        assert_eq!(values(&text, "KillMode"), ["process"], "{unit}");
        assert_eq!(values(&text, "RuntimeDirectoryPreserve"), ["yes"], "{unit}");
        for setting in ["ProtectSystem", "ProtectHome", "PrivateTmp", "PrivateDevices", "ReadOnlyPaths", "NoNewPrivileges"] {
            assert_eq!(values(&text, setting), [""; 0], "{unit}: {setting}");
        }
    }
}
