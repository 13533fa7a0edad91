//! A host for the simulator: it performs the core's effects on containers that exist only here, and yields the events that follow
//! at given moments. Pure, deterministic, and full of faults on request.
//!
//! It plays what the shell and the runtimes are in production: effects go into [`FakeHost::perform`], events come out of
//! [`FakeHost::due`]. Containers outlive the agent ([`FakeHost::forget_agent`]) and the ledger is the last one that was saved.

mod leases;
mod usage;

use super::{ContainerId, ContainerLaunch, ContainerStatus, Role, RunState, RuntimeError, RuntimeEvent, Started, VolumeKind};
use crate::agent::core::{ContainerKey, Effect, Event, HookAction, HookRequest, Ledger, ProbeKind, ProbeOutcome, ProbeRequest};
use crate::agent::launch::Folders;
use crate::model::{Exit, Moment, ObjectKey, Report, RuntimeKind};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

/// How long the data of a claim takes to be deleted.
const ERASE_TAKES: Duration = Duration::from_secs(1);

/// How containers of an image (or of a program, for host processes) behave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Behaviour {
    /// From the start being asked for to its outcome.
    pub start_takes: Duration,
    /// The start fails with this.
    pub start_fails: Option<RuntimeError>,
    /// From its start to its readiness and startup probes succeeding; `None` for never.
    pub ready_after: Option<Duration>,
    /// From its start to its liveness probe failing; `None` for never.
    pub sick_after: Option<Duration>,
    /// It ends by itself after so long, with this code.
    pub exits_after: Option<(Duration, i32)>,
    /// How long its hooks take, but for pauses, which take what they say.
    pub hooks_take: Duration,
    /// Its hooks fail with this.
    pub hooks_fail: Option<String>,
    /// How long it takes to end when asked; beyond the grace it is killed.
    pub stop_takes: Duration,
    /// With which code it ends when asked.
    pub stop_code: i32,
    /// Cpu in use, in thousandths of a core.
    pub cpu_milli: u64,
    /// Memory in use.
    pub memory_bytes: u64,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            start_takes: Duration::from_millis(20),
            start_fails: None,
            ready_after: Some(Duration::ZERO),
            sick_after: None,
            exits_after: None,
            hooks_take: Duration::from_millis(5),
            hooks_fail: None,
            stop_takes: Duration::from_millis(10),
            stop_code: 0,
            cpu_milli: 10,
            memory_bytes: 1 << 20,
        }
    }
}

/// How often each call was made that changes a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Calls {
    /// Starts.
    pub starts: u64,
    /// Stops.
    pub stops: u64,
    /// Removals.
    pub removes: u64,
}

#[derive(Debug, Clone)]
struct FakeContainer {
    status: ContainerStatus,
    program: String,
    claims: BTreeSet<ObjectKey>,
    started: Moment,
    /// How long it may take to end when its lease has run out.
    grace: Duration,
}

/// What happens later. Outcomes are addressed to the agent that asked, happenings to the world.
#[derive(Debug, Clone)]
enum Later {
    Outcome(Box<Event>),
    Start(Box<ContainerLaunch>),
    Exit {
        id: ContainerId,
        exit: Exit,
    },
    Erase(ObjectKey),
    Stopped {
        key: ContainerKey,
        id: ContainerId,
        code: i32,
    },
    /// A lease may have run out. It is nobody's answer: whoever asked for it may be gone.
    Expire(ContainerId),
}

/// The host.
#[derive(Debug, Clone)]
pub struct FakeHost {
    containers: BTreeMap<ContainerId, FakeContainer>,
    behaviours: BTreeMap<String, Behaviour>,
    queue: BTreeMap<(Moment, u64), Later>,
    serial: u64,
    alarm: Option<Moment>,
    ledger: Option<Ledger>,
    /// A newer ledger could not be written.
    behind: bool,
    down: BTreeSet<RuntimeKind>,
    /// Runtime events are lost while this is set.
    pub lose_events: bool,
    /// Writing the ledger fails while this is set.
    pub disk_full: bool,
    /// The digests that names of images stand for just now; others have none.
    pub registry: BTreeMap<String, String>,
    /// What was called so far.
    pub calls: Calls,
    /// The claims that have a folder on the disk.
    claims: BTreeSet<ObjectKey>,
    /// By how much the boot clock is ahead of the time that the host is given.
    boot_ahead_ms: i64,
}

