//! The processes of a container, as the host sees them.

use crate::agent::runtime::procfs::{Proc, Stat};
use std::fs;
use std::path::Path;

/// All processes of the container with this id, the first that was started first. Ids of containers are 64 digits and part of the name
/// of their cgroups: `/docker/ID`, `/system.slice/docker-ID.scope`, `/machine.slice/libpod-ID.scope`.
pub(in crate::agent::runtime::docker) fn processes(id: &str) -> Vec<Proc> {
    below(Path::new("/proc"), id)
}

fn below(proc: &Path, id: &str) -> Vec<Proc> {
    let mut found = Vec::new();
    for entry in fs::read_dir(proc).into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
        let groups = fs::read_to_string(entry.path().join("cgroup")).unwrap_or_default();
        if !groups.contains(id) {
            continue;
        }
        // One that ends while we look at it is none of them.
        let stat = fs::read_to_string(entry.path().join("stat")).ok().as_deref().and_then(Stat::parse);
        found.extend(stat.filter(|stat| !stat.has_ended()).map(|stat| Proc { pid, start: stat.start }));
    }
    found.sort_unstable_by_key(|process| (process.start, process.pid));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(proc: &Path, pid: i32, cgroup: &str, (state, start): (char, u64)) {
        let folder = proc.join(pid.to_string());
        fs::create_dir(&folder).expect("a process");
        fs::write(folder.join("cgroup"), cgroup).expect("its cgroup");
        let stat = format!("{pid} (a) b) {state} 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 {start} 0 0");
        fs::write(folder.join("stat"), stat).expect("its stat");
    }

    #[test]
    fn processes_are_found_under_every_kind_of_cgroup_the_oldest_first() {
        let proc = tempfile::tempdir().expect("a folder");
        let (id, other) = ("ab".repeat(32), "cd".repeat(32));
        process(proc.path(), 7, &format!("4:memory:/docker/{id}\n3:cpu:/docker/{id}\n"), ('S', 900));
        process(proc.path(), 9, &format!("0::/system.slice/docker-{id}.scope/inner\n"), ('S', 500));
        process(proc.path(), 11, &format!("0::/machine.slice/libpod-{id}.scope\n"), ('Z', 400));
        process(proc.path(), 12, &format!("0::/docker/{other}\n"), ('S', 100));
        fs::write(proc.path().join("uptime"), "1 1").expect("no process");
        assert_eq!(below(proc.path(), &id), [Proc { pid: 9, start: 500 }, Proc { pid: 7, start: 900 }]);
        assert_eq!(below(proc.path(), &"ef".repeat(32)), []);
    }
}
