//! Whatever happens: no second copy, no stop without an order, and once the faults end everything converges and stays still.

use super::volumes::{data, with_claim};
use super::{World, simple, template};
use crate::agent::runtime::RunState;
use crate::model::{PodSnapshot, PodUid, RuntimeKind};
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

#[derive(Debug, Clone)]
enum Fault {
    Run(u32),
    Stop(u32),
    Erase(bool),
    Crash(u32),
    Vanish(u32),
    RestartAgent,
    LoseLedger,
    Docker(bool),
    LoseEvents(bool),
    DiskFull(bool),
    SlowStarts(bool),
    Pass(u64),
}

fn faults() -> impl Strategy<Value = Vec<Fault>> {
    let slot = 0..4_u32;
    prop::collection::vec(
        prop_oneof![
            3 => slot.clone().prop_map(Fault::Run),
            2 => slot.clone().prop_map(Fault::Stop),
            2 => any::<bool>().prop_map(Fault::Erase),
            2 => slot.clone().prop_map(Fault::Crash),
            1 => slot.prop_map(Fault::Vanish),
            1 => Just(Fault::RestartAgent),
            1 => Just(Fault::LoseLedger),
            1 => any::<bool>().prop_map(Fault::Docker),
            1 => any::<bool>().prop_map(Fault::LoseEvents),
            1 => any::<bool>().prop_map(Fault::DiskFull),
            1 => any::<bool>().prop_map(Fault::SlowStarts),
            3 => (0..500_u64).prop_map(Fault::Pass),
            3 => (0..30_000_u64).prop_map(Fault::Pass),
        ],
        1..60,
    )
}

/// Two pods share a claim; one has a sandbox, an init container, a sidecar and hooks.
fn snapshot_of(slot: u32) -> Arc<PodSnapshot> {
    let probe = json!({ "tcpSocket": { "port": 80 } });
    match slot {
        0 => return simple("app:1", json!({ "readinessProbe": probe })),
        1 => {}
        _ => return with_claim("app:1"),
    }
    let hook = json!({ "exec": { "command": ["hook"] } });
    template(json!({
        "initContainers": [
            { "name": "init", "image": "init:1" },
            { "name": "log", "image": "log:1", "restartPolicy": "Always", "startupProbe": probe }
        ],
        "containers": [{
            "name": "web", "image": "app:1", "readinessProbe": probe, "lifecycle": { "postStart": hook, "preStop": hook }
        }]
    }))
}

/// One copy of each container at most.
fn check(world: &World) {
    let mut copies: BTreeMap<(PodUid, String), u32> = BTreeMap::new();
    for container in world.host.containers().filter(|container| container.state == RunState::Running) {
        *copies.entry((container.labels.uid, container.labels.container.clone())).or_default() += 1;
    }
    assert!(copies.values().all(|count| *count == 1), "two copies: {copies:?}\n{}", world.transcript.join("\n"));
}

fn inject(world: &mut World, fault: &Fault) {
    let nth = |world: &World, index: u32| {
        let running: Vec<_> = world.host.containers().map(|container| container.id.clone()).collect();
        running.get(index as usize).cloned()
    };
    match fault {
        Fault::Run(slot) => {
            let snapshot = snapshot_of(*slot);
            let run = super::pod(*slot, &snapshot);
            if !world.assignment.stop.contains_key(&run.uid) && !world.gone.contains(&run.uid) {
                world.run(*slot, &snapshot);
            }
        }
        Fault::Stop(slot) => {
            let uid = super::pod(*slot, &snapshot_of(*slot)).uid;
            if world.assignment.run.contains_key(&uid) {
                world.order_stop(uid);
            }
        }
        Fault::Erase(ordered) => {
            world.assignment.erase = ordered.then(data).into_iter().collect();
            world.assign();
        }
        Fault::Crash(index) => {
            if let Some(id) = nth(world, *index) {
                world.host.crash(&id, 1, world.now);
            }
        }
        Fault::Vanish(index) => {
            if let Some(id) = nth(world, *index) {
                world.host.vanish(&id, world.now);
            }
        }
        Fault::RestartAgent => {
            world.host.forget_agent(world.now);
            world.agent = crate::agent::core::Agent::new(super::settings(), world.host.ledger(), world.now);
            world.tell(crate::agent::core::Event::Wake);
            world.tell(crate::agent::core::Event::Connected);
            world.assign();
        }
        Fault::LoseLedger => world.host.lose_ledger(),
        Fault::Docker(down) => world.host.set_down(RuntimeKind::Docker, *down),
        Fault::LoseEvents(lose) => world.host.lose_events = *lose,
        Fault::DiskFull(full) => world.host.disk_full = *full,
        Fault::SlowStarts(slow) => {
            let takes = if *slow { 7 } else { 0 };
            world.behave("app:1", |behaviour| behaviour.start_takes = Duration::from_secs(takes));
        }
        Fault::Pass(millis) => world.pass(*millis),
    }
}

fn ordered_stops_only(world: &World) {
    let stopped: BTreeSet<&PodUid> = world.assignment.stop.keys().chain(&world.gone).collect();
    for uid in world.assignment.run.keys() {
        assert!(!stopped.contains(uid));
    }
}

/// Plays faults, then calm: there are never two copies of a container, and what is wanted runs in the end.
fn converges(faults: &[Fault]) -> Result<(), TestCaseError> {
    let mut world = World::new();
    world.behave("init:1", |behaviour| behaviour.exits_after = Some((Duration::from_secs(1), 0)));
    for fault in faults {
        inject(&mut world, fault);
        check(&world);
        ordered_stops_only(&world);
    }
    for calm in [Fault::Docker(false), Fault::LoseEvents(false), Fault::DiskFull(false), Fault::SlowStarts(false)] {
        inject(&mut world, &calm);
    }
    world.pass(1_300_000);
    check(&world);
    let wanted: BTreeSet<PodUid> = world.assignment.run.keys().copied().collect();
    let ready: BTreeSet<PodUid> = world.known.values().filter(|pod| pod.ready).map(|pod| pod.uid).collect();
    prop_assert_eq!(&wanted, &ready, "{:?}\n{}", world.known, world.transcript.join("\n"));
    let running: BTreeSet<PodUid> =
        world.host.containers().filter(|c| c.state == RunState::Running).map(|c| c.labels.uid).collect();
    prop_assert_eq!(&wanted, &running, "what was ordered to stop has stopped");
    prop_assert!(world.assignment.stop.keys().all(|uid| world.gone.contains(uid)));
    let has_data = world.host.claims().contains(&data());
    let uses = [2, 3].iter().any(|slot| wanted.contains(&super::pod(*slot, &snapshot_of(*slot)).uid));
    prop_assert!(!uses || has_data, "a pod runs without its data");
    prop_assert!(uses || !has_data || world.assignment.erase.is_empty(), "what was ordered to be deleted is deleted");
    let still = world.host.calls;
    world.pass(600_000);
    prop_assert_eq!(world.host.calls, still, "a converged node makes no changing call");
    Ok(())
}

#[test]
fn a_failed_start_of_an_init_container_is_no_failure_of_a_pod_that_runs() {
    let faults = [
        Fault::Run(1),
        Fault::Crash(1),
        Fault::Pass(1041),
        // The start that succeeded is deleted by a stranger, and the agent has nothing but what it finds.
        Fault::Vanish(2),
        Fault::LoseLedger,
        Fault::RestartAgent,
    ];
    converges(&faults).expect("converges");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn faults_never_make_two_copies_and_everything_converges_after_them(faults in faults()) {
        converges(&faults)?;
    }
}