impl Default for FakeHost {
    fn default() -> Self {
        Self::new()
    }
}

impl FakeHost {
    /// An empty host.
    #[must_use]
    pub fn new() -> Self {
        Self {
            containers: BTreeMap::new(),
            behaviours: BTreeMap::new(),
            queue: BTreeMap::new(),
            serial: 0,
            alarm: None,
            ledger: None,
            behind: false,
            down: BTreeSet::new(),
            lose_events: false,
            disk_full: false,
            registry: BTreeMap::new(),
            calls: Calls::default(),
            claims: BTreeSet::new(),
            boot_ahead_ms: 0,
        }
    }

    /// Says how containers of this image (or program) behave from now on; others behave as [`Behaviour::default`].
    pub fn behave(&mut self, program: impl Into<String>, behaviour: Behaviour) {
        self.behaviours.insert(program.into(), behaviour);
    }

    /// Performs an effect. A report is handed back, since it is for the controller.
    #[must_use]
    pub fn perform(&mut self, effect: Effect, now: Moment) -> Option<Report> {
        match effect {
            Effect::Network(_) | Effect::Intercept(_) | Effect::AnswerAt(_) | Effect::Ingress(_) | Effect::Beat => {}
            Effect::Renew(leases) => self.renew(&leases),
            Effect::Report(report) => return Some(*report),
            Effect::WakeAt(at) => self.alarm = Some(at),
            Effect::Forget(_) | Effect::Rewrite { .. } => {}
            Effect::Erase(volume) => self.later(now + ERASE_TAKES, Later::Erase(volume)),
            Effect::SaveLedger(ledger) => {
                let outcome = if self.disk_full { Err("no space left on device".to_owned()) } else { Ok(()) };
                self.behind = outcome.is_err();
                if !self.behind {
                    self.ledger = Some(*ledger);
                }
                self.answer(now, Event::LedgerSaved(outcome));
            }
            Effect::List(runtime) => self.list(runtime, now),
            Effect::Start(launch) => self.ask_start(launch, now),
            Effect::Stop { key, id, grace, runtime } => self.ask_stop(runtime, key, id, grace, now),
            Effect::Remove { key, id, runtime } => self.remove(runtime, key, &id, now),
            Effect::Probe(request) => self.probe(&request, now),
            Effect::Hook(request) => self.hook(*request, now),
            Effect::Sample(wanted) => self.sample(wanted, now),
            Effect::SampleHost => self.sample_host(now),
            Effect::Endpoints { set, .. } => {
                self.answer(now, Event::EndpointsInUse { service: set.service.clone(), version: set.version });
            }
        }
        None
    }

    /// When [`FakeHost::due`] has something next.
    #[must_use]
    pub fn next(&self) -> Option<Moment> {
        let queued = self.queue.keys().next().map(|(at, _)| *at);
        queued.into_iter().chain(self.alarm).min()
    }

    /// The events up to `now`, in order.
    pub fn due(&mut self, now: Moment) -> Vec<Event> {
        let mut events = Vec::new();
        while let Some((at, later)) = self.pop(now) {
            match later {
                Later::Outcome(event) => events.push(*event),
                Later::Start(launch) => events.push(self.start(&launch, at)),
                Later::Erase(volume) => {
                    self.claims.remove(&volume);
                    events.push(Event::Erased { volume, outcome: Ok(()) });
                }
                Later::Exit { id, exit } => events.extend(self.exit(&id, exit)),
                Later::Expire(id) => self.expire(&id, at),
                Later::Stopped { key, id, code } => {
                    let exit = Exit { code, reason: if code == 0 { "Completed" } else { "Error" }.to_owned() };
                    // Both the event and the outcome tell of it, as with a real engine.
                    events.extend(self.exit(&id, exit.clone()));
                    let outcome = self.exit_of(&id).ok_or(RuntimeError::NotFound(id));
                    events.push(Event::Stopped { key, outcome });
                }
            }
        }
        if self.alarm.is_some_and(|at| at <= now) {
            self.alarm = None;
            events.push(Event::Wake);
        }
        events
    }

