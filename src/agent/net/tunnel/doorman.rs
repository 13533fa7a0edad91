//! Takes the streams that other nodes open, and leads them to this node's pods.

use super::admission::Admission;
use super::count::{Count, Counted};
use super::driver::{Asked, Driver, Half, LinkEnd};
use super::heard::Heard;
use super::link::{FRAME_BYTES, RESETS, SEND_BYTES};
use super::refusal::Refusal;
use super::request::{answer, target};
use super::stream::TunnelStream;
use super::window::{LINK_WINDOW, STREAM_WINDOW_MAX};
use super::{Limits, Timings, deliver};
use crate::agent::net::reach::Target;
use crate::clock;
use crate::model::{EndpointSet, NodeName, PodUid};
use h2::server::Builder;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// Streams that a peer opened and gave up before they were looked at; so many are no attack but a busy proxy.
const GIVEN_UP_MAX: usize = 4096;

/// How often it is looked whether all have gone.
const LOOK: Duration = Duration::from_millis(20);

/// Who stands at the door of a node.
#[derive(Debug)]
pub(super) struct Doorman {
    node: NodeName,
    limits: Limits,
    timings: Timings,
    state: Mutex<State>,
    leaving: CancellationToken,
    /// Connections that are served.
    served: Count,
}

#[derive(Debug)]
struct State {
    admission: Admission,
    /// Streams of each pod.
    pods: BTreeMap<PodUid, Count>,
}

impl Doorman {
    pub(super) fn new(node: NodeName, limits: Limits, timings: Timings) -> Self {
        let state = State { admission: Admission::new(node.clone()), pods: BTreeMap::new() };
        let (leaving, served) = (CancellationToken::new(), Count::default());
        Self { node, limits, timings, state: Mutex::new(state), leaving, served }
    }

    /// Brings a set of endpoints into force.
    pub(super) fn apply(&self, set: &EndpointSet) {
        self.lock().admission.apply(set, clock::now());
    }

    /// Takes no more streams, and waits until those that are open have ended.
    pub(super) async fn leave(&self) {
        self.leaving.cancel();
        while self.served.now() > 0 {
            sleep(LOOK).await;
        }
    }

    /// Takes streams over a connection until it ends, or until `cut`.
    pub(super) async fn serve<T>(self: Arc<Self>, connection: T, peer: &NodeName, cut: &CancellationToken) -> LinkEnd
    where
        T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        tokio::select! {
            end = self.take_all(connection, peer) => end,
            () = cut.cancelled() => LinkEnd::CutOff,
        }
    }

    async fn take_all<T>(self: &Arc<Self>, connection: T, peer: &NodeName) -> LinkEnd
    where
        T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let Some(_counted) = self.served.add(usize::MAX) else { return LinkEnd::Closed };
        let (connection, traffic) = Heard::new(connection);
        let streams_max = u32::try_from(self.limits.link_streams_max).unwrap_or(u32::MAX);
        let connection = Builder::new()
            .initial_window_size(STREAM_WINDOW_MAX)
            .initial_connection_window_size(LINK_WINDOW)
            .max_frame_size(FRAME_BYTES)
            .max_send_buffer_size(SEND_BYTES)
            .max_concurrent_streams(streams_max)
            .max_concurrent_reset_streams(RESETS.0)
            .reset_stream_duration(RESETS.1)
            .max_local_error_reset_streams(None)
            .max_pending_accept_reset_streams(GIVEN_UP_MAX)
            .handshake(connection)
            .await;
        let connection = match connection {
            Ok(connection) => connection,
            Err(error) => return LinkEnd::Broken(error.to_string()),
        };
        // This side opens none.
        let (_opened, registered) = mpsc::unbounded_channel();
        let mut driver = Driver::new(Half::Accepting(connection), traffic, registered, None, self.timings);
        loop {
            tokio::select! {
                asked = driver.next() => match asked {
                    Ok(asked) => self.take(asked, peer),
                    Err(end) => return end,
                },
                () = self.leaving.cancelled(), if !driver.is_leaving() => driver.leave(),
            }
        }
    }

    /// Takes one stream, or says why not.
    fn take(self: &Arc<Self>, mut asked: Asked, peer: &NodeName) {
        match self.admit(&asked) {
            Ok((target, address, permit)) => {
                tracing::debug!(%peer, "a stream to {target}");
                tokio::spawn(lead(asked, target, address, permit, self.timings));
            }
            Err(refusal) => {
                tracing::debug!(%peer, path = asked.request.uri().path(), "a stream was refused: {refusal}");
                // A peer that gave up hears nothing.
                let _ = asked.respond.send_response(answer(Err(refusal)), true);
            }
        }
    }

    fn admit(&self, asked: &Asked) -> Result<(Target, SocketAddr, Counted), Refusal> {
        let target = target(&asked.request, &self.node)?;
        let mut state = self.lock();
        let address = state.admission.admit(&target, clock::now())?;
        state.pods.retain(|pod, count| *pod == target.pod || count.now() > 0);
        let count = state.pods.entry(target.pod).or_default();
        let permit = count.add(self.limits.pod_streams_max).ok_or(Refusal::PodFull)?;
        Ok((target, address, permit))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every state in between is whole enough to go on from.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Connects to the pod, answers, and carries.
async fn lead(asked: Asked, target: Target, address: SocketAddr, permit: Counted, timings: Timings) {
    let Asked { inbox, flow, mut respond, .. } = asked;
    let pod = match deliver::connect(target.protocol, address, timings.connect).await {
        Ok(pod) => pod,
        Err(error) => {
            tracing::debug!("{target} does not take a connection: {error}");
            let _ = respond.send_response(answer(Err(Refusal::Unreachable)), true);
            return;
        }
    };
    // A peer that gave up needs no answer, and the pod sees the connection break off.
    let Ok(send) = respond.send_response(answer(Ok(())), false) else { return };
    deliver::carry(TunnelStream::new(send, inbox, flow, permit), pod, timings.udp_idle).await;
}
