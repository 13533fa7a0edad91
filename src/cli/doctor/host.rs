//! What the host is, and what that means.

use super::check::Verdict;
use super::facts::{Cgroups, Docker, Facts, State};

/// Before it, git does not read the configuration that we hand it (`GIT_CONFIG_GLOBAL`).
const GIT_OLDEST: (u64, u64) = (2, 32);

/// Before it, a process cannot be held by a handle (`pidfd_open`).
const KERNEL_OLDEST: (u64, u64) = (5, 3);

/// Each pod has a handful of sockets and files; each follower of a log some more.
const OPEN_FILES_MIN: u64 = 8_192;

/// Less free space than this is soon used up by one image.
const FREE_BYTES_LOW: u64 = 2 << 30;
const FREE_BYTES_MIN: u64 = 256 << 20;

const FREE_FILES_MIN: u64 = 20_000;

/// `CAP_NET_ADMIN`, `CAP_SYS_ADMIN` of capabilities(7).
const NET_ADMIN: u64 = 1 << 12;
const SYS_ADMIN: u64 = 1 << 21;

/// The first two numbers in a text: `git version 2.39.5` is 2 and 39.
pub(super) fn version_in(text: &str) -> Option<(u64, u64)> {
    let start = text.find(|c: char| c.is_ascii_digit())?;
    let mut numbers = text.get(start..)?.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u64>);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

pub(super) fn git(facts: &Facts) -> Verdict {
    let Some(said) = facts.programs.get("git") else {
        return Verdict::error("there is no git in PATH", "install it: apt-get install git");
    };
    let (major, minor) = GIT_OLDEST;
    match version_in(said) {
        Some(version) if version >= GIT_OLDEST => Verdict::ok(said.trim_start_matches("git version ")),
        Some(_) => Verdict::error(said, format!("git {major}.{minor} or newer is needed")),
        None => Verdict::warning(format!("git says {said:?}"), format!("git {major}.{minor} or newer is needed")),
    }
}

pub(super) fn kernel(facts: &Facts) -> Verdict {
    let (major, minor) = KERNEL_OLDEST;
    match version_in(&facts.kernel) {
        Some(version) if version < KERNEL_OLDEST => {
            Verdict::error(format!("Linux {}", facts.kernel), format!("Linux {major}.{minor} or newer is needed (pidfd)"))
        }
        Some(_) | None => Verdict::ok(format!("Linux {}", facts.kernel)),
    }
}

pub(super) fn rights(facts: &Facts) -> Verdict {
    let has = |capability| facts.capabilities & capability != 0;
    match (facts.is_root, has(NET_ADMIN), has(SYS_ADMIN)) {
        (true, true, true) => Verdict::ok("root"),
        (true, net, system) => {
            let lacks =
                [("CAP_NET_ADMIN", net), ("CAP_SYS_ADMIN", system)].into_iter().filter(|(_, has)| !has).map(|(name, _)| name);
            let lacks = lacks.collect::<Vec<_>>().join(" and ");
            let hint = "without CAP_NET_ADMIN there are no Service addresses, without CAP_SYS_ADMIN no emptyDir in memory";
            Verdict::serious_for_agents(facts.role, format!("root without {lacks}"), hint)
        }
        (false, ..) => Verdict::serious_for_agents(
            facts.role,
            "not root",
            "Services then have loopback addresses of this host only; host processes run as this user, without limits unless a \
             cgroup is delegated; run the agent as root for the rest",
        ),
    }
}

pub(super) fn docker(docker: &Docker, facts: &Facts) -> Verdict {
    let (version, api, cgroup_driver, storage, rootless, free) = match docker {
        Docker::Away(why) => {
            let hint = "only host processes (runtimeClassName: process) can run here until it answers";
            return Verdict::serious_for_agents(facts.role, why, hint);
        }
        Docker::Found { version, api, cgroup_driver, storage, rootless, free_bytes } => {
            (version, api, cgroup_driver, storage, *rootless, *free_bytes)
        }
    };
    let seen = format!("{version}, API {api}, cgroups by {cgroup_driver}, storage {storage}");
    if rootless {
        let hint = "its containers' addresses cannot be reached from this host: use a rootful Engine for Services and probes";
        return Verdict::warning(format!("{seen}, rootless"), hint);
    }
    if storage == "vfs" || storage == "devicemapper" {
        return Verdict::warning(seen, "this storage driver is slow and large; overlay2 is the usual one");
    }
    match free {
        Some(free) if free < FREE_BYTES_LOW => {
            Verdict::warning(format!("{seen}; {} free", amount(free)), "free some space where Docker keeps images")
        }
        Some(_) | None => Verdict::ok(seen),
    }
}