    fn pop(&mut self, now: Moment) -> Option<(Moment, Later)> {
        let key = *self.queue.keys().next().filter(|(at, _)| *at <= now)?;
        self.queue.remove(&key).map(|later| (key.0, later))
    }

    fn later(&mut self, at: Moment, later: Later) {
        self.serial += 1;
        self.queue.insert((at, self.serial), later);
    }

    fn answer(&mut self, now: Moment, event: Event) {
        self.later(now + Duration::from_millis(1), Later::Outcome(Box::new(event)));
    }

    fn behaviour(&self, program: &str) -> Behaviour {
        self.behaviours.get(program).cloned().unwrap_or_default()
    }

    fn unreachable(&self, runtime: RuntimeKind) -> Option<RuntimeError> {
        let message = "the socket is gone".to_owned();
        self.down.contains(&runtime).then_some(RuntimeError::Unavailable { runtime, message })
    }

    fn list(&mut self, runtime: RuntimeKind, now: Moment) {
        if self.down.contains(&runtime) {
            return self.answer(now, Event::RuntimeLost { runtime, message: "the socket is gone".to_owned() });
        }
        let of_runtime = self.containers.values().filter(|container| container.status.runtime == runtime);
        let containers = of_runtime
            .map(|container| ContainerStatus { age: now.since(container.started), ..container.status.clone() })
            .collect();
        self.answer(now, Event::Found { runtime, asked: now, containers, gateway: None });
    }

    fn ask_start(&mut self, launch: Box<ContainerLaunch>, now: Moment) {
        self.calls.starts += 1;
        let takes = self.behaviour(&program_of(&launch)).start_takes;
        self.later(now + takes, Later::Start(launch));
    }

    fn start(&mut self, launch: &ContainerLaunch, now: Moment) -> Event {
        let key = ContainerKey::from(&launch.labels);
        let program = program_of(launch);
        let behaviour = self.behaviour(&program);
        let sandbox_gone =
            launch.sandbox.as_ref().is_some_and(|sandbox| !self.runs(sandbox)).then(|| RuntimeError::Refused {
                message: "cannot join the network of a container that does not run".to_owned(),
            });
        let expired = launch.lease.is_some_and(|lease| self.moment(lease.until) <= now);
        let expired = expired.then(|| RuntimeError::Refused { message: "its lease has run out".to_owned() });
        if let Some(error) = self.unreachable(launch.runtime).or(behaviour.start_fails).or(sandbox_gone).or(expired) {
            return Event::Started { key, outcome: Err(error) };
        }
        self.serial += 1;
        let id = ContainerId(format!("fake-{}-{}-{}", launch.labels.pod, launch.labels.container, launch.labels.attempt));
        let third = u8::try_from(self.serial / 256 % 256).unwrap_or(0);
        let fourth = u8::try_from(self.serial % 256).unwrap_or(0);
        let process = launch.runtime == RuntimeKind::Process;
        let address = if process { Ipv4Addr::LOCALHOST } else { Ipv4Addr::new(10, 99, third, fourth) };
        if !self.runs(&id) {
            let status = ContainerStatus {
                id: id.clone(),
                runtime: launch.runtime,
                labels: launch.labels.clone(),
                state: RunState::Running,
                age: Duration::ZERO,
                address: Some(IpAddr::V4(address)).filter(|_| launch.sandbox.is_none()),
                ports: launch.ports.clone(),
                image_digest: self.digest_of(launch),
                lease: launch.lease.map(|lease| lease.until),
            };
            if let Some(lease) = launch.lease {
                self.later(self.moment(lease.until), Later::Expire(id.clone()));
            }
            if let Some((after, code)) = behaviour.exits_after {
                let exit = Exit { code, reason: if code == 0 { "Completed" } else { "Error" }.to_owned() };
                self.later(now + after, Later::Exit { id: id.clone(), exit });
            }
            let grace = launch.lease.map(|lease| lease.grace).unwrap_or_default();
            let claims = claims_of(launch);
            self.claims.extend(claims.iter().cloned());
            self.containers.insert(id.clone(), FakeContainer { status, program, claims, started: now, grace });
        }
        let status = self.containers.get(&id).map(|container| &container.status);
        let address = status.and_then(|status| status.address);
        let image_digest = status.and_then(|status| status.image_digest.clone());
        Event::Started { key, outcome: Ok(Started { id, address, image_digest }) }
    }

