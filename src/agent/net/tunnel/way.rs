//! The way to one node: gets a link when one is wanted, and a better one when there is one.

use super::course::{Attempt, Course, Next, Path};
use super::dial::dial;
use super::driver::LinkEnd;
use super::link::Link;
use super::secure::Opener;
use super::{Context, LinkStatus};
use crate::clock;
use crate::model::{Moment, NodeName, Peer};
use crate::wire::jitter;
use futures_util::future::{BoxFuture, OptionFuture};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

/// Who may wait for a link.
const WAITING_MAX: usize = 1024;

/// Where nothing is due.
const FAR: Duration = Duration::from_secs(3600);

type Waiter = oneshot::Sender<Result<Arc<Link>, io::Error>>;

/// The handle of a way.
#[derive(Debug)]
pub(super) struct Way {
    waiters: mpsc::Sender<Waiter>,
    offers: mpsc::UnboundedSender<Link>,
    peer: watch::Sender<Peer>,
    link: watch::Receiver<Option<Arc<Link>>>,
    error: watch::Receiver<Option<String>>,
}

impl Way {
    /// The way to `name`, until `cut`. Must be called within tokio.
    pub(super) fn new(name: NodeName, peer: &Peer, context: Arc<Context>, cut: CancellationToken) -> Self {
        let (waiters, asked) = mpsc::channel(WAITING_MAX);
        let (offers, offered) = mpsc::unbounded_channel();
        let (peer_told, peer) = watch::channel(peer.clone());
        let (link_told, link) = watch::channel(None);
        let (error_told, error) = watch::channel(None);
        let course = Course::new(context.relays.is_some());
        let task = Task {
            name,
            context,
            cut: cut.clone(),
            peer,
            course,
            waiting: Vec::new(),
            expected: None,
            refusal: None,
            idle_since: clock::now(),
            attempt: None.into(),
            ended: None.into(),
            link: link_told,
            error: error_told,
        };
        tokio::spawn(async move {
            tokio::select! {
                () = task.run(asked, offered) => {}
                () = cut.cancelled() => {}
            }
        });
        Self { waiters, offers, peer: peer_told, link, error }
    }

    /// What is known of the node from now on.
    pub(super) fn update(&self, peer: &Peer) {
        self.peer.send_if_modified(|present| {
            let changed = present != peer;
            present.clone_from(peer);
            changed
        });
    }

    /// The link in use, if there is one that is up.
    pub(super) fn present(&self) -> Option<Arc<Link>> {
        self.link.borrow().clone().filter(|link| link.is_up())
    }

    /// Asks for a link, and hears when there is one, or why there is none.
    pub(super) fn ask(&self) -> Option<oneshot::Receiver<Result<Arc<Link>, io::Error>>> {
        let (waiter, answer) = oneshot::channel();
        self.waiters.try_send(waiter).ok().map(|()| answer)
    }

    /// The node came by itself.
    pub(super) fn offer(&self, link: Link) {
        // Without a task the node was cut off meanwhile.
        let _ = self.offers.send(link);
    }

    /// How it stands.
    pub(super) fn status(&self) -> LinkStatus {
        let link = self.present();
        let error = if link.is_some() { None } else { self.error.borrow().clone() };
        let bytes = link.as_ref().map_or((0, 0), |link| link.traffic.bytes());
        LinkStatus {
            path: link.as_ref().map(|link| link.path),
            since: link.as_ref().map(|link| link.made),
            streams: link.as_ref().map_or(0, |link| link.streams()),
            bytes_received: bytes.0,
            bytes_sent: bytes.1,
            error,
        }
    }
}

struct Task {
    name: NodeName,
    context: Arc<Context>,
    cut: CancellationToken,
    peer: watch::Receiver<Peer>,
    course: Course,
    waiting: Vec<Waiter>,
    /// Until when a node that was there is expected back.
    expected: Option<Moment>,
    /// What came of dialling last.
    refusal: Option<String>,
    /// Since when the link has had no streams.
    idle_since: Moment,
    attempt: OptionFuture<BoxFuture<'static, io::Result<Link>>>,
    /// The end of the link.
    ended: OptionFuture<BoxFuture<'static, LinkEnd>>,
    link: watch::Sender<Option<Arc<Link>>>,
    error: watch::Sender<Option<String>>,
}

