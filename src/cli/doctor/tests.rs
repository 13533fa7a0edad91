//! Facts and what they mean, a line each.

use super::Role;
use super::check::{Check, Level, Verdict};
use super::facts::*;
use clap::ValueEnum;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// A host on which all is well.
fn well() -> Facts {
    Facts {
        role: Role::Both,
        programs: BTreeMap::from([
            ("git", "git version 2.39.5".to_owned()),
            ("nft", "nftables v1.0.6 (Lester Gooch #5)".to_owned()),
            ("kustomize", "v5.4.2".to_owned()),
            ("helm", "v3.15.1+ge211f2a".to_owned()),
        ]),
        docker: Some(engine("overlay2", false, Some(50 << 30))),
        is_root: true,
        capabilities: u64::MAX,
        cgroups: Cgroups { version: 2, writable: true },
        sandbox: Some(Ok(())),
        state: state(Some(0o700), true, Some(20 << 30)),
        tmpfs: Some(PathBuf::from("/run/driftless")),
        seal_key: None,
        open_files: Some(1 << 20),
        client_ports: Some((32_768, 60_999)),
        listeners: vec![listener(7780, None), listener(7781, None), listener(53, None)],
        clock: Some(Clock { synchronised: Some(true), ahead_s: Some(0) }),
        controller: Some(("ops:7781".to_owned(), Ok(()))),
        repo: Some(repo(Manifests { objects: 12, units: 3, ..Manifests::default() })),
        inotify: Some((128, 65_536)),
        kernel: "6.1.0-13-amd64".to_owned(),
        forwarding: Forwarding { ip_forward: Some(true), bridge_filter: Some(true) },
    }
}

fn engine(storage: &str, rootless: bool, free_bytes: Option<u64>) -> Docker {
    let [version, api, cgroup_driver, storage] = ["20.10.24", "1.41", "systemd", storage].map(str::to_owned);
    Docker::Found { version, api, cgroup_driver, storage, rootless, free_bytes }
}

fn state(mode: Option<u32>, writable: bool, free_bytes: Option<u64>) -> State {
    State { path: PathBuf::from("/var/lib/driftless"), mode, writable, free_bytes, free_files: Some(1_000_000) }
}

fn listener(port: u16, trouble: Option<PortTrouble>) -> Listener {
    Listener { port, what: "it", trouble }
}

fn repo(manifests: Manifests) -> Repo {
    let fetched = Fetched {
        branch: "main".to_owned(),
        commit: "0123456".to_owned(),
        kustomizations: 0,
        charts: 0,
        manifests: Ok(manifests),
    };
    Repo { shown: "git@forge.example:shop.git".to_owned(), fetched: Ok(fetched), push: Some(Ok(())) }
}

fn trouble(message: &str) -> Trouble {
    Trouble { message: message.to_owned(), hint: Some("do this".to_owned()) }
}

/// The repository's facts with so many folders to render.
fn rendered(facts: &mut Facts, kustomizations: usize, charts: usize) {
    let fetched = facts.repo.as_mut().and_then(|repo| repo.fetched.as_mut().ok()).expect("fetched");
    (fetched.kustomizations, fetched.charts) = (kustomizations, charts);
}

fn judged(check: Check, change: impl FnOnce(&mut Facts)) -> Option<Verdict> {
    let mut facts = well();
    change(&mut facts);
    check.judge(&facts)
}

/// The level, and a part of what was seen or of what to do.
#[track_caller]
fn says(check: Check, change: impl FnOnce(&mut Facts), level: Level, part: &str) {
    let verdict = judged(check, change).expect("a verdict");
    let text = format!("{} → {}", verdict.seen, verdict.hint.as_deref().unwrap_or_default());
    assert_eq!(verdict.level, level, "{text}");
    assert!(text.contains(part), "{part:?} is not in {text:?}");
    assert_eq!(verdict.hint.is_some(), level != Level::Ok, "whatever is not well says what to do: {text}");
}

#[test]
fn on_a_host_where_all_is_well_every_check_says_so() {
    for check in Check::value_variants() {
        let verdict = check.judge(&well()).unwrap_or_else(|| panic!("{} says nothing", check.name()));
        assert_eq!((verdict.level, verdict.hint), (Level::Ok, None), "{}: {}", check.name(), verdict.seen);
        assert!(check.concerns(Role::Both), "both halves need what either needs: {}", check.name());
    }
}

#[test]
fn what_was_not_asked_for_is_not_judged() {
    for check in [Check::Repository, Check::Push, Check::Manifests] {
        assert_eq!(judged(check, |facts| facts.repo = None), None);
    }
    assert_eq!(judged(Check::Controller, |facts| facts.controller = None), None);
}

