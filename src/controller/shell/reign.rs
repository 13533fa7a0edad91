//! The single owner of the core: events in, one at a time; effects out, in order.

use super::ShellError;
use super::input::{Begun, Input};
use super::links::Links;
use super::recorder::Recorder;
use super::registry::{Registry, Verdict};
use super::source::Source;
use crate::clock;
use crate::controller::{Controller, Effect, Event};
use crate::model::{Epoch, JoinRefusal, Moment, NodeName, View};
use crate::wire::server::{LinkEvent, WAITS_FOR_REPOSITORY};
use crate::wire::{FromAgent, JoinAnswer, JoinAsk, ToAgent};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// The shortest time between two views.
const VIEW_PERIOD: Duration = Duration::from_millis(50);

/// Making views takes at most this part of the time.
const VIEW_SHARE: u32 = 20;

/// The core is not woken more often than this, whatever it asks for.
const WAKE_PAUSE: Duration = Duration::from_millis(5);

/// The clock on the wall was set if it differs by more than this from what is known.
const CLOCK_SET_MS: u64 = 500;

/// The loop around the core.
pub(super) struct Reign {
    /// `None` until an epoch is claimed; then nothing is decided and there is only trouble to show.
    acting: Option<Acting>,
    /// Ends with this loop.
    _source: Source,
    links: Arc<Links>,
    views: watch::Sender<Arc<View>>,
    epochs: watch::Sender<Epoch>,
    registry: Registry,
    inputs: mpsc::Sender<Input>,
    /// When the next view may be made, if there is something new to see.
    view_due: Option<Moment>,
    view_not_before: Moment,
}

/// A claimed reign.
struct Acting {
    epoch: Epoch,
    core: Controller,
    recorder: Recorder,
    wake: Option<Moment>,
    /// By how much the clock on the wall is ahead, as the core was told.
    ahead_ms: i64,
    /// The nodes that have said hello in this reign.
    greeted: BTreeSet<NodeName>,
}

/// What the loop does next.
enum Step {
    Handle(Input),
    Wake,
    Show,
    Shutdown,
}

impl Reign {
    pub(super) fn new(
        source: Source,
        links: Arc<Links>,
        views: watch::Sender<Arc<View>>,
        epochs: watch::Sender<Epoch>,
        registry: Registry,
        inputs: mpsc::Sender<Input>,
    ) -> Self {
        let now = clock::now();
        Self { acting: None, _source: source, links, views, epochs, registry, inputs, view_due: None, view_not_before: now }
    }

    /// Until `shutdown`, or an error that does not heal.
    pub(super) async fn run(mut self, mut queue: mpsc::Receiver<Input>, shutdown: CancellationToken) -> Result<(), ShellError> {
        loop {
            match self.next(&mut queue, &shutdown).await {
                Step::Handle(input) => self.take(input)?,
                Step::Wake => self.handle(Event::Wake),
                Step::Show => self.show(),
                Step::Shutdown => break,
            }
        }
        if let Some(acting) = self.acting {
            acting.recorder.finish().await;
        }
        Ok(())
    }

    async fn next(&self, queue: &mut mpsc::Receiver<Input>, shutdown: &CancellationToken) -> Step {
        let wake = self.acting.as_ref().and_then(|acting| acting.wake);
        tokio::select! {
            biased;
            () = shutdown.cancelled() => Step::Shutdown,
            () = until(self.view_due) => Step::Show,
            () = until(wake) => Step::Wake,
            input = queue.recv() => input.map_or(Step::Shutdown, Step::Handle),
        }
    }

    fn take(&mut self, input: Input) -> Result<(), ShellError> {
        match input {
            Input::Begun(begun) => self.begin(*begun)?,
            Input::Core(event) => self.hear(*event),
            Input::Link(event) => self.hear_link(event),
            Input::Ended(actor) => return Err(ShellError::Ended(actor)),
        }
        Ok(())
    }

    fn begin(&mut self, begun: Begun) -> Result<(), ShellError> {
        let Begun { epoch, settings, restored, audit } = begun;
        let recorder = Recorder::start(audit, settings.instance.clone(), self.inputs.clone()).map_err(ShellError::Thread)?;
        tracing::info!(epoch = epoch.0, "this controller reigns");
        let core = Controller::new(settings, epoch, clock::now());
        self.acting = Some(Acting { epoch, core, recorder, wake: None, ahead_ms: 0, greeted: BTreeSet::new() });
        self.handle(Event::Restored(Box::new(restored)));
        self.epochs.send_replace(epoch);
        Ok(())
    }

    /// Before a reign there is no core: trouble is shown by a view of its own.
    fn hear(&mut self, event: Event) {
        if self.acting.is_some() {
            return self.handle(event);
        }
        if let Event::SyncFailed { message, hint } = event {
            self.views.send_modify(|view| {
                let mut next = View::clone(view);
                next.version += 1;
                next.at = clock::now();
                next.problems = vec![crate::model::ProblemView { about: "repository".to_owned(), message, hint, problem: None }];
                *view = Arc::new(next);
            });
        }
    }

