//! Cgroups of a process: to kill everything at once, to limit, and to count.
//!
//! Version 2 has one tree, where `cgroup.kill` ends everything at once; version 1 has a tree per controller; hybrid hosts have both.
//! A group is made in every tree that helps and lets us; where none does, the caller walks the process' children instead.

use crate::agent::runtime::Limits;
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The groups' folder in each tree.
const PARENT: &str = "driftless";

/// Controllers of version 1 that help: `freezer` to see and kill all, the others to limit and count.
const CONTROLLERS: &[&str] = &["freezer", "cpu", "cpuacct", "memory"];

/// What `cpu.cfs_period_us` and `cpu.max` count in.
const PERIOD_US: u64 = 100_000;

/// The trees that are mounted: the one of version 2 (if any), and those of version 1 that we use.
fn trees() -> Vec<PathBuf> {
    parse_trees(&fs::read_to_string("/proc/self/mountinfo").unwrap_or_default())
}

/// <https://man7.org/linux/man-pages/man5/proc_pid_mountinfo.5.html>: optional fields end with ` - `, then type, source, options.
fn parse_trees(mountinfo: &str) -> Vec<PathBuf> {
    let mut trees = BTreeSet::new();
    for line in mountinfo.lines() {
        let Some((mount, filesystem)) = line.split_once(" - ") else { continue };
        let Some(point) = mount.split(' ').nth(4) else { continue };
        let mut words = filesystem.split(' ');
        let (kind, options) = (words.next().unwrap_or_default(), words.nth(1).unwrap_or_default());
        let helps = kind == "cgroup2" || (kind == "cgroup" && options.split(',').any(|option| CONTROLLERS.contains(&option)));
        if helps {
            trees.insert(PathBuf::from(point));
        }
    }
    trees.into_iter().collect()
}

/// Makes a group in every tree that lets us, with limits. None at all is not an error.
pub(super) fn create(name: &str, limits: &Limits) -> Vec<PathBuf> {
    let mut groups = Vec::new();
    for tree in trees() {
        let parent = tree.join(PARENT);
        let group = parent.join(name);
        if fs::create_dir_all(&group).is_err() {
            continue;
        }
        if tree.join("cgroup.controllers").exists() {
            // Fails where a controller is not there (hybrid hosts) or not delegated: then it does not limit.
            for folder in [&tree, &parent] {
                for controller in ["+cpu", "+memory"] {
                    let _ = fs::write(folder.join("cgroup.subtree_control"), controller);
                }
            }
        }
        limit(&group, limits);
        groups.push(group);
    }
    groups
}

/// Writes the limits where their files are. A file that is missing belongs to another tree.
fn limit(group: &Path, limits: &Limits) {
    let write = |file: &str, value: String| {
        let path = group.join(file);
        if path.exists() {
            // The kernel refuses what makes no sense (a limit below what the tree above has): then the tree's holds.
            let _ = fs::write(&path, value);
        }
    };
    if let Some(milli) = limits.cpu_milli {
        let quota = (milli * PERIOD_US / 1000).max(1000);
        write("cpu.max", format!("{quota} {PERIOD_US}"));
        write("cpu.cfs_period_us", PERIOD_US.to_string());
        write("cpu.cfs_quota_us", quota.to_string());
    }
    if let Some(milli) = limits.cpu_request_milli {
        // As the kubelet does it: 1024 shares per core, and version 2's weight from the shares.
        let shares = (milli * 1024 / 1000).clamp(2, 262_144);
        write("cpu.shares", shares.to_string());
        write("cpu.weight", (1 + (shares - 2) * 9999 / 262_142).to_string());
    }
    if let Some(bytes) = limits.memory_bytes {
        write("memory.max", bytes.to_string());
        write("memory.limit_in_bytes", bytes.to_string());
    }
}

/// Moves this process into the groups; what it starts then is born there. Returns where it was, for [`leave`].
pub(super) fn join(groups: &[PathBuf]) -> Vec<(PathBuf, PathBuf)> {
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let mut joined = Vec::new();
    for group in groups {
        let Some(tree) = group.parent().and_then(Path::parent) else { continue };
        let before = tree.join(own_path(&own, tree).trim_start_matches('/'));
        if fs::write(group.join("cgroup.procs"), "0").is_ok() {
            joined.push((group.clone(), before));
        }
    }
    joined
}

/// Moves this process back, and returns the groups that it has left: killing one that it is still in would kill it too.
pub(super) fn leave(joined: &[(PathBuf, PathBuf)]) -> Vec<PathBuf> {
    let back = |(group, before): &(PathBuf, PathBuf)| {
        let root = group.parent().and_then(Path::parent)?;
        let left = [before.as_path(), root].iter().any(|folder| fs::write(folder.join("cgroup.procs"), "0").is_ok());
        left.then(|| group.clone())
    };
    joined.iter().filter_map(back).collect()
}