pub(super) fn cgroups(cgroups: Cgroups) -> Verdict {
    let Cgroups { version, writable } = cgroups;
    match (version, writable) {
        (0, _) => Verdict::warning("none are mounted", "host processes run without limits; mount cgroup2 at /sys/fs/cgroup"),
        (_, true) => Verdict::ok(format!("version {version}, groups can be made")),
        (_, false) => Verdict::warning(
            format!("version {version}, no groups can be made"),
            "host processes run without limits; run the agent as root",
        ),
    }
}

pub(super) fn nft(facts: &Facts) -> Verdict {
    match facts.programs.get("nft") {
        Some(said) => Verdict::ok(said),
        None => Verdict::serious_for_agents(
            facts.role,
            "there is no nft in PATH, /usr/sbin or /sbin",
            "Services then have loopback addresses of this host only; install it: apt-get install nftables",
        ),
    }
}

pub(super) fn state(state: &State) -> Verdict {
    let path = state.path.display();
    let others = state.mode.is_some_and(|mode| mode & 0o077 != 0);
    match (state.mode, state.writable) {
        (_, false) => {
            Verdict::error(format!("{path} cannot be written"), "run as its owner, or name another folder with --state-dir")
        }
        (Some(mode), true) if others => {
            Verdict::warning(format!("{path} has mode {mode:04o}"), format!("others should not read it: chmod 0700 {path}"))
        }
        (Some(mode), true) => Verdict::ok(format!("{path}, mode {mode:04o}")),
        (None, true) => Verdict::ok(format!("{path} will be made")),
    }
}

pub(super) fn disk(state: &State) -> Option<Verdict> {
    let free = state.free_bytes?;
    let seen = format!("{} free at {}", amount(free), state.path.display());
    Some(if free < FREE_BYTES_MIN {
        Verdict::error(seen, "free some space: audit records, ledgers and logs could not be written")
    } else if let Some(files) = state.free_files.filter(|files| *files < FREE_FILES_MIN) {
        Verdict::warning(
            format!("{seen}, and {files} inodes"),
            "free some inodes, or give the state directory another file system",
        )
    } else if free < FREE_BYTES_LOW {
        Verdict::warning(seen, "free some space soon: logs of host processes take up to 30 MiB for each container")
    } else {
        Verdict::ok(seen)
    })
}

pub(super) fn secrets(facts: &Facts) -> Verdict {
    let Some(tmpfs) = &facts.tmpfs else {
        return Verdict::error(
            "there is no tmpfs to keep secrets of pods on",
            "run as root (/run), in a login session ($XDG_RUNTIME_DIR), or mount a tmpfs at /dev/shm",
        );
    };
    match &facts.seal_key {
        None => Verdict::ok(format!("tmpfs at {}", tmpfs.display())),
        Some(Ok(key)) => Verdict::ok(format!("tmpfs at {}, and sealed with the key of {}", tmpfs.display(), key.display())),
        Some(Err(trouble)) => Verdict::of(trouble, "see docs/security.md"),
    }
}

pub(super) fn open_files(limit: Option<u64>) -> Verdict {
    match limit {
        Some(limit) if limit < OPEN_FILES_MIN => Verdict::warning(
            format!("{limit} files may be open"),
            "raise it: LimitNOFILE=65536 in the unit, or `ulimit -n 65536`",
        ),
        Some(limit) => Verdict::ok(format!("{limit} files may be open")),
        None => Verdict::ok("any number of files may be open"),
    }
}

pub(super) fn inotify((instances, watches): (u64, u64)) -> Verdict {
    let seen = format!("{instances} instances, {watches} watches");
    if instances < 64 || watches < 8_192 {
        Verdict::warning(
            seen,
            "raise fs.inotify.max_user_instances to 128 and max_user_watches to 65536; until then repositories are polled",
        )
    } else {
        Verdict::ok(seen)
    }
}

/// Bytes as people say them.
fn amount(bytes: u64) -> String {
    if bytes >= 10 << 30 { format!("{} GiB", bytes >> 30) } else { format!("{} MiB", bytes >> 20) }
}
