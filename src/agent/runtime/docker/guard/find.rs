//! The processes of a container, as the host sees them.

use std::fs;
use std::path::Path;

/// The pids of all processes of the container with this id, the first that was started first. Ids of containers are 64 digits and part
/// of the name of their cgroups: `/docker/ID`, `/system.slice/docker-ID.scope`, `/machine.slice/libpod-ID.scope`.
pub(in crate::agent::runtime::docker) fn processes(id: &str) -> Vec<i32> {
    below(Path::new("/proc"), id)
}

fn below(proc: &Path, id: &str) -> Vec<i32> {
    let mut found: Vec<(u64, i32)> = Vec::new();
    for entry in fs::read_dir(proc).into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
        let groups = fs::read_to_string(entry.path().join("cgroup")).unwrap_or_default();
        if !groups.contains(id) {
            continue;
        }
        // One that ends while we look at it is none of them.
        if let Some(start) = fs::read_to_string(entry.path().join("stat")).ok().as_deref().and_then(start_of) {
            found.push((start, pid));
        }
    }
    found.sort_unstable();
    found.into_iter().map(|(_, pid)| pid).collect()
}

/// When a process was started, by its `stat`; `None` if it has ended.
/// <https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html>
fn start_of(stat: &str) -> Option<u64> {
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let has_ended = matches!(*fields.first()?, "Z" | "X");
    if has_ended { None } else { fields.get(19)?.parse().ok() }
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
        assert_eq!(below(proc.path(), &id), [9, 7]);
        assert_eq!(below(proc.path(), &"ef".repeat(32)), [] as [i32; 0]);
    }
}