/// What a way hears.
enum Heard {
    Asked(Waiter),
    Offered(Link),
    Attempted(io::Result<Link>),
    Ended(LinkEnd),
    Peer,
    Time,
    Nobody,
}

impl Task {
    async fn run(mut self, mut asked: mpsc::Receiver<Waiter>, mut offered: mpsc::UnboundedReceiver<Link>) {
        self.learn_peer();
        loop {
            let pause = self.plan(clock::now());
            let heard = tokio::select! {
                waiter = asked.recv() => waiter.map_or(Heard::Nobody, Heard::Asked),
                Some(link) = offered.recv() => Heard::Offered(link),
                Some(outcome) = &mut self.attempt => Heard::Attempted(outcome),
                Some(end) = &mut self.ended => Heard::Ended(end),
                Ok(()) = self.peer.changed() => Heard::Peer,
                () = sleep(pause) => Heard::Time,
            };
            match heard {
                Heard::Nobody => return,
                Heard::Asked(waiter) => self.ask(waiter),
                Heard::Offered(link) => {
                    if self.adopt(link) {
                        // Called, the node came by itself. A better link is looked for later.
                        self.course.abandon();
                        self.attempt = None.into();
                    }
                }
                Heard::Attempted(outcome) => self.attempted(outcome),
                Heard::Ended(end) => self.lose(&end),
                Heard::Peer => self.learn_peer(),
                Heard::Time if self.has_idled() => self.lose(&LinkEnd::Closed),
                Heard::Time => {}
            }
        }
    }

    /// Begins what is due, tells those who wait, and says how long nothing else is due.
    fn plan(&mut self, now: Moment) -> Duration {
        let due = match self.course.next(now) {
            Next::Try(next) => {
                self.course.begin(next);
                self.attempt = Some(self.try_it(next)).into();
                None
            }
            Next::Rest(due) => due,
        };
        self.answer();
        if !self.is_idle() {
            self.idle_since = now;
        }
        let mut pause = due.map_or(FAR, |due| due.since(now));
        let timings = self.context.timings;
        if let Some(expected) = self.expected.filter(|expected| *expected > now && !self.waiting.is_empty()) {
            pause = pause.min(expected.since(now));
        }
        if self.link.borrow().is_some() {
            // Whether it is idle is looked at now and then.
            pause = pause.min(timings.idle.saturating_sub(now.since(self.idle_since)).max(timings.idle / 8));
        }
        pause
    }

    fn ask(&mut self, waiter: Waiter) {
        let closing = self.link.borrow().as_ref().is_some_and(|link| !link.is_up());
        if closing {
            self.lose(&LinkEnd::Closed);
        }
        self.course.is_wanted = true;
        self.waiting.push(waiter);
    }

    fn attempted(&mut self, outcome: io::Result<Link>) {
        self.attempt = None.into();
        match outcome {
            Ok(link) => {
                self.course.abandon();
                self.adopt(link);
            }
            Err(error) => match self.course.failed(clock::now(), jitter) {
                // There is a way already, and no better one.
                _ if self.link.borrow().is_some() => {}
                Some(Attempt::Call) => {
                    let dialled =
                        self.refusal.as_ref().map_or_else(String::new, |refusal| format!("{refusal}; by the controller: "));
                    self.note(Some(format!("{dialled}{error}")));
                }
                Some(Attempt::Dial) => {
                    self.refusal = Some(error.to_string());
                    // Said once there is no other way either.
                    if !self.course.can_call() {
                        self.note(self.refusal.clone());
                    }
                }
                None => {}
            },
        }
    }

    fn learn_peer(&mut self) {
        self.course.has_address = !self.peer.borrow_and_update().addresses.is_empty();
        self.refusal = None;
        self.course.changed();
    }

