//! The actor that owns the audit log: records are appended to the local mirror at once and pushed when the remote is there.

use super::input::{Alarm, Input};
use crate::causes::in_full;
use crate::clock;
use crate::controller::Event;
use crate::model::{AuditRecord, Epoch};
use crate::sync::{AuditError, AuditLog};
use crate::wire::JoinAnswer;
use std::collections::VecDeque;
use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

/// With nothing to push, how often it is looked whether somebody else reigns.
const LOOK_PERIOD: Duration = Duration::from_secs(30);

/// The first pause after a failed push or append; it doubles up to [`LOOK_PERIOD`].
const RETRY: Duration = Duration::from_secs(1);

/// How long the end of the controller waits for the last push. What is not pushed stays queued in the mirror.
const LAST_PUSH: Duration = Duration::from_secs(5);

/// What the recorder is asked for.
enum Order {
    Record(Box<AuditRecord>),
    Claim(Epoch),
    Tell(JoinAnswer),
}

/// The way to the recorder.
pub(super) struct Recorder {
    orders: Sender<Order>,
    ended: oneshot::Receiver<()>,
}

impl Recorder {
    /// Starts the actor.
    pub(super) fn start(audit: AuditLog, instance: String, inputs: mpsc::Sender<Input>) -> io::Result<Self> {
        let (orders, receiver) = channel();
        let (ending, ended) = oneshot::channel();
        let alarm = Alarm { actor: "recorder", inputs: inputs.clone() };
        let desk =
            Desk { audit, instance, inputs, claim: None, waiting: VecDeque::new(), answers: Vec::new(), told: None, failures: 0 };
        thread::Builder::new().name("audit".to_owned()).spawn(move || {
            let _alarm = alarm;
            desk.run(&receiver);
            // The controller may have stopped waiting.
            let _ = ending.send(());
        })?;
        Ok(Self { orders, ended })
    }

    /// Hands a record over.
    pub(super) fn record(&self, record: Box<AuditRecord>) {
        if self.orders.send(Order::Record(record)).is_err() {
            tracing::error!("an audit record was lost: the recorder has ended");
        }
    }

    /// Answers a host that joins once everything so far is on the audit branch, in the mirror at least.
    pub(super) fn when_recorded(&self, answer: JoinAnswer) {
        // Without an actor nobody answers, and the host asks again.
        let _ = self.orders.send(Order::Tell(answer));
    }

    /// Asks for an epoch above `epoch`; [`Event::Reclaimed`] is the answer.
    pub(super) fn claim_above(&self, epoch: Epoch) {
        if self.orders.send(Order::Claim(epoch)).is_err() {
            tracing::error!("no epoch can be claimed: the recorder has ended");
        }
    }

    /// Lets the actor push what it has, within a limit.
    pub(super) async fn finish(self) {
        drop(self.orders);
        if timeout(LAST_PUSH, self.ended).await.is_err() {
            tracing::warn!("audit records are not pushed yet; they stay queued in the mirror");
        }
    }
}

struct Desk {
    audit: AuditLog,
    instance: String,
    inputs: mpsc::Sender<Input>,
    /// An epoch above this one is wanted.
    claim: Option<Epoch>,
    /// Records that could not be appended yet: the disk is full.
    waiting: VecDeque<Box<AuditRecord>>,
    /// Hosts that wait for what was recorded before they asked.
    answers: Vec<JoinAnswer>,
    /// The last state that the core was told.
    told: Option<(usize, Option<String>)>,
    failures: u32,
}

impl Desk {
    fn run(mut self, orders: &Receiver<Order>) {
        // The claim of the start may be queued.
        let mut reigns = self.push();
        while reigns {
            match orders.recv_timeout(self.pause()) {
                Ok(order) => {
                    self.take(order);
                    orders.try_iter().for_each(|order| self.take(order));
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return self.end(),
            }
            reigns = self.push();
        }
        // Stood down: nothing is written any more.
        for order in orders {
            if let Order::Record(record) = order {
                tracing::warn!(subject = record.subject, "not recorded: another controller reigns");
            }
        }
    }

    fn take(&mut self, order: Order) {
        match order {
            Order::Record(record) => self.waiting.push_back(record),
            Order::Claim(above) => self.claim = self.claim.max(Some(above)),
            Order::Tell(answer) => self.answers.push(answer),
        }
    }

    fn end(&mut self) {
        if !self.waiting.is_empty() || self.audit.queued().is_ok_and(|queued| queued > 0) {
            self.push();
        }
    }

    fn pause(&self) -> Duration {
        if self.failures == 0 { LOOK_PERIOD } else { RETRY.saturating_mul(1 << self.failures.min(6)).min(LOOK_PERIOD) }
    }

    /// Appends and pushes what there is. False if another controller reigns.
    fn push(&mut self) -> bool {
        let outcome = self.append().and_then(|()| self.reclaim()).and_then(|()| self.audit.push());
        let queued = self.audit.queued().unwrap_or(0) + self.waiting.len();
        match outcome {
            Ok(state) => {
                self.failures = 0;
                self.tell(state.queued, None);
                true
            }
            Err(AuditError::StoodDown { ours, theirs, instance }) => {
                tracing::error!(
                    ours = ours.0,
                    theirs = theirs.0,
                    instance,
                    "another controller reigns: this one changes nothing any more"
                );
                self.send(Event::StoodDown(theirs));
                false
            }
            Err(error) => {
                self.failures += 1;
                if self.failures == 1 {
                    tracing::warn!(error = in_full(&error), hint = error.hint(), queued, "audit records wait in the mirror");
                }
                self.tell(queued, Some(in_full(&error)));
                true
            }
        }
    }

    /// Claims the epoch that is wanted, if one is.
    fn reclaim(&mut self) -> Result<(), AuditError> {
        if let Some(above) = self.claim {
            let claim = self.audit.claim_epoch(&self.instance, above, clock::now())?;
            self.claim = None;
            self.send(Event::Reclaimed(claim.epoch));
        }
        Ok(())
    }

    fn append(&mut self) -> Result<(), AuditError> {
        while let Some(record) = self.waiting.front() {
            match self.audit.append(record, clock::now()) {
                Ok(_) => {}
                // It would fail for ever, and hold up those behind it.
                Err(error @ (AuditError::OutsideCurrent { .. } | AuditError::Unclaimed)) => {
                    tracing::error!(
                        error = in_full(&error),
                        subject = record.subject,
                        "a record cannot be written; this is a bug"
                    );
                }
                Err(error) => return Err(error),
            }
            self.waiting.pop_front();
        }
        for answer in self.answers.drain(..) {
            // It may have stopped waiting; it is on record, and asks again.
            let _ = answer.send(Ok(()));
        }
        Ok(())
    }

    fn tell(&mut self, queued: usize, error: Option<String>) {
        let state = (queued, error);
        if self.told.as_ref() != Some(&state) {
            self.send(Event::AuditState { queued: state.0, error: state.1.clone() });
            self.told = Some(state);
        }
    }

    fn send(&self, event: Event) {
        // Without a receiver the controller is ending.
        let _ = self.inputs.blocking_send(Input::Core(Box::new(event)));
    }
}
