//! The config file: flags of the command, written as YAML without their dashes. A flag wins over its environment variable, which wins
//! over the file.

use crate::cli::{Cli, CliError, CliResult};
use clap::{Args, Command, CommandFactory, FromArgMatches};
use serde_json::Value;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Where more options are.
#[derive(Debug, Clone, Args)]
pub(crate) struct ConfigArgs {
    /// A YAML file with any of these options, written without dashes (`repo: /srv/shop.git`)
    #[arg(long, env = "DRIFTLESS_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

/// Reads the command line, the environment and the config file that they name. Ends the process where clap does: on `--help`, and
/// with its own message on a mistake in the command line.
///
/// # Errors
/// The config file cannot be read, or names an option that the command does not have.
pub fn parse() -> CliResult<Cli> {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let command = with_config(Cli::command(), &arguments)?;
    let matches = command.get_matches_from(arguments);
    Cli::from_arg_matches(&matches).map_err(|error| error.exit())
}

/// The command with the values of the config file as defaults.
fn with_config(command: Command, arguments: &[OsString]) -> CliResult<Command> {
    let Some((name, file)) = named_file(&command, arguments) else { return Ok(command) };
    let values = read(&file)?;
    let known: Vec<String> = options_of(&command, &name);
    if let Some(unknown) = values.keys().find(|key| !known.contains(key)) {
        return Err(CliError::new(format!("{}: driftless {name} has no option {unknown}", file.display()))
            .hint(format!("it has: {}", known.join(", "))));
    }
    Ok(command.mut_subcommand(name, |command| {
        values.into_iter().fold(command, |command, (key, value)| {
            // Clap keeps defaults for as long as the program runs; this happens once.
            let value: &'static str = Box::leak(value.into_boxed_str());
            command.mut_arg(key.replace('-', "_"), |arg| arg.default_value(value).hide_default_value(true).required(false))
        })
    }))
}

/// The subcommand and its config file, if one is named. Mistakes of the command line are left to the real parse.
fn named_file(command: &Command, arguments: &[OsString]) -> Option<(String, PathBuf)> {
    let matches = command.clone().ignore_errors(true).try_get_matches_from(arguments).ok()?;
    let (name, matches) = matches.subcommand()?;
    let file = matches.try_get_one::<PathBuf>("config").ok()??;
    Some((name.to_owned(), file.clone()))
}

/// The options that a config file may set.
fn options_of(command: &Command, name: &str) -> Vec<String> {
    let subcommand = command.find_subcommand(name);
    let options = subcommand.into_iter().flat_map(Command::get_arguments).filter_map(clap::Arg::get_long);
    options.filter(|option| !["config", "help", "version"].contains(option)).map(str::to_owned).collect()
}

fn read(file: &Path) -> CliResult<BTreeMap<String, String>> {
    let unreadable = format!("cannot read the config file {}", file.display());
    let text = std::fs::read_to_string(file).map_err(|error| CliError::with_source(unreadable, error))?;
    // An error with a snippet would print the file, and a URL in it may hold a password.
    let values: BTreeMap<String, Value> = serde_saphyr::from_str(&text).map_err(|error| {
        CliError::with_source(format!("{} is not a YAML mapping of options", file.display()), error.without_snippet().to_string())
    })?;
    values.into_iter().map(|(key, value)| Ok((key.clone(), scalar(file, &key, value)?))).collect()
}

fn scalar(file: &Path, key: &str, value: Value) -> CliResult<String> {
    match value {
        Value::String(text) => Ok(text),
        Value::Number(number) => Ok(number.to_string()),
        Value::Bool(flag) => Ok(flag.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => {
            Err(CliError::new(format!("{}: {key} must be a single value", file.display())).hint("write `option: value`"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn up(config: &str, arguments: &[&str]) -> Result<clap::ArgMatches, String> {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("config.yaml");
        std::fs::write(&file, config).expect("written");
        let mut all: Vec<OsString> = vec!["driftless".into(), "up".into(), "--config".into(), file.into()];
        all.extend(arguments.iter().map(OsString::from));
        let command = with_config(Cli::command(), &all).map_err(|error| error.render())?;
        let matches = command.try_get_matches_from(all).map_err(|error| error.to_string())?;
        Ok(matches.subcommand().expect("up").1.clone())
    }

    #[test]
    fn the_file_gives_what_the_command_line_does_not() {
        let matches = up("repo: /srv/shop.git\npoll-interval: 5s\ncluster: prod\n", &["--cluster", "test"]).expect("parses");
        assert_eq!(matches.get_one::<String>("repo").map(String::as_str), Some("/srv/shop.git"));
        assert_eq!(matches.get_one::<String>("cluster").map(String::as_str), Some("test"));
        let period = matches.get_one::<super::super::Period>("poll_interval").expect("a default");
        assert_eq!(period.duration().as_secs(), 5);
    }

    #[test]
    fn a_list_in_the_file_is_split_like_one_on_the_command_line() {
        let matches = up("repo: /srv/shop.git\nallow: privileged,host-path=/srv\n", &[]).expect("parses");
        let grants = matches.get_many::<crate::model::Grant>("allow").expect("defaults");
        assert_eq!(grants.map(ToString::to_string).collect::<Vec<_>>(), ["privileged", "host-path=/srv"]);
    }

    #[test]
    fn an_option_that_the_command_does_not_have_is_named_with_those_it_has() {
        let refused = up("repos: /srv/shop.git\n", &[]).expect_err("refused");
        assert!(refused.contains("no option repos") && refused.contains("poll-interval"), "{refused}");
    }

    #[test]
    fn an_error_in_the_file_does_not_print_it() {
        let refused = up("repo: https://bot:hunter2@forge.example/shop.git\n  branch: [\n", &[]).expect_err("refused");
        assert!(!refused.contains("hunter2"), "{refused}");
    }
}
