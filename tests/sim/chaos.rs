//! Seeded chaos: agents, engines and the controller are killed (the controller has its memory from the audit branch alone, as one that
//! lost its disk), links are cut for 5 s, 20 s, 2 min or until somebody mends them, or lose every third message, hosts reboot, are lost
//! and replaced, fill up and have their clocks set, pods are slow and fail, and people push in between. Once the faults stop, the
//! cluster must settle, and then nothing may move any more.

use crate::invariants::Patience;
use crate::repo_text::{budget, config, cron, daemon, deployment, drained, job, keeper, leased, node, pod, rollout, stateful};
use crate::rng::Rng;
use crate::world::{Weather, World};
use driftless::model::NodeName;
use std::collections::BTreeSet;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The seeds of a test run; `DRIFTLESS_SIM_SEEDS=1000..3000` draws others.
const SEEDS: Range<u64> = 0..1_000;

/// Of so many seeds one has a large cluster, the others up to four hosts.
const LARGE_EVERY: u64 = 20;

/// How many hosts a large cluster has.
const LARGE: u32 = 50;

#[test]
fn the_cluster_survives_chaos_and_then_settles() {
    if let Some(seed) = variable("DRIFTLESS_SIM_SEED") {
        return run_and_print(number(&seed));
    }
    let seeds = variable("DRIFTLESS_SIM_SEEDS").map_or(SEEDS, |text| range(&text));
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    // Large clusters take far longer, so whoever is free takes the next seed.
    let next = AtomicU64::new(seeds.start);
    let left = || Some(next.fetch_add(1, Ordering::Relaxed)).filter(|seed| seeds.contains(seed));
    let failed: Vec<(u64, String)> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(|| failures(std::iter::from_fn(left)))).collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("a worker")).collect()
    });
    let Some((seed, reason)) = failed.iter().min() else { return };
    let which: BTreeSet<u64> = failed.iter().map(|(seed, _)| *seed).collect();
    panic!(
        "of {seeds:?} these seeds fail: {which:?}; the first is replayed by\n  DRIFTLESS_SIM_SEED={seed} cargo test --test sim chaos -- --nocapture\n{reason}"
    );
}

#[expect(clippy::disallowed_methods, reason = "the one way to hand a seed to a test")]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn number(text: &str) -> u64 {
    text.parse().expect("a number")
}

fn range(text: &str) -> Range<u64> {
    let (start, end) = text.split_once("..").expect("two numbers with .. between them");
    number(start)..number(end)
}

fn failures(seeds: impl Iterator<Item = u64>) -> Vec<(u64, String)> {
    let run = |seed| catch_unwind(AssertUnwindSafe(|| history(seed))).err().map(|error| (seed, reason(&*error)));
    seeds.filter_map(run).collect()
}

fn reason(error: &(dyn std::any::Any + Send)) -> String {
    let text = error.downcast_ref::<String>().map(String::as_str).or_else(|| error.downcast_ref::<&str>().copied());
    text.unwrap_or("a panic without words").to_owned()
}

#[expect(clippy::print_stdout, reason = "a replayed seed is read by a person")]
fn run_and_print(seed: u64) {
    let world = history(seed);
    println!("{}", world.transcript.join("\n"));
}

/// One whole history.
fn history(seed: u64) -> World {
    let small = 1 + u32::try_from(seed % 4).unwrap_or(0);
    let nodes = if seed % LARGE_EVERY == LARGE_EVERY - 1 { LARGE } else { small };
    let mut world = World::new(seed, nodes);
    first_release(&mut world);
    world.start();
    world.run_for(Duration::from_secs(5));
    world.weather = weather(&mut world.rng);
    for _ in 0..world.rng.between(5, 40) {
        fault_or_push(&mut world);
        let pause = world.rng.between(1, 8_000);
        world.run_for(Duration::from_millis(pause));
    }
    heal(&mut world);
    let good = world.rng.chance(50);
    if good {
        good_release(&mut world);
    }
    settle(&mut world, good);
    stays_settled(&mut world);
    world
}

fn weather(rng: &mut Rng) -> Weather {
    if rng.chance(10) {
        return Weather::BAD_LINE;
    }
    Weather { delay_ms_max: rng.between(1, 400), lost_percent: rng.below(5), doubled_percent: rng.below(20) }
}

/// How many times as many pods the largest workload has as in a small cluster.
fn many(world: &World) -> u64 {
    if world.nodes.len() == LARGE as usize { 8 } else { 1 }
}