    fn digest_of(&self, launch: &ContainerLaunch) -> Option<String> {
        let image = launch.image.as_ref()?;
        let written = image.split_once('@').map(|(_, digest)| digest.to_owned());
        written.or_else(|| self.registry.get(image).cloned())
    }

    fn ask_stop(&mut self, runtime: RuntimeKind, key: ContainerKey, id: ContainerId, grace: Duration, now: Moment) {
        self.calls.stops += 1;
        if let Some(error) = self.unreachable(runtime) {
            return self.answer(now, Event::Stopped { key, outcome: Err(error) });
        }
        let program = self.containers.get(&id).map(|container| container.program.clone()).unwrap_or_default();
        let behaviour = self.behaviour(&program);
        let takes = behaviour.stop_takes;
        let (after, code) = if takes <= grace { (takes, behaviour.stop_code) } else { (grace, 137) };
        self.later(now + after, Later::Stopped { key, id, code });
    }

    fn remove(&mut self, runtime: RuntimeKind, key: ContainerKey, id: &ContainerId, now: Moment) {
        self.calls.removes += 1;
        let outcome = match self.unreachable(runtime) {
            Some(error) => Err(error),
            // What is gone is gone, as the trait says.
            None => {
                self.containers.remove(id);
                Ok(())
            }
        };
        self.answer(now, Event::Removed { key, outcome });
    }

    fn exit(&mut self, id: &ContainerId, exit: Exit) -> Option<Event> {
        let lost = self.lose_events;
        let container = self.containers.get_mut(id).filter(|container| container.status.state == RunState::Running)?;
        container.status.state = RunState::Exited(exit.clone());
        let event = RuntimeEvent::Exited { id: id.clone(), exit };
        (!lost).then_some(Event::Runtime { runtime: container.status.runtime, event })
    }

    fn runs(&self, id: &ContainerId) -> bool {
        self.containers.get(id).is_some_and(|container| container.status.state == RunState::Running)
    }

    fn exit_of(&self, id: &ContainerId) -> Option<Exit> {
        match &self.containers.get(id)?.status.state {
            RunState::Exited(exit) => Some(exit.clone()),
            RunState::Created | RunState::Running | RunState::Dead => None,
        }
    }

    fn probe(&mut self, request: &ProbeRequest, now: Moment) {
        let outcome = match self.containers.get(&request.id).filter(|c| c.status.state == RunState::Running) {
            None => ProbeOutcome::Failure("connection refused".to_owned()),
            Some(container) => {
                let behaviour = self.behaviour(&container.program);
                let age = now.since(container.started);
                let passed = match request.kind {
                    ProbeKind::Liveness => behaviour.sick_after.is_none_or(|after| age < after),
                    ProbeKind::Startup | ProbeKind::Readiness => behaviour.ready_after.is_some_and(|after| age >= after),
                };
                if passed { ProbeOutcome::Success } else { ProbeOutcome::Failure("status 503".to_owned()) }
            }
        };
        self.answer(now, Event::Probed { key: request.key.clone(), kind: request.kind, outcome });
    }

