//! What a process and its children have used.

use super::cgroup;
use super::protocol::Record;
use crate::agent::runtime::Usage;
use crate::agent::runtime::procfs;

/// From the cgroups where they count, else from `/proc`.
pub(super) fn of(record: &Record) -> Usage {
    let (cpu, memory) = cgroup::usage(&record.cgroups);
    let walked = || procfs::usage(&procfs::descendants(record.shim.pid));
    match (cpu, memory) {
        (Some(cpu_nanos), Some(memory_bytes)) => Usage { cpu_nanos, memory_bytes },
        (cpu, memory) => {
            let (cpu_walked, memory_walked) = walked();
            Usage { cpu_nanos: cpu.unwrap_or(cpu_walked), memory_bytes: memory.unwrap_or(memory_walked) }
        }
    }
}
