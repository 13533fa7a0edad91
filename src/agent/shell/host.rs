//! What the host as a whole uses: <https://docs.kernel.org/filesystems/proc.html>.

use crate::agent::runtime::Usage;

const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// Cpu since the host was started, and memory now. `None` where the kernel does not tell.
pub(super) fn usage() -> Option<Usage> {
    let stat = std::fs::read_to_string("/proc/stat").ok()?;
    let memory = std::fs::read_to_string("/proc/meminfo").ok()?;
    let cpu_nanos = busy_ticks(&stat)?.saturating_mul(NANOS_PER_SECOND / rustix::param::clock_ticks_per_second().max(1));
    Some(Usage { cpu_nanos, memory_bytes: memory_in_use(&memory)? })
}

/// The ticks of all cores that were neither idle nor spent waiting for a disk. Guests are counted within `user` and `nice`.
fn busy_ticks(stat: &str) -> Option<u64> {
    let mut fields = stat.lines().find_map(|line| line.strip_prefix("cpu "))?.split_whitespace().map(str::parse::<u64>);
    let mut next = || fields.next()?.ok();
    let (user, nice, system) = (next()?, next()?, next()?);
    let (_idle, _waiting) = (next()?, next()?);
    let (interrupts, soft_interrupts) = (next()?, next()?);
    Some(user + nice + system + interrupts + soft_interrupts)
}

/// What a new program could not have: caches that can be dropped do not count.
fn memory_in_use(meminfo: &str) -> Option<u64> {
    let kibibytes = |name: &str| -> Option<u64> {
        let rest = meminfo.lines().find_map(|line| line.strip_prefix(name))?;
        rest.split_whitespace().next()?.parse().ok()
    };
    Some(kibibytes("MemTotal:")?.saturating_sub(kibibytes("MemAvailable:")?) * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_waiting_and_stolen_time_are_no_use() {
        let stat = "cpu  100 20 30 4000 500 6 7 8 9 0\ncpu0 1 2 3 4 5 6 7 8 9 0\nintr 5\n";
        assert_eq!(busy_ticks(stat), Some(163));
        assert_eq!(busy_ticks("intr 5\n"), None);
    }

    #[test]
    fn memory_that_can_be_had_is_not_in_use() {
        let meminfo = "MemTotal:        8000 kB\nMemFree:          100 kB\nMemAvailable:    5000 kB\n";
        assert_eq!(memory_in_use(meminfo), Some(3000 * 1024));
        assert_eq!(memory_in_use("MemTotal: 8000 kB\n"), None);
    }

    #[test]
    fn this_host_tells() {
        let usage = usage().expect("a kernel that tells");
        assert!(usage.cpu_nanos > 0 && usage.memory_bytes > 0, "{usage:?}");
    }
}