#[test]
fn git_must_be_there_and_new_enough() {
    let git = |said: &'static str| move |facts: &mut Facts| drop(facts.programs.insert("git", said.to_owned()));
    says(Check::Git, |facts| drop(facts.programs.remove("git")), Level::Error, "apt-get install git");
    says(Check::Git, git("git version 2.30.2"), Level::Error, "2.32 or newer");
    says(Check::Git, git("git version 3.0.0 (Apple Git-1)"), Level::Ok, "3.0.0");
    says(Check::Git, git("what"), Level::Warning, "git says");
}

#[test]
fn what_only_services_need_is_an_error_where_only_an_agent_runs() {
    let alone = |change: fn(&mut Facts)| {
        move |facts: &mut Facts| {
            facts.role = Role::Agent;
            change(facts);
        }
    };
    for (check, change, part) in [
        (Check::Nft, (|facts| drop(facts.programs.remove("nft"))) as fn(&mut Facts), "loopback addresses"),
        (Check::Rights, |facts| facts.is_root = false, "not root"),
        (Check::Rights, |facts| facts.capabilities = 1 << 21, "root without CAP_NET_ADMIN"),
        (Check::Docker, |facts| facts.docker = Some(Docker::Away("there is no socket".to_owned())), "only host processes"),
    ] {
        says(check, change, Level::Warning, part);
        says(check, alone(change), Level::Error, part);
    }
}

#[test]
fn an_engine_that_would_be_trouble_is_named() {
    says(Check::Docker, |_| {}, Level::Ok, "20.10.24, API 1.41, cgroups by systemd, storage overlay2");
    says(Check::Docker, |facts| facts.docker = Some(engine("vfs", false, None)), Level::Warning, "overlay2 is the usual");
    says(Check::Docker, |facts| facts.docker = Some(engine("overlay2", true, None)), Level::Warning, "rootful");
    says(Check::Docker, |facts| facts.docker = Some(engine("overlay2", false, Some(1 << 30))), Level::Warning, "1024 MiB free");
}

#[test]
fn the_kernel_and_its_limits_are_judged() {
    says(Check::Kernel, |facts| facts.kernel = "4.19.0-21-amd64".into(), Level::Error, "5.3 or newer");
    let cgroups = |version, writable| move |facts: &mut Facts| facts.cgroups = Cgroups { version, writable };
    says(Check::Cgroups, cgroups(1, true), Level::Ok, "version 1");
    says(Check::Cgroups, cgroups(2, false), Level::Warning, "run the agent as root");
    says(Check::Cgroups, cgroups(0, false), Level::Warning, "none are mounted");
    says(Check::OpenFiles, |facts| facts.open_files = Some(1024), Level::Warning, "LimitNOFILE");
    says(Check::OpenFiles, |facts| facts.open_files = None, Level::Ok, "any number");
    says(Check::Inotify, |facts| facts.inotify = Some((16, 8_192)), Level::Warning, "max_user_instances");
}

#[test]
fn the_state_directory_must_be_ours_alone_and_have_space() {
    let set = |state: State| move |facts: &mut Facts| facts.state = state;
    says(Check::State, set(state(None, true, None)), Level::Ok, "will be made");
    says(Check::State, set(state(Some(0o755), true, None)), Level::Warning, "chmod 0700");
    says(Check::State, set(state(Some(0o700), false, None)), Level::Error, "cannot be written");
    says(Check::Disk, set(state(None, true, Some(1 << 30))), Level::Warning, "free some space soon");
    says(Check::Disk, set(state(None, true, Some(1 << 20))), Level::Error, "1 MiB free");
    let few = State { free_files: Some(10), ..state(None, true, Some(20 << 30)) };
    says(Check::Disk, set(few), Level::Warning, "10 inodes");
}

#[test]
fn secrets_need_a_tmpfs_and_a_key_if_they_are_to_be_sealed() {
    says(Check::Secrets, |_| {}, Level::Ok, "tmpfs at /run/driftless");
    says(Check::Secrets, |facts| facts.tmpfs = None, Level::Error, "mount a tmpfs");
    let key = |key| move |facts: &mut Facts| facts.seal_key = Some(key);
    says(Check::Secrets, key(Ok("/media/key".into())), Level::Ok, "sealed with the key of /media/key");
    says(Check::Secrets, key(Err(trouble("there is no key"))), Level::Error, "there is no key");
}

#[test]
fn ports_are_free_or_ours_or_in_the_way() {
    let one = |port, trouble| move |facts: &mut Facts| facts.listeners = vec![listener(port, Some(trouble))];
    says(Check::Ports, |_| {}, Level::Ok, "7780, 7781, 53 are free");
    says(Check::Ports, one(7780, PortTrouble::TakenByUs), Level::Ok, "served by a Driftless");
    says(Check::Ports, one(7780, PortTrouble::Taken), Level::Error, "--listen");
    says(Check::Ports, one(53, PortTrouble::Taken), Level::Error, "bind-interfaces");
    says(Check::Ports, one(53, PortTrouble::Refused("Permission denied".into())), Level::Warning, "CAP_NET_BIND_SERVICE");
    let range = |range| move |facts: &mut Facts| facts.client_ports = Some(range);
    says(Check::PortRange, range((1024, 60_999)), Level::Warning, "ip_local_reserved_ports");
    says(Check::PortRange, range((1024, 65_535)), Level::Warning, "leave room");
}