fn first_release(world: &mut World) {
    let (replicas, many) = (world.rng.between(1, 4), many(world));
    world.repo.commit(
        "first release",
        &[
            ("shop/web.yaml", Some(deployment("web", replicas * many, "app:v1", ""))),
            ("shop/config.yaml", Some(config("settings", "v1"))),
            ("shop/uses.yaml", Some(deployment("uses", 2, "app:v1", "settings"))),
            ("api/api.yaml", Some(rollout("api", 2, "app:v1", true))),
            ("shop/budget.yaml", Some(budget("web", "50%"))),
            ("solo/pod.yaml", Some(pod("solo", "app:v1"))),
            ("data/db.yaml", Some(stateful("db", replicas, "app:v1", false, false))),
            ("data/queue.yaml", Some(leased("queue", replicas, "app:v1"))),
            ("data/files.yaml", Some(keeper("files", "app:v1"))),
            ("hosts/logs.yaml", Some(daemon("logs", "app:v1"))),
            ("work/sum.yaml", Some(job("sum", "job:v1", 4, 2))),
            ("work/tick.yaml", Some(cron("tick", "job:v1", false))),
        ],
    );
}

fn fault_or_push(world: &mut World) {
    let names: Vec<NodeName> = world.nodes.keys().cloned().collect();
    let node = world.rng.pick(&names).cloned().expect("a node");
    let back = Duration::from_millis(world.rng.between(10, 20_000));
    match world.rng.below(26) {
        0 => world.crash_controller(back),
        1 => world.crash_agent(&node, back),
        2 => world.cut(&node),
        3 => world.partition(&node, true),
        4 => world.partition(&node, false),
        5 | 6 => world.kill_container(&node),
        7 => world.delete_container(&node),
        8 => world.set_away(&node, true),
        9 => world.set_away(&node, false),
        10 => world.poll(),
        11 => world.send_stale(&node),
        12..=15 => host_fault(world, &node, back),
        _ => push(world),
    }
}

/// What befalls a whole host.
fn host_fault(world: &mut World, node: &NodeName, back: Duration) {
    const CUTS: [u64; 3] = [5, 20, 120];
    const JUMPS_MS: [i64; 3] = [-60_000, 0, 60_000];
    let jump = *world.rng.pick(&JUMPS_MS).expect("a jump");
    match world.rng.below(10) {
        0 | 1 => {
            let seconds = *world.rng.pick(&CUTS).expect("a time");
            world.cut_for(node, Duration::from_secs(seconds));
        }
        2 => world.reboot(node, back),
        3 => world.lose_host(node),
        4 => world.replace_host(node),
        5 => world.restart_engine(node, back),
        6 => world.set_clock(node, jump, back),
        7 => world.set_wall(jump),
        8 => {
            let full = world.rng.chance(60);
            world.fill_disk(node, full);
        }
        _ => {
            let away = Duration::from_secs(world.rng.between(10, 200));
            world.announce(node, away);
            world.reboot(node, back * 3);
        }
    }
}

fn push(world: &mut World) {
    const IMAGES: [&str; 8] = ["app:v1", "app:v2", "app:v3", "app:v4", "slow:v5", "crash:v6", "unready:v7", "missing:v8"];
    let image = *world.rng.pick(&IMAGES).expect("an image");
    let replicas = world.rng.between(0, 6);
    match world.rng.below(18) {
        12..=17 => push_sets(world, image, replicas),
        0..=3 => world.push("web", &[("shop/web.yaml", Some(deployment("web", replicas * many(world), image, "")))]),
        4 | 5 => {
            let auto = world.rng.chance(70);
            world.push("api", &[("api/api.yaml", Some(rollout("api", replicas.max(1), image, auto)))]);
        }
        6 => {
            let value = format!("v{}", world.rng.below(5));
            world.push("config", &[("shop/config.yaml", Some(config("settings", &value)))]);
        }
        7 => world.push("broken", &[("shop/web.yaml", Some("apiVersion: apps/v1\nkind: Deployment\n  x: [\n".to_owned()))]),
        8 => {
            let present = world.repo.head().is_some_and(|head| head.files.contains_key("extra/extra.yaml"));
            let text = (!present).then(|| deployment("extra", replicas, "app:v1", ""));
            world.push("extra", &[("extra/extra.yaml", text)]);
        }
        9 | 10 => {
            const EFFECTS: [Option<&str>; 4] = [None, Some("NoSchedule"), Some("PreferNoSchedule"), Some("NoExecute")];
            let names: Vec<NodeName> = world.nodes.keys().cloned().collect();
            let name = world.rng.pick(&names).cloned().expect("a node");
            let effect = world.rng.pick(&EFFECTS).copied().expect("an effect");
            let text = match world.rng.below(10) {
                0..4 => Some(node(name.as_str(), effect.is_none(), effect)),
                4..7 => Some(drained(name.as_str())),
                _ => None,
            };
            world.push("marks", &[("hosts/host.yaml", text)]);
        }
        _ => world.push("words", &[("README.md", Some(format!("{replicas} words\n")))]),
    }
}

