//! The stage with the simulator's fake host, so that what the simulator proves holds for real runtimes too.
//!
//! The fake takes effects and yields events; here it is put behind the trait that the real ones have. Its clock is moved to the
//! next event whenever somebody waits. It runs no programs: what a script would do is looked up.

use crate::stage::{Stage, own_cluster};
use bytes::Bytes;
use driftless::agent::core::{ContainerKey, Effect, Event};
use driftless::agent::runtime::fake::{Behaviour, FakeHost};
use driftless::agent::runtime::{
    Call, ContainerId, ContainerLaunch, ContainerStatus, ExecResult, LogOptions, Runtime, RuntimeError, RuntimeEvent, Started,
    Usage,
};
use driftless::model::{BootMoment, Exit, Moment, NodeName, RuntimeKind};
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

const KIND: RuntimeKind = RuntimeKind::Docker;

pub(crate) async fn stage() -> Stage {
    let world = Arc::new(Mutex::new(World::default()));
    let connect_to = Arc::clone(&world);
    Stage {
        runtime: Arc::new(Fake { world }),
        connect: Box::new(move |_| {
            let mut world = connect_to.lock().unwrap();
            let now = world.now;
            // Another client takes over: outcomes for the first go nowhere.
            world.host.forget_agent(now);
            Arc::new(Fake { world: Arc::clone(&connect_to) })
        }),
        cluster: own_cluster(),
        node: NodeName::new("node-1"),
        image: None,
        folder: tempfile::tempdir().unwrap(),
        runs_programs: false,
        take_down: Box::new(|| Box::pin(async {})),
    }
}

#[derive(Default)]
struct World {
    host: FakeHost,
    now: Moment,
    watchers: Vec<Arc<Mutex<VecDeque<RuntimeEvent>>>>,
    keys: BTreeMap<ContainerId, ContainerKey>,
}

/// A client of the fake host.
struct Fake {
    world: Arc<Mutex<World>>,
}

/// What the host would see a script do.
fn behaviour_of(script: &str) -> Behaviour {
    let mut behaviour = Behaviour::default();
    if script.contains("trap ''") {
        behaviour.stop_takes = Duration::from_secs(1_000_000);
    } else if script.contains("exit 3' TERM") {
        behaviour.stop_code = 3;
    } else if let Some((_, code)) = script.rsplit_once("exit ") {
        behaviour.exits_after = Some((Duration::ZERO, code.parse().unwrap()));
    }
    if script.contains("held=") {
        behaviour.memory_bytes = 20 << 20;
    }
    if script.is_empty() {
        let message = "exec: /no/such/program: no such file or directory".to_owned();
        behaviour.start_fails = Some(RuntimeError::Refused { message });
    }
    behaviour
}

impl World {
    /// Moves the clock to what happens next. `None` if nothing will.
    fn step(&mut self) -> Option<Vec<Event>> {
        self.now = self.host.next()?.max(self.now);
        let events = self.host.due(self.now);
        for event in &events {
            if let Event::Runtime { event, .. } = event {
                self.watchers.iter().for_each(|queue| queue.lock().unwrap().push_back(event.clone()));
            }
        }
        Some(events)
    }

    /// Asks for something, and moves the clock until the answer has come.
    fn ask<T>(&mut self, effect: Effect, mut answer: impl FnMut(Event) -> Option<T>) -> T {
        assert_eq!(self.host.perform(effect, self.now), None, "only reports come back at once");
        loop {
            let events = self.step().expect("the host answers");
            if let Some(answer) = events.into_iter().find_map(&mut answer) {
                return answer;
            }
        }
    }

    fn key(&self, id: &ContainerId) -> ContainerKey {
        self.keys.get(id).expect("a container of this world").clone()
    }
}

impl Fake {
    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    fn start_now(&self, launch: &ContainerLaunch) -> Result<Started, RuntimeError> {
        let mut world = self.world();
        let mut launch = launch.clone();
        let script = launch.command.get(2).cloned().unwrap_or_default();
        launch.image = Some(script.clone());
        world.host.behave(script.clone(), behaviour_of(&script));
        let key = ContainerKey::from(&launch.labels);
        let asked = key.clone();
        let outcome = world.ask(Effect::Start(Box::new(launch)), |event| {
            if let Event::Started { key, outcome } = event
                && key == asked
            {
                Some(outcome)
            } else {
                None
            }
        });
        if let Ok(started) = &outcome {
            world.keys.insert(started.id.clone(), key);
        }
        outcome
    }