/// Our path in a tree, by the tree's last name: `/proc/self/cgroup` has lines `4:memory:/path`, and `0::/path` for version 2.
fn own_path<'a>(own: &'a str, tree: &Path) -> &'a str {
    let name = tree.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let version_2 = tree.join("cgroup.controllers").exists();
    let line = own.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':');
        let (_, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
        let matches =
            if version_2 { controllers.is_empty() } else { controllers.split(',').any(|c| name.split(',').any(|n| n == c)) };
        matches.then_some(path)
    });
    line.unwrap_or("/")
}

/// The processes in the groups.
pub(super) fn processes(groups: &[PathBuf]) -> BTreeSet<i32> {
    let read = |group: &PathBuf| fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    groups.iter().flat_map(|group| read(group).lines().filter_map(|line| line.parse().ok()).collect::<Vec<_>>()).collect()
}

/// Kills everything in the groups at once where the kernel can (5.14 and later).
pub(super) fn kill(groups: &[PathBuf]) {
    for group in groups {
        let file = group.join("cgroup.kill");
        if file.exists() {
            // What it leaves is found by `processes`.
            let _ = fs::write(file, "1");
        }
    }
}

/// Whether the kernel has killed something in there for lack of memory.
pub(super) fn was_out_of_memory(groups: &[PathBuf]) -> bool {
    groups.iter().any(|group| {
        ["memory.events", "memory.oom_control"].iter().any(|file| {
            let text = fs::read_to_string(group.join(file)).unwrap_or_default();
            text.lines().filter_map(|line| line.strip_prefix("oom_kill ")).any(|count| count.trim() != "0")
        })
    })
}

/// Nanoseconds of cpu and bytes of memory, as far as the groups count them.
pub(super) fn usage(groups: &[PathBuf]) -> (Option<u64>, Option<u64>) {
    let stat = || {
        let text = groups.iter().find_map(|group| {
            let text = fs::read_to_string(group.join("cpu.stat")).ok()?;
            text.contains("usage_usec").then_some(text)
        })?;
        Some(counted(&text, "usage_usec")? * 1000)
    };
    let cpu = groups.iter().find_map(|group| number(&group.join("cpuacct.usage"))).or_else(stat);
    (cpu, groups.iter().find_map(|group| working_set(group)))
}

/// What would be missing if it were not there: memory in use without the page cache that can be dropped at once, as the kubelet counts
/// it. Both versions of cgroups have a name of their own for either; in version 1 the total is that with the groups below.
fn working_set(group: &Path) -> Option<u64> {
    let (used, cache) = match number(&group.join("memory.current")) {
        Some(used) => (used, "inactive_file"),
        None => (number(&group.join("memory.usage_in_bytes"))?, "total_inactive_file"),
    };
    let stat = fs::read_to_string(group.join("memory.stat")).unwrap_or_default();
    Some(used.saturating_sub(counted(&stat, cache).unwrap_or_default()))
}

fn number(file: &Path) -> Option<u64> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

/// The number behind a name, in a file of one of each per line.
fn counted(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

/// Deletes the groups, which must be empty.
pub(super) fn delete(groups: &[PathBuf]) -> io::Result<()> {
    for group in groups {
        match fs::remove_dir(group) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{parse_trees, usage};
    use std::fs;

    #[test]
    fn memory_is_the_working_set_in_both_versions() {
        let folder = tempfile::tempdir().expect("a folder");
        let group = |name: &str, files: &[(&str, &str)]| {
            let group = folder.path().join(name);
            fs::create_dir(&group).expect("a group");
            files.iter().for_each(|(file, text)| fs::write(group.join(file), text).expect("a file"));
            group
        };
        let second = [
            ("memory.current", "5000\n"),
            ("memory.stat", "anon 1000\ninactive_file 1200\nactive_file 9\n"),
            ("cpu.stat", "usage_usec 7\nuser_usec 3\n"),
        ];
        assert_eq!(usage(&[group("v2", &second)]), (Some(7000), Some(3800)));
        let cpu = group("cpu", &[("cpuacct.usage", "42\n"), ("cpu.stat", "nr_periods 0\n")]);
        let memory = [("memory.usage_in_bytes", "5000\n"), ("memory.stat", "inactive_file 1\ntotal_inactive_file 4000\n")];
        assert_eq!(usage(&[cpu.clone(), group("v1", &memory)]), (Some(42), Some(1000)));
        assert_eq!(usage(&[cpu]), (Some(42), None), "where nothing counts memory, nothing is said");
    }

    #[test]
    fn trees_of_both_versions_are_found_and_useless_ones_left_out() {
        let mountinfo = "\
30 1 0:2 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
31 1 0:3 / /sys/fs/cgroup/devices rw - cgroup cgroup rw,devices
32 1 0:4 / /sys/fs/cgroup/unified rw,relatime shared:9 - cgroup2 cgroup2 rw
33 1 0:5 / /tmp rw - tmpfs tmpfs rw,cpu";
        let found: Vec<String> = parse_trees(mountinfo).iter().map(|tree| tree.display().to_string()).collect();
        assert_eq!(found, ["/sys/fs/cgroup/cpu,cpuacct", "/sys/fs/cgroup/unified"]);
    }
}
