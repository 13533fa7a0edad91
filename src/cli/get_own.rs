//! `driftless get reconciles|units|problems`: what Kubernetes has no word for.

use super::CliResult;
use super::client::{Client, Form};
use super::columns::{Columns, note, write_stdout};
use super::get::{Output, cell, print_value};
use crate::status::age_of;
use anstyle::{AnsiColor, Style};
use serde_json::Value;
use std::process::ExitCode;

/// A kind of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Own {
    Reconciles,
    Units,
    Problems,
}

impl Own {
    /// The kind that a user means.
    pub(super) fn named(name: &str) -> Option<Own> {
        match name {
            "reconciles" | "reconcile" | "plans" | "plan" => Some(Own::Reconciles),
            "units" | "unit" => Some(Own::Units),
            "problems" | "problem" => Some(Own::Problems),
            _ => None,
        }
    }

    fn path(self) -> &'static str {
        match self {
            Own::Reconciles => "/driftless/v1/reconciles",
            Own::Units => "/driftless/v1/units",
            Own::Problems => "/driftless/v1/problems",
        }
    }
}

/// Asks and prints.
///
/// # Errors
/// When nobody answers.
pub(super) async fn print(client: &Client, own: Own, output: Output) -> CliResult<ExitCode> {
    let answer = client.get(own.path(), Form::Json).await?;
    let items = answer["items"].as_array().map(Vec::as_slice).unwrap_or_default();
    match (output, own) {
        (Output::Json | Output::Yaml, _) => print_value(&answer, output)?,
        (Output::Text | Output::Wide, Own::Reconciles) => print_columns(reconciles(items), "No reconciles yet")?,
        (Output::Text | Output::Wide, Own::Units) => print_columns(units(items), "No units: the revision has no manifests")?,
        (Output::Text | Output::Wide, Own::Problems) => print_problems(items)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn print_columns(columns: Columns, otherwise: &str) -> CliResult<()> {
    if columns.is_empty() {
        note(otherwise);
        return Ok(());
    }
    write_stdout(&columns.render())
}

fn short(revision: &Value) -> String {
    revision.as_str().and_then(|revision| revision.get(..8)).unwrap_or("").to_owned()
}

fn reconciles(items: &[Value]) -> Columns {
    let mut columns = Columns::new(["When", "Outcome", "Trigger", "Changes", "Revision", "Subject"]);
    for item in items {
        let count = |name: &str| item["changes"][name].as_u64().unwrap_or(0);
        columns.push(vec![
            age_of(item["started"].as_str().unwrap_or(""), crate::clock::now()).unwrap_or_default(),
            cell(&item["outcome"]),
            cell(&item["trigger"]),
            format!("+{} ~{} -{}", count("create"), count("update"), count("delete")),
            short(&item["revision"]),
            cell(&item["subject"]),
        ]);
    }
    columns
}

fn units(items: &[Value]) -> Columns {
    let mut columns = Columns::new(["Unit", "State", "Revision", "Failed at", "Problems"]);
    for item in items {
        let problems = item["problems"].as_array().map_or(0, Vec::len);
        columns.push(vec![
            cell(&item["name"]),
            cell(&item["state"]),
            short(&item["revision"]),
            short(&item["failed"]),
            problems.to_string(),
        ]);
    }
    columns
}

fn print_problems(items: &[Value]) -> CliResult<()> {
    if items.is_empty() {
        note("No problems");
        return Ok(());
    }
    let blocks: Vec<String> = items.iter().map(problem).collect();
    write_stdout(&blocks.join("\n"))
}

fn problem(item: &Value) -> String {
    let cause = &item["problem"];
    let colour = if cause["severity"] == "warning" { AnsiColor::Yellow } else { AnsiColor::Red };
    let (bold, dim) = (colour.on_default().bold(), Style::new().dimmed());
    let text = |value: &Value| cell(value).replace(|c: char| c.is_control(), " ");
    let mut block = format!("{bold}{}{bold:#}: {}\n", text(&item["about"]), text(&item["message"]));
    if cause.is_object() {
        let at = &cause["at"];
        let said = if cause["message"] == item["message"] { String::new() } else { format!(": {}", text(&cause["message"])) };
        block.push_str(&format!("  {dim}at{dim:#} {}:{}:{}{said}\n", text(&at["file"]), at["line"], at["column"]));
    }
    let mut hints: Vec<&str> = [&cause["hint"], &item["hint"]].into_iter().filter_map(Value::as_str).collect();
    hints.dedup();
    for hint in hints {
        block.push_str(&format!("  {dim}hint{dim:#} {hint}\n"));
    }
    block
}