    fn hook(&mut self, request: HookRequest, now: Moment) {
        let program = self.containers.get(&request.id).map(|container| container.program.clone()).unwrap_or_default();
        let behaviour = self.behaviour(&program);
        let (takes, outcome) = match request.action {
            HookAction::Sleep(pause) => (pause, Ok(())),
            HookAction::Exec(_) | HookAction::Http(_) => (behaviour.hooks_take, behaviour.hooks_fail.map_or(Ok(()), Err)),
            HookAction::Impossible(why) => (Duration::ZERO, Err(why)),
        };
        let event = Event::Hooked { key: request.key, kind: request.kind, outcome };
        self.answer(now + takes.min(request.timeout), event);
    }
}

/// What happens to the host from outside.
impl FakeHost {
    /// The containers, for assertions.
    pub fn containers(&self) -> impl Iterator<Item = &ContainerStatus> {
        self.containers.values().map(|container| &container.status)
    }

    /// A container dies by itself.
    pub fn crash(&mut self, id: &ContainerId, code: i32, now: Moment) {
        let exit = Exit { code, reason: "Error".to_owned() };
        self.later(now, Later::Exit { id: id.clone(), exit });
    }

    /// A container is deleted behind the agent's back.
    pub fn vanish(&mut self, id: &ContainerId, now: Moment) {
        let Some(container) = self.containers.remove(id) else { return };
        if !self.lose_events {
            let event = RuntimeEvent::Removed { id: id.clone() };
            self.answer(now, Event::Runtime { runtime: container.status.runtime, event });
        }
    }

    /// A runtime goes out of reach or comes back. Its containers run on.
    pub fn set_down(&mut self, runtime: RuntimeKind, down: bool) {
        if down {
            self.down.insert(runtime);
        } else {
            self.down.remove(&runtime);
        }
    }

    /// The agent died at `now`: outcomes have nobody to go to. What was asked for still happens, and has happened before another
    /// agent lists: an engine finishes the calls that it has, and a shim that is starting is waited for.
    pub fn forget_agent(&mut self, now: Moment) {
        self.alarm = None;
        for (at, later) in std::mem::take(&mut self.queue) {
            match later {
                Later::Outcome(_) => {}
                Later::Start(launch) => {
                    let _ = self.start(&launch, now);
                }
                Later::Erase(volume) => {
                    self.claims.remove(&volume);
                }
                Later::Exit { .. } | Later::Stopped { .. } | Later::Expire(_) => {
                    self.queue.insert(at, later);
                }
            }
        }
    }

    /// The host reboots: nothing runs any more. The ledger is still on its disk.
    pub fn reboot(&mut self) {
        self.alarm = None;
        self.queue.clear();
        self.containers.clear();
    }

    /// The ledger that was last written, an empty one if there is none, not intact if a newer one could not be written; with the claims
    /// that are on the disk.
    #[must_use]
    pub fn ledger(&self) -> Ledger {
        let last = self.ledger.clone().unwrap_or_default();
        Ledger { volumes: self.claims.clone(), intact: last.intact && !self.behind, ..last }
    }

    /// The claims that have a folder on the disk.
    #[must_use]
    pub fn claims(&self) -> &BTreeSet<ObjectKey> {
        &self.claims
    }

    /// The claims that running containers mount.
    pub fn mounted(&self) -> impl Iterator<Item = (&ContainerStatus, &ObjectKey)> {
        let running = self.containers.values().filter(|container| container.status.state == RunState::Running);
        running.flat_map(|container| container.claims.iter().map(move |claim| (&container.status, claim)))
    }

    /// The disk with the ledger is lost.
    pub fn lose_ledger(&mut self) {
        self.ledger = None;
    }
}

/// What behaviours are keyed by: the image, or the program of a host process, or the word for a sandbox.
fn program_of(launch: &ContainerLaunch) -> String {
    if launch.labels.role == Role::Sandbox {
        return Role::Sandbox.as_str().to_owned();
    }
    launch.image.clone().or_else(|| launch.command.first().cloned()).unwrap_or_default()
}

fn claims_of(launch: &ContainerLaunch) -> BTreeSet<ObjectKey> {
    let claims = launch.volumes.iter().filter(|volume| volume.kind == VolumeKind::Claim);
    let names = claims.filter_map(|volume| volume.folder.file_name()?.to_str());
    names.filter_map(Folders::claim_named).collect()
}