    /// Tells those who wait, if there is something to tell.
    fn answer(&mut self) {
        let link = self.link.borrow().clone();
        if let Some(link) = link {
            for waiter in self.waiting.drain(..) {
                // Whoever gave up does not need it.
                let _ = waiter.send(Ok(Arc::clone(&link)));
            }
        } else if matches!(self.course.next(clock::now()), Next::Rest(_)) && !self.course.is_trying() && !self.is_patient() {
            let why = self.error.borrow().clone().unwrap_or_else(|| "there is no way to it".to_owned());
            for waiter in self.waiting.drain(..) {
                let message = format!("node {} cannot be reached: {why}", self.name);
                let _ = waiter.send(Err(io::Error::new(io::ErrorKind::HostUnreachable, message)));
            }
        }
    }

    /// Whether the node was there a moment ago, and is expected back.
    fn is_patient(&self) -> bool {
        self.expected.is_some_and(|expected| clock::now() < expected)
    }

    fn is_idle(&self) -> bool {
        self.link.borrow().as_ref().is_some_and(|link| link.streams() == 0 && link.path != Path::Reversed)
    }

    /// Whether the link was of no use for so long that it is closed. One that the other side must dial is kept: it might not be able to
    /// come back while the controller, which calls it, is away.
    fn has_idled(&self) -> bool {
        self.is_idle() && clock::now().since(self.idle_since) >= self.context.timings.idle
    }

    /// Uses a link from now on, unless there is a better one. The one before it ends with its last stream.
    fn adopt(&mut self, link: Link) -> bool {
        if !self.course.linked(link.path, clock::now(), jitter) {
            return false;
        }
        tracing::debug!(peer = %self.name, path = %link.path, "a link is used from now on");
        self.ended = Some(Box::pin(link.ended()) as BoxFuture<'static, LinkEnd>).into();
        self.link.send_replace(Some(Arc::new(link)));
        self.refusal = None;
        self.note(None);
        true
    }

    fn lose(&mut self, end: &LinkEnd) {
        self.ended = None.into();
        self.link.send_replace(None);
        let (now, timings) = (clock::now(), self.context.timings);
        // A node that leaves in order closes its links long before it is gone.
        self.expected = Some(now + if *end == LinkEnd::Closed { timings.leave } else { timings.patience });
        self.course.lost(now);
        tracing::debug!(peer = %self.name, "a link is gone: {end}");
        self.note(None);
    }

    /// What is known to be wrong from now on, if anything is.
    fn note(&mut self, error: Option<String>) {
        if let Some(error) = &error
            && self.error.borrow().is_none()
        {
            tracing::warn!(peer = %self.name, "the node cannot be reached: {error}");
        }
        self.error.send_replace(error);
        self.context.changes.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Makes a link.
    fn try_it(&self, attempt: Attempt) -> BoxFuture<'static, io::Result<Link>> {
        let (context, name, cut) = (Arc::clone(&self.context), self.name.clone(), self.cut.clone());
        let addresses = self.peer.borrow().addresses.clone();
        Box::pin(async move {
            let timings = context.timings;
            let late = |_| io::Error::new(io::ErrorKind::TimedOut, "it does not answer");
            let broken = |end: LinkEnd| io::Error::other(end.to_string());
            match attempt {
                Attempt::Dial => {
                    let stream = dial(&addresses, timings.dial).await?;
                    let greeted = context.security.greet(stream, &name, Opener::Dialling);
                    let stream = timeout(timings.handshake, greeted).await.map_err(late)??;
                    Link::new(stream, Path::Direct, context.limits, timings, cut).await.map_err(broken)
                }
                Attempt::Call => {
                    let relays = context.relays.as_ref().ok_or(io::ErrorKind::Unsupported)?;
                    let unanswered = |_| io::Error::new(io::ErrorKind::TimedOut, "called by the controller, it does not answer");
                    let stream = timeout(timings.call, relays.call(&name)).await.map_err(unanswered)??;
                    let greeted = context.security.greet(stream, &name, Opener::Dialling);
                    let stream = timeout(timings.handshake, greeted).await.map_err(late)??;
                    Link::new(stream, Path::Relayed, context.limits, timings, cut).await.map_err(broken)
                }
            }
        })
    }
}
