//! What happens to our containers: the Engine's event stream, taken up again when it breaks.

use super::Shared;
use super::engine::Session;
use super::inspect;
use crate::agent::runtime::{ContainerId, RuntimeEvent};
use crate::clock;
use crate::model::Moment;
use bollard::models::EventMessage;
use bollard::query_parameters::EventsOptions;
use futures_util::{Stream, StreamExt};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

/// What has happened to a container, as Docker calls it, and as Podman.
const ENDED: [&str; 2] = ["die", "died"];
const GONE: [&str; 2] = ["destroy", "remove"];

/// Pause before the Engine is tried again: doubled from the first to the last.
const PAUSE_FIRST: Duration = Duration::from_millis(250);
const PAUSE_LAST: Duration = Duration::from_secs(10);

/// Events that wait to be read.
const QUEUE: usize = 256;

/// Events from now on. After a gap the stream says [`RuntimeEvent::Resync`]; it ends when nobody reads it.
pub(super) fn watch(shared: Arc<Shared>) -> impl Stream<Item = RuntimeEvent> + Send + 'static {
    let (events, received) = mpsc::channel(QUEUE);
    // The Engine replays what has happened since, so that nothing is lost between this call and the subscription.
    let since = clock::now();
    tokio::spawn(async move {
        // Its end is the reader's: there is nobody left to tell.
        let _ = run(&shared, &events, since).await;
    });
    ReceiverStream::new(received)
}

/// The reader has gone.
struct Unread;

async fn run(shared: &Arc<Shared>, events: &mpsc::Sender<RuntimeEvent>, mut since: Moment) -> Result<(), Unread> {
    let mut pause = PAUSE_FIRST;
    let mut gap = false;
    loop {
        if let Ok(session) = shared.engine.session().await {
            if gap {
                since = clock::now();
                events.send(RuntimeEvent::Resync).await.map_err(|_| Unread)?;
            }
            if subscribe(shared, &session, events, since).await? {
                pause = PAUSE_FIRST;
            }
            // The stream ends when the Engine does; the session may not know yet.
            shared.engine.forget();
        }
        gap = true;
        tokio::select! {
            () = events.closed() => return Err(Unread),
            () = tokio::time::sleep(pause) => pause = (pause * 2).min(PAUSE_LAST),
        }
    }
}

/// Follows one subscription to its end. True if anything came of it.
async fn subscribe(
    shared: &Arc<Shared>,
    session: &Session,
    events: &mpsc::Sender<RuntimeEvent>,
    since: Moment,
) -> Result<bool, Unread> {
    let own: Vec<String> = shared.own_labels().into();
    let event: Vec<String> = [ENDED, GONE].concat().into_iter().map(str::to_owned).collect();
    let filters = [("type", vec!["container".to_owned()]), ("event", event), ("label", own)];
    let options = EventsOptions {
        since: Some(format!("{}.{:03}000000", since.0 / 1000, since.0 % 1000)),
        until: None,
        filters: Some(filters.into_iter().map(|(key, values)| (key.to_owned(), values)).collect()),
    };
    let mut stream = std::pin::pin!(session.client.events(Some(options)));
    let mut any = false;
    loop {
        let message = tokio::select! {
            () = events.closed() => return Err(Unread),
            message = stream.next() => message,
        };
        match message {
            Some(Ok(message)) => {
                any = true;
                if let Some(event) = understand(shared, &message).await {
                    events.send(event).await.map_err(|_| Unread)?;
                }
            }
            Some(Err(error)) => {
                tracing::debug!("the Engine's events broke off: {error}");
                return Ok(any);
            }
            None => return Ok(any),
        }
    }
}

async fn understand(shared: &Shared, message: &EventMessage) -> Option<RuntimeEvent> {
    let actor = message.actor.as_ref()?;
    let id = actor.id.clone()?;
    match message.action.as_deref()? {
        action if ENDED.contains(&action) => {
            let code = actor.attributes.as_ref().and_then(|attributes| attributes.get("exitCode")?.parse().ok());
            // Only an inspection knows of a lack of memory. One that runs again, or is gone, leaves what the event says.
            let exit = shared.exit_of(&id).await.unwrap_or_else(|| inspect::exit(code.unwrap_or(-1), false));
            Some(RuntimeEvent::Exited { id: ContainerId(id), exit })
        }
        action if GONE.contains(&action) && !shared.has_removed(&id) => Some(RuntimeEvent::Removed { id: ContainerId(id) }),
        _ => None,
    }
}
