//! The controller's side: pairs calls and answers, and carries.

use super::super::proto::relay_server::{Relay, RelayServer};
use super::super::proto::{self, relay_piece::Piece};
use super::super::server::{Doorkeeper, Links};
use super::super::{ToAgent, io::Caller};
use super::bucket::Bucket;
use super::{ANSWER, BYTES_PER_SECOND, FIRST_WORD, NODE_PAIRS_MAX, PAIRS_MAX, PIECE};
use crate::clock;
use crate::model::NodeName;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{sleep, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

/// Pieces of one direction that are ready for the network.
const SENDING_MAX: usize = 4;

/// Where nodes meet. Clones share it.
#[derive(Debug, Clone)]
pub(in super::super) struct RelayDesk {
    doorkeeper: Doorkeeper,
    links: Arc<Links>,
    calls: Arc<Mutex<Calls>>,
}

#[derive(Debug, Default)]
struct Calls {
    last: u64,
    waiting: BTreeMap<u64, Waiting>,
    /// Calls and pairs of each node that is in any.
    busy: BTreeMap<NodeName, usize>,
    pairs: usize,
}

#[derive(Debug)]
struct Waiting {
    called: NodeName,
    answer: oneshot::Sender<Leg>,
}

/// What one node says and hears.
#[derive(Debug)]
struct Leg {
    caller: Caller,
    inbound: Streaming<proto::RelayPiece>,
    outbound: mpsc::Sender<Result<proto::RelayPiece, Status>>,
}

/// A call, until it is over in whatever way.
struct Call {
    id: u64,
    nodes: [NodeName; 2],
    calls: Arc<Mutex<Calls>>,
}

fn lock(calls: &Mutex<Calls>) -> MutexGuard<'_, Calls> {
    // Nothing in here panics half way through a change.
    calls.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Call {
    fn drop(&mut self) {
        let mut calls = lock(&self.calls);
        calls.waiting.remove(&self.id);
        calls.pairs = calls.pairs.saturating_sub(1);
        for node in &self.nodes {
            if let Some(count) = calls.busy.get_mut(node) {
                *count -= 1;
                if *count == 0 {
                    calls.busy.remove(node);
                }
            }
        }
    }
}

impl Calls {
    /// Notes a call; its number.
    fn open(&mut self, nodes: &[NodeName; 2], answer: oneshot::Sender<Leg>) -> Result<u64, Status> {
        if self.pairs >= PAIRS_MAX {
            return Err(Status::resource_exhausted(format!("the controller relays for {PAIRS_MAX} pairs of nodes already")));
        }
        if let Some(node) = nodes.iter().find(|node| self.busy.get(node).is_some_and(|count| *count >= NODE_PAIRS_MAX)) {
            let message = format!("the controller relays between node {node} and {NODE_PAIRS_MAX} others already");
            return Err(Status::resource_exhausted(message));
        }
        self.last += 1;
        self.pairs += 1;
        for node in nodes {
            *self.busy.entry(node.clone()).or_default() += 1;
        }
        self.waiting.insert(self.last, Waiting { called: nodes[1].clone(), answer });
        Ok(self.last)
    }

    /// Where the answer of `node` to a call goes.
    fn answer(&mut self, id: u64, node: &NodeName) -> Option<oneshot::Sender<Leg>> {
        // A number that another node was called with is none of this one's business.
        self.waiting.get(&id).filter(|waiting| waiting.called == *node)?;
        self.waiting.remove(&id).map(|waiting| waiting.answer)
    }
}

impl RelayDesk {
    pub(in super::super) fn service(doorkeeper: Doorkeeper, links: Arc<Links>) -> RelayServer<Self> {
        let desk = Self { doorkeeper, links, calls: Arc::default() };
        RelayServer::new(desk).max_decoding_message_size(2 * PIECE).max_encoding_message_size(2 * PIECE)
    }

    fn call(&self, caller: NodeName, called: NodeName, leg: Leg) -> Result<(), Status> {
        let link = self.links.newest(&called).filter(|_| called != caller);
        let link = link.ok_or_else(|| Status::unavailable(format!("the controller does not hear node {called} either")))?;
        let (answer, answered) = oneshot::channel();
        let nodes = [caller.clone(), called.clone()];
        let id = lock(&self.calls).open(&nodes, answer)?;
        let call = Call { id, nodes, calls: Arc::clone(&self.calls) };
        link.send(ToAgent::Called { by: caller, call: id });
        let doorkeeper = self.doorkeeper.clone();
        tokio::spawn(async move {
            let answered = tokio::select! {
                answered = timeout(ANSWER, answered) => answered,
                // The caller has hung up.
                () = leg.outbound.closed() => return,
            };
            match answered {
                Ok(Ok(other)) => {
                    tracing::debug!(caller = %call.nodes[0], called = %call.nodes[1], "two nodes meet at the relay");
                    let (one, two) = (leg.caller.clone(), other.caller.clone());
                    tokio::select! {
                        () = carry(leg, other) => {}
                        _ = doorkeeper.dismissed(&one) => {}
                        _ = doorkeeper.dismissed(&two) => {}
                    }
                }
                Ok(Err(_)) | Err(_) => {
                    let word =
                        Status::unavailable(format!("node {} was called by the controller and did not answer", call.nodes[1]));
                    let _ = leg.outbound.try_send(Err(word));
                }
            }
        });
        Ok(())
    }
}

#[tonic::async_trait]
impl Relay for RelayDesk {
    type MeetStream = ReceiverStream<Result<proto::RelayPiece, Status>>;

    async fn meet(&self, request: Request<Streaming<proto::RelayPiece>>) -> Result<Response<Self::MeetStream>, Status> {
        let caller = request.extensions().get::<Caller>().cloned().unwrap_or(Caller::Stranger);
        self.doorkeeper.check(&caller).await?;
        let Caller::Node { node, .. } = caller.clone() else {
            return Err(Status::permission_denied("only nodes with a certificate meet at the relay"));
        };
        let mut inbound = request.into_inner();
        let silent = |_| Status::deadline_exceeded("neither a call nor an answer came");
        let first = timeout(FIRST_WORD, inbound.message()).await.map_err(silent)??;
        let (outbound, receiver) = mpsc::channel(SENDING_MAX);
        let leg = Leg { caller, inbound, outbound };
        match first.and_then(|first| first.piece) {
            Some(Piece::Call(called)) => self.call(node, NodeName::new(called), leg)?,
            Some(Piece::Answer(id)) => {
                let answer = lock(&self.calls).answer(id, &node);
                let answer = answer.ok_or_else(|| Status::not_found("nobody waits for an answer to this call"))?;
                answer.send(leg).map_err(|_| Status::cancelled("the caller has hung up"))?;
            }
            Some(Piece::Met(_) | Piece::Data(_)) | None => {
                return Err(Status::invalid_argument("the first message must be a call or an answer"));
            }
        }
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}

/// Carries between two nodes until both have ended.
async fn carry(caller: Leg, called: Leg) {
    let met = || Ok(proto::RelayPiece { piece: Some(Piece::Met(true)) });
    if caller.outbound.send(met()).await.is_err() || called.outbound.send(met()).await.is_err() {
        return;
    }
    let bucket = Mutex::new(Bucket::new(BYTES_PER_SECOND, clock::now()));
    let there = pass(caller.inbound, called.outbound, &bucket);
    let back = pass(called.inbound, caller.outbound, &bucket);
    tokio::join!(there, back);
}

/// Carries one direction until it ends, and hands on its end.
async fn pass(
    mut from: Streaming<proto::RelayPiece>,
    to: mpsc::Sender<Result<proto::RelayPiece, Status>>,
    bucket: &Mutex<Bucket>,
) {
    loop {
        let piece = tokio::select! {
            piece = from.message() => piece,
            () = to.closed() => return,
        };
        let Ok(Some(proto::RelayPiece { piece: Some(Piece::Data(data)) })) = piece else { return };
        let pause = bucket.lock().unwrap_or_else(PoisonError::into_inner).take(data.len(), clock::now());
        if !pause.is_zero() {
            sleep(pause).await;
        }
        if to.send(Ok(proto::RelayPiece { piece: Some(Piece::Data(data)) })).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(caller: &str, called: &str) -> [NodeName; 2] {
        [NodeName::new(caller), NodeName::new(called)]
    }

    #[test]
    fn only_the_node_that_was_called_can_answer_and_only_once() {
        let mut calls = Calls::default();
        let id = calls.open(&nodes("n1", "n2"), oneshot::channel().0).expect("room");
        assert!(calls.answer(id, &NodeName::new("n3")).is_none());
        assert!(calls.answer(id, &NodeName::new("n1")).is_none());
        assert!(calls.answer(id, &NodeName::new("n2")).is_some());
        assert!(calls.answer(id, &NodeName::new("n2")).is_none());
    }

    #[test]
    fn a_node_and_the_relay_have_so_many_pairs_and_more_when_some_have_ended() {
        let calls = Arc::new(Mutex::new(Calls::default()));
        let open = |caller: &str, called: &str| {
            let nodes = nodes(caller, called);
            let id = lock(&calls).open(&nodes, oneshot::channel().0)?;
            Ok::<_, Status>(Call { id, nodes, calls: Arc::clone(&calls) })
        };
        let mut busy: Vec<Call> = (0..NODE_PAIRS_MAX).map(|other| open("n1", &format!("m{other}")).expect("room")).collect();
        for (caller, called) in [("n1", "n2"), ("n2", "n1")] {
            let refused = open(caller, called).err().expect("no room");
            assert!(refused.message().contains("between node n1 and 32 others"), "{refused}");
        }
        busy.extend((NODE_PAIRS_MAX..PAIRS_MAX).map(|other| open(&format!("a{other}"), &format!("b{other}")).expect("room")));
        assert!(open("x", "y").err().expect("no room").message().contains("256 pairs"));
        drop(busy);
        assert!(open("n1", "n2").is_ok());
        assert!(lock(&calls).busy.is_empty() && lock(&calls).waiting.is_empty());
    }
}
