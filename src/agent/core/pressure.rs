//! Whether the host has room on its disks, and whether it announced its absence.
//!
//! A disk is full when less than a tenth of it and less than 1 GiB is free, or less than a hundredth of its files; it has room again
//! when half as much again is free. A ledger that cannot be written counts as a full disk, whatever the disk says.

use super::agent::Agent;
use super::event::Disk;
use crate::model::{Moment, NodeConditions};
use std::time::Duration;

/// With so much free a disk is not full, however large it is.
const FREE_BYTES_MAX: u64 = 1 << 30;

impl Agent {
    /// Takes in how full the disks are that pods and we need.
    pub(super) fn measured(&mut self, disks: &[Disk]) {
        let was_full = self.full_disk.is_some();
        self.full_disk = disks.iter().find_map(|disk| full(disk, was_full));
        self.judge_disks();
    }

    /// Says whether the ledger can be written.
    pub(super) fn note_saving(&mut self, trouble: Option<&str>) {
        self.unsaved = trouble.map(|message| format!("the ledger cannot be written: {message}"));
        self.judge_disks();
    }

    fn judge_disks(&mut self) {
        let disk_pressure = self.unsaved.clone().or_else(|| self.full_disk.clone());
        let conditions = NodeConditions { disk_pressure };
        if self.conditions != conditions {
            self.conditions = conditions;
            self.outbox.conditions = true;
        }
    }

    /// The host will be away for so long from now; not at all, if that is zero.
    pub(super) fn leave(&mut self, away: Duration, now: Moment) {
        self.away_until = Some(now + away);
        self.outbox.away = true;
    }

    /// For how long the host may still be away, if that was announced.
    pub(super) fn absence(&self, now: Moment) -> Option<Duration> {
        self.away_until.map(|until| until.since(now))
    }
}

/// What to say of a disk that is full. Free space is written roughly, so that it is said once and not with every byte.
fn full(disk: &Disk, was_full: bool) -> Option<String> {
    let (parts, of) = if was_full { (3, 2) } else { (1, 1) };
    let least = (disk.total_bytes / 10).min(FREE_BYTES_MAX) / of * parts;
    let least_files = disk.total_files / 100 / of * parts;
    let path = disk.path.display();
    if disk.free_bytes < least {
        let percent = disk.free_bytes.saturating_mul(100) / disk.total_bytes.max(1);
        return Some(format!("the disk of {path} is full (about {percent} % are free)"));
    }
    (disk.free_files < least_files).then(|| format!("the disk of {path} has no room for more files"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    /// A disk with so many bytes free of so many, and so many files of 1000.
    fn check(free_bytes: u64, total_bytes: u64, free_files: u64, was_full: bool, expected: Option<&str>) {
        let disk = Disk { path: "/state".into(), free_bytes, total_bytes, free_files, total_files: 1000 };
        assert_eq!(full(&disk, was_full).as_deref(), expected, "{free_bytes} of {total_bytes}, {free_files} files");
    }

    #[test]
    fn a_disk_is_full_when_little_is_left_of_it() {
        check(GIB / 2, 100 * GIB, 500, false, Some("the disk of /state is full (about 0 % are free)"));
        check(2 * GIB, 100 * GIB, 500, false, None);
        check(GIB / 4, GIB, 500, false, None);
        check(GIB / 16, GIB, 500, false, Some("the disk of /state is full (about 6 % are free)"));
        check(0, 0, 500, false, None);
    }

    #[test]
    fn a_disk_without_room_for_files_is_full() {
        check(50 * GIB, 100 * GIB, 9, false, Some("the disk of /state has no room for more files"));
        check(50 * GIB, 100 * GIB, 10, false, None);
    }

    #[test]
    fn a_full_disk_has_room_again_only_when_clearly_more_is_free() {
        check(GIB + GIB / 4, 100 * GIB, 500, true, Some("the disk of /state is full (about 1 % are free)"));
        check(GIB + GIB / 2, 100 * GIB, 500, true, None);
        check(50 * GIB, 100 * GIB, 14, true, Some("the disk of /state has no room for more files"));
    }
}
