//! What is told of the host: its disks, and its absences.

use super::{World, simple};
use crate::agent::core::{Disk, Event};
use serde_json::json;
use std::time::Duration;

fn disk(free_bytes: u64) -> Event {
    let disk = Disk { path: "/state".into(), free_bytes, total_bytes: 100 << 30, free_files: 500, total_files: 1000 };
    Event::Disks(vec![disk])
}

#[test]
fn a_full_disk_is_told_once_and_again_when_it_has_room() {
    let mut world = World::new();
    world.tell(disk(1 << 20));
    world.pass(1_000);
    assert_eq!(world.conditions.disk_pressure.as_deref(), Some("the disk of /state is full (about 0 % are free)"));
    world.tell(disk(2 << 30));
    world.pass(1_000);
    assert_eq!(world.conditions.disk_pressure, None);
}

#[test]
fn a_ledger_that_cannot_be_written_is_a_full_disk_and_what_runs_goes_on() {
    let mut world = World::new();
    let first = world.run(0, &simple("app:1", json!({})));
    world.host.disk_full = true;
    world.run(1, &simple("app:2", json!({})));
    world.pass(5_000);
    let why = world.conditions.disk_pressure.clone().expect("pressure");
    assert!(why.starts_with("the ledger cannot be written: no space left"), "{why}");
    assert!(world.report(first).ready);
    world.host.disk_full = false;
    world.pass(60_000);
    assert_eq!(world.conditions.disk_pressure, None);
}

#[test]
fn an_absence_is_told_at_once_and_what_is_left_of_it_to_a_controller_that_comes_later() {
    let mut world = World::new();
    world.pass(1_000);
    world.tell(Event::Leave(Duration::from_secs(600)));
    assert_eq!(world.absences, [Duration::from_secs(600)]);
    world.pass(1_000);
    world.tell(Event::Disconnected);
    world.pass(59_000);
    world.tell(Event::Connected);
    world.pass(1_000);
    assert_eq!(world.absences.last(), Some(&Duration::from_secs(540)));
}

#[test]
fn an_absence_that_is_taken_back_or_over_is_none() {
    let mut world = World::new();
    world.tell(Event::Leave(Duration::from_secs(600)));
    world.tell(Event::Leave(Duration::ZERO));
    world.pass(1_000);
    assert_eq!(world.absences, [Duration::ZERO]);
    world.restart_agent();
    world.pass(1_000);
    assert_eq!(world.absences, [Duration::ZERO], "the next agent knows nothing of it");
}