#[test]
fn a_clock_that_differs_is_an_error_and_one_that_nobody_keeps_a_warning() {
    let clock = |synchronised, ahead_s| move |facts: &mut Facts| facts.clock = Some(Clock { synchronised, ahead_s });
    says(Check::Clock, clock(Some(true), Some(90)), Level::Error, "90 s ahead of the controller's");
    says(Check::Clock, clock(None, Some(-90)), Level::Error, "90 s behind");
    says(Check::Clock, clock(None, Some(1)), Level::Warning, "agrees with the controller's");
    says(Check::Clock, clock(Some(false), None), Level::Warning, "not synchronised");
}

#[test]
fn the_way_to_others_is_judged() {
    let refused = |facts: &mut Facts| facts.controller = Some(("ops:7781".to_owned(), Err("Connection refused".to_owned())));
    says(Check::Controller, refused, Level::Error, "ops:7781: Connection refused");
    let forwarding =
        |ip_forward, bridge_filter| move |facts: &mut Facts| facts.forwarding = Forwarding { ip_forward, bridge_filter };
    says(Check::Forwarding, forwarding(Some(false), Some(true)), Level::Warning, "ip_forward=1");
    says(Check::Forwarding, forwarding(Some(true), None), Level::Warning, "br_netfilter");
    says(Check::Forwarding, forwarding(None, None), Level::Warning, "cannot be read");
}

#[test]
fn a_tool_that_is_missing_matters_as_far_as_the_repository_uses_it() {
    let without = |tool: &'static str, uses: Option<usize>| {
        move |facts: &mut Facts| {
            facts.programs.remove(tool);
            match uses {
                Some(uses) => rendered(facts, uses, uses),
                None => facts.repo = None,
            }
        }
    };
    for (check, tool) in [(Check::Kustomize, "kustomize"), (Check::Helm, "helm")] {
        says(check, without(tool, Some(0)), Level::Ok, "the repository has no");
        says(check, without(tool, Some(2)), Level::Error, ": 2");
        says(check, without(tool, None), Level::Warning, "if the repository has");
    }
    let kubectl = |said: &'static str| {
        move |facts: &mut Facts| {
            facts.programs.remove("kustomize");
            facts.programs.insert("kubectl", said.to_owned());
            rendered(facts, 1, 0);
        }
    };
    says(Check::Kustomize, kubectl("Client Version: v1.32.3"), Level::Ok, "kubectl kustomize");
    says(Check::Kustomize, kubectl("Client Version: v1.20.2"), Level::Error, "too old");
    let unconfined = |uses| {
        move |facts: &mut Facts| {
            facts.sandbox = Some(Err("no namespaces may be made here".to_owned()));
            rendered(facts, uses, 0);
        }
    };
    says(Check::Sandbox, unconfined(0), Level::Ok, "no namespaces");
    says(Check::Sandbox, unconfined(1), Level::Error, "--render-unconfined");
}

#[test]
fn a_repository_is_fetched_pushed_to_and_read() {
    let change = |change: fn(&mut Repo)| move |facts: &mut Facts| facts.repo.iter_mut().for_each(change);
    says(Check::Repository, |_| {}, Level::Ok, "git@forge.example:shop.git: main is at 0123456");
    says(Check::Repository, change(|repo| repo.fetched = Err(trouble("denied"))), Level::Error, "do this");
    says(Check::Push, change(|repo| repo.push = Some(Err(trouble("read-only")))), Level::Error, "read-only");
    assert_eq!(judged(Check::Manifests, change(|repo| repo.fetched = Err(trouble("denied")))), None, "said once");
    let holds = |manifests: Manifests| move |facts: &mut Facts| facts.repo = Some(repo(manifests));
    let some = Manifests { objects: 12, units: 3, ..Manifests::default() };
    says(Check::Manifests, holds(some.clone()), Level::Ok, "12 objects in 3 units");
    says(Check::Manifests, holds(Manifests { warnings: 2, ..some.clone() }), Level::Warning, "2 warnings");
    says(Check::Manifests, holds(Manifests::default()), Level::Warning, "--path");
    let first_error = Some("shop/web.yaml:4:3: unknown field".to_owned());
    let broken = Manifests { held: 1, errors: 2, first_error, ..some };
    says(Check::Manifests, holds(broken), Level::Error, "1 of them with 2 errors; the first: shop/web.yaml:4:3: unknown field");
}