/// The kinds whose pods are not interchangeable, or end, or have data.
fn push_sets(world: &mut World, image: &str, replicas: u64) {
    let file = "data/files.yaml";
    match world.rng.below(9) {
        7 => world.push("queue", &[("data/queue.yaml", Some(leased("queue", replicas, image)))]),
        8 => {
            // One that had a lease may lose it, and get it back.
            let text = leased("queue", replicas, image).replace("driftless.dev/lease: 20s", "note: none");
            world.push("queue without a lease", &[("data/queue.yaml", Some(text))]);
        }
        0 | 1 => {
            let (parallel, goes) = (world.rng.chance(30), world.rng.chance(30));
            world.push("db", &[("data/db.yaml", Some(stateful("db", replicas, image, parallel, goes)))]);
        }
        2 => world.push("logs", &[("hosts/logs.yaml", Some(daemon("logs", image)))]),
        3 => {
            const IMAGES: [&str; 4] = ["job:v1", "job:v2", "job:v3", "crash:v6"];
            let image = *world.rng.pick(&IMAGES).expect("an image");
            let parallelism = world.rng.between(1, 3);
            world.push("sum", &[("work/sum.yaml", Some(job("sum", image, replicas, parallelism)))]);
        }
        4 => world.push("files", &[(file, Some(keeper("files", image)))]),
        5 => world.push("no files", &[(file, None)]),
        _ => world.push("no files, and that is meant\n\nDriftless-Allow-Prune: all", &[(file, None), ("data/db.yaml", None)]),
    }
}

/// Ends every fault.
fn heal(world: &mut World) {
    world.weather = Weather::CALM;
    let names: Vec<NodeName> = world.nodes.keys().cloned().collect();
    for node in &names {
        world.partition(node, false);
        world.set_away(node, false);
        world.fill_disk(node, false);
        world.replace_host(node);
    }
    world.say("the faults end");
    // What is due every minute never lets a world be still.
    world.push("suspend", &[("work/tick.yaml", Some(cron("tick", "job:v1", true)))]);
}

/// A release that works, whatever was pushed before.
fn good_release(world: &mut World) {
    let changes = [
        ("shop/web.yaml", Some(deployment("web", 3, "app:v9", ""))),
        ("shop/config.yaml", Some(config("settings", "v9"))),
        ("shop/uses.yaml", Some(deployment("uses", 2, "app:v9", "settings"))),
        ("api/api.yaml", Some(rollout("api", 2, "app:v9", true))),
        ("extra/extra.yaml", Some(deployment("extra", 1, "app:v9", ""))),
        ("data/db.yaml", Some(stateful("db", 3, "app:v9", false, false))),
        ("data/queue.yaml", Some(leased("queue", 2, "app:v9"))),
        ("data/files.yaml", Some(keeper("files", "app:v9"))),
        ("hosts/logs.yaml", Some(daemon("logs", "app:v9"))),
        ("work/sum.yaml", Some(job("sum", "job:v9", 4, 2))),
        ("hosts/host.yaml", None),
    ];
    world.push("a good release", &changes);
}

/// Waits until everything is as wanted, or, where bad releases were pushed, until nothing more will come of them.
fn settle(world: &mut World, good: bool) {
    let mut last = String::new();
    // A DaemonSet takes its hosts one after the other, and the slowest of its images 20 s on each.
    let of_hosts = 2 * world.nodes.len();
    for round in 0..180 + of_hosts {
        world.run_for(Duration::from_secs(10));
        let patience = match round {
            _ if good => Patience::Done,
            _ if round < 60 + of_hosts => Patience::Settled,
            _ => Patience::Looping,
        };
        match world.unsettled(patience) {
            None => return,
            Some(state) => last = state,
        }
    }
    world.fail(&format!("not settled {} minutes after the faults ended: {last}", (180 + of_hosts) / 6));
}

fn stays_settled(world: &mut World) {
    // Records of what has just settled are batched, for two minutes at most.
    world.run_for(Duration::from_secs(150));
    let (told, records) = (world.assignments, world.audit.records.len());
    for _ in 0..3 {
        world.poll();
        world.run_for(Duration::from_secs(60));
    }
    if world.assignments != told {
        world.fail(&format!("{} assignments in an unchanged world", world.assignments - told));
    }
    if world.audit.records.len() != records {
        world.fail("an audit record in an unchanged world");
    }
}