    fn hear_link(&mut self, event: LinkEvent) {
        match event {
            LinkEvent::Join { ask, answer } => self.admit(ask, answer),
            LinkEvent::Connected { node, hello, link } => {
                self.claim_above(&node, hello.assignment.0);
                tracing::info!(%node, pods = hello.pods.len(), "agent connected");
                self.links.open(node.clone(), link);
                self.handle(Event::AgentHello { node, hello });
            }
            LinkEvent::Message { node, link, message } if self.links.is_current(&node, link) => self.hear_agent(node, message),
            LinkEvent::Closed { node, link } => {
                if self.links.close(&node, link) {
                    tracing::warn!(%node, "agent lost; its pods run on");
                    self.handle(Event::AgentLost { node });
                }
            }
            LinkEvent::Message { .. } => {}
        }
    }

    /// A host hears that it may join when that is on record.
    fn admit(&mut self, ask: JoinAsk, answer: JoinAnswer) {
        let node = ask.node.clone();
        let not_yet = || JoinRefusal::NotNow(WAITS_FOR_REPOSITORY.to_owned());
        let verdict = self.acting.as_ref().ok_or_else(not_yet).and_then(|acting| self.registry.judge(&acting.core, ask));
        match verdict {
            Ok(Verdict::New { member, token }) => {
                tracing::info!(%node, key = %member.key, token, "a host joins");
                self.handle(Event::NodeJoined { node, member, token });
                if let Some(acting) = &self.acting {
                    acting.recorder.when_recorded(answer);
                }
            }
            // Whoever asked may have gone.
            Ok(Verdict::Known) => drop(answer.send(Ok(()))),
            Err(refusal) => drop(answer.send(Err(refusal))),
        }
    }

    fn hear_agent(&mut self, node: NodeName, message: FromAgent) {
        match message {
            FromAgent::Report(report) => self.handle(Event::AgentReport { node, report }),
            FromAgent::Heartbeat { sent } => self.handle(Event::AgentHeartbeat { node, sent }),
            // The link keeps these to itself.
            FromAgent::Hello(_) | FromAgent::LogChunk { .. } => {}
        }
    }

    /// An agent that names our epoch or a later one before it heard from us has served another reign: the audit branch was lost, or is
    /// an old copy. It would refuse our words, so a later epoch is claimed.
    fn claim_above(&mut self, node: &NodeName, theirs: Epoch) {
        let Some(acting) = &mut self.acting else { return };
        if acting.greeted.insert(node.clone()) && theirs >= acting.epoch {
            tracing::warn!(%node, theirs = theirs.0, ours = acting.epoch.0, "an agent has served another reign; claiming a later epoch");
            acting.recorder.claim_above(theirs);
        }
    }

    /// Agents are heard every few seconds, so a clock that is set is noticed soon.
    fn handle(&mut self, event: Event) {
        let Some(acting) = &mut self.acting else { return };
        let ahead_ms = clock::wall().0.cast_signed() - clock::now().0.cast_signed();
        if ahead_ms.abs_diff(acting.ahead_ms) > CLOCK_SET_MS {
            acting.ahead_ms = ahead_ms;
            self.perform(Event::ClockSet { ahead_ms });
        }
        self.perform(event);
    }

    fn perform(&mut self, event: Event) {
        let Some(acting) = &mut self.acting else { return };
        let now = clock::now();
        if matches!(event, Event::Wake) {
            acting.wake = None;
        }
        if let Event::Reclaimed(epoch) = event {
            tracing::info!(epoch = epoch.0, "this controller reigns in a later epoch");
            acting.epoch = epoch;
            self.epochs.send_replace(epoch);
        }
        for effect in acting.core.handle(event, now) {
            match effect {
                Effect::Assign { node, assignment } => self.links.send(&node, ToAgent::Assign(assignment)),
                Effect::Endpoints { node, set } => self.links.send(&node, ToAgent::Endpoints(set)),
                Effect::Network { node, network } => self.links.send(&node, ToAgent::Network(network)),
                Effect::Trust(roll) => drop(self.registry.trusted.send_replace(roll)),
                Effect::Ingress { node, table } => self.links.send(&node, ToAgent::Ingress(table)),
                Effect::Renew { node, renewal } => self.links.send(&node, ToAgent::Renewed(renewal)),
                Effect::Record(record) => {
                    tracing::info!(outcome = %record.outcome, trigger = %record.trigger, "{}", record.subject);
                    acting.recorder.record(record);
                }
                Effect::WakeAt(at) => acting.wake = Some(at.max(now + WAKE_PAUSE)),
            }
        }
        self.view_due.get_or_insert(self.view_not_before.max(now));
    }

    /// Publishes a view, and sees to it that the next one is not too soon.
    fn show(&mut self) {
        self.view_due = None;
        let Some(acting) = &self.acting else { return };
        let start = clock::now();
        self.views.send_replace(acting.core.view());
        let took = clock::now().since(start);
        self.view_not_before = start + VIEW_PERIOD.max(took * VIEW_SHARE);
    }
}

/// Waits for a time; forever without one.
async fn until(at: Option<Moment>) {
    match at {
        Some(at) => sleep(at.since(clock::now())).await,
        None => std::future::pending().await,
    }
}