    fn stop_now(&self, id: &ContainerId, grace: Duration) -> Result<Exit, RuntimeError> {
        let mut world = self.world();
        let asked = world.key(id);
        let effect = Effect::Stop { key: asked.clone(), id: id.clone(), grace, runtime: KIND };
        world.ask(effect, |event| {
            if let Event::Stopped { key, outcome } = event
                && key == asked
            {
                Some(outcome)
            } else {
                None
            }
        })
    }

    fn remove_now(&self, id: &ContainerId) -> Result<(), RuntimeError> {
        let mut world = self.world();
        let asked = world.key(id);
        let effect = Effect::Remove { key: asked.clone(), id: id.clone(), runtime: KIND };
        world.ask(effect, |event| {
            if let Event::Removed { key, outcome } = event
                && key == asked
            {
                Some(outcome)
            } else {
                None
            }
        })
    }

    fn renew_now(&self, leases: &BTreeMap<ContainerId, BootMoment>) {
        let mut world = self.world();
        let now = world.now;
        let leases = leases.iter().map(|(id, until)| ((KIND, id.clone()), *until)).collect();
        assert_eq!(world.host.perform(Effect::Renew(leases), now), None);
    }

    fn usage_now(&self, id: &ContainerId) -> Result<Usage, RuntimeError> {
        let mut world = self.world();
        let key = world.key(id);
        let found = world.ask(Effect::Sample(vec![(KIND, key.clone(), id.clone())]), |event| {
            if let Event::Sampled(samples) = event { Some(samples.get(&key).copied()) } else { None }
        });
        found.ok_or_else(|| RuntimeError::NotFound(id.clone()))
    }

    fn list_now(&self) -> Result<Vec<ContainerStatus>, RuntimeError> {
        self.world().ask(Effect::List(KIND), |event| {
            if let Event::Found { containers, .. } = event { Some(Ok(containers)) } else { None }
        })
    }
}

impl Runtime for Fake {
    fn kind(&self) -> RuntimeKind {
        KIND
    }

    fn engine(&self) -> Option<String> {
        None
    }

    fn gateway(&self) -> Option<IpAddr> {
        None
    }

    fn list(&self) -> Call<'_, Vec<ContainerStatus>> {
        Box::pin(async { self.list_now() })
    }

    fn start<'a>(&'a self, launch: &'a ContainerLaunch) -> Call<'a, Started> {
        Box::pin(async { self.start_now(launch) })
    }

    fn stop<'a>(&'a self, id: &'a ContainerId, grace: Duration) -> Call<'a, Exit> {
        Box::pin(async move { self.stop_now(id, grace) })
    }

    fn renew<'a>(&'a self, leases: &'a BTreeMap<ContainerId, BootMoment>) -> Call<'a, ()> {
        Box::pin(async {
            self.renew_now(leases);
            Ok(())
        })
    }

    fn remove<'a>(&'a self, id: &'a ContainerId) -> Call<'a, ()> {
        Box::pin(async { self.remove_now(id) })
    }

    fn exec<'a>(&'a self, _: &'a ContainerId, _: &'a [String], _: Duration) -> Call<'a, ExecResult> {
        Box::pin(async { Err(RuntimeError::Unsupported("a command inside".to_owned())) })
    }

    fn logs<'a>(&'a self, _: &'a ContainerId, _: LogOptions) -> Call<'a, BoxStream<'static, Result<Bytes, RuntimeError>>> {
        Box::pin(async { Err(RuntimeError::Unsupported("a log".to_owned())) })
    }

    fn usage<'a>(&'a self, id: &'a ContainerId) -> Call<'a, Usage> {
        Box::pin(async { self.usage_now(id) })
    }

    fn watch(&self) -> BoxStream<'static, RuntimeEvent> {
        let queue = Arc::new(Mutex::new(VecDeque::new()));
        self.world().watchers.push(Arc::clone(&queue));
        let world = Arc::clone(&self.world);
        stream::unfold((world, queue), |(world, queue)| async move {
            loop {
                let next = queue.lock().unwrap().pop_front();
                if let Some(event) = next {
                    return Some((event, (world, queue)));
                }
                // Waiting is what moves this world's clock.
                world.lock().unwrap().step();
                tokio::task::yield_now().await;
            }
        })
        .boxed()
    }
}
