//! Handshakes over memory, and files in a folder that goes away.

use super::*;
use crate::model::{JoinRefusal, Moment, NodeName};
use crate::private_file::FileError;
use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector};

const HOUR: Duration = Duration::from_secs(3_600);

/// Handshakes read the clock of this host, so certificates begin there.
fn now() -> Moment {
    crate::clock::wall()
}

struct Cluster {
    folder: tempfile::TempDir,
    authorities: Authorities,
}

impl Cluster {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let authorities = Authorities::load_or_create(folder.path(), "c1", now()).expect("made");
        Self { folder, authorities }
    }

    /// A node that has joined, with a certificate from `begins` on.
    fn node(&self, name: &str, begins: Moment) -> (NodeIdentity, Membership) {
        let membership = Membership::open(&self.folder.path().join(name)).expect("opened");
        let request = Request::read(&membership.request().expect("made")).expect("valid");
        assert_eq!(request.key(), membership.key());
        let issued = self.authorities.issue_node(&NodeName::new(name), &request, NODE_LIFE, begins).expect("issued");
        membership.keep(&issued).expect("kept");
        (membership.identity().expect("readable").expect("joined"), membership)
    }

    fn controller(&self) -> NodeIdentity {
        let (key, issued) = self.authorities.issue_controller(&[], NODE_LIFE, now()).expect("issued");
        NodeIdentity::new(key, &issued).expect("usable")
    }
}

/// Shakes hands; the name and key of the client, or what either side has against it.
async fn shake(client: ClientConfig, server: ServerConfig, name: &str) -> Result<Option<NodeName>, String> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let (near, far) = tokio::io::duplex(64 * 1024);
    let dial = async {
        let name = ServerName::try_from(name.to_owned()).expect("a name");
        let mut stream = TlsConnector::from(Arc::new(client)).connect(name, near).await?;
        // With TLS 1.3 the client hears only afterwards that its certificate is refused.
        stream.read_u8().await.map(|_| ())
    };
    let accept = async {
        let mut stream = TlsAcceptor::from(Arc::new(server)).accept(far).await?;
        let peer = peer_of(stream.get_ref().1).map(|(node, _)| node);
        stream.write_u8(1).await?;
        stream.flush().await?;
        Ok::<_, io::Error>(peer)
    };
    let (dialled, accepted) = tokio::join!(dial, accept);
    match (dialled, accepted) {
        (Ok(()), Ok(peer)) => Ok(peer),
        (dialled, accepted) => Err(format!("{:?} {:?}", dialled.err(), accepted.err())),
    }
}

fn known(nodes: &[(&str, &Membership)]) -> KnownKeys {
    let keys = KnownKeys::default();
    keys.set(nodes.iter().map(|(name, membership)| (NodeName::new(*name), membership.key())).collect());
    keys
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).expect("there").permissions().mode() & 0o777
}

#[test]
fn the_authority_is_made_once_and_only_its_owner_may_read_it() {
    let cluster = Cluster::new();
    let again = Authorities::load_or_create(cluster.folder.path(), "c1", now() + HOUR).expect("read");
    assert_eq!(again.fingerprint(), cluster.authorities.fingerprint());
    let path = cluster.folder.path().join("ca-1.pem");
    assert_eq!(mode(&path), 0o600);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).expect("set");
    assert!(matches!(Authorities::load(cluster.folder.path()), Err(TrustError::File(FileError::Exposed { mode: 0o640, .. }))));
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("set");
    std::fs::write(&path, "nothing").expect("written");
    let refused = Authorities::load_or_create(cluster.folder.path(), "c1", now());
    assert!(matches!(refused, Err(TrustError::Damaged { .. })), "a damaged authority is not replaced");
}

#[tokio::test]
async fn two_nodes_reach_each_other_while_their_keys_are_on_record() {
    let cluster = Cluster::new();
    let ((a, a_files), (b, b_files)) = (cluster.node("a", now()), cluster.node("b", now()));
    let keys = known(&[("a", &a_files), ("b", &b_files)]);
    let name = "b.node.driftless.internal";
    let client = || a.client_config(keys.clone()).expect("usable");
    let server = || b.server_config(keys.clone()).expect("usable");
    assert_eq!(shake(client(), server(), name).await, Ok(Some(NodeName::new("a"))));
    let (held_client, held_server) = (client(), server());
    keys.set(BTreeMap::from([(NodeName::new("b"), b_files.key())]));
    assert!(shake(held_client, held_server, name).await.is_err(), "a is not on record any more");
    keys.set(BTreeMap::from([(NodeName::new("a"), a_files.key()), (NodeName::new("b"), a_files.key())]));
    assert!(shake(client(), server(), name).await.is_err(), "b has another key than the one on record");
}

#[tokio::test]
async fn a_certificate_opens_no_other_name_and_no_other_cluster() {
    let (ours, theirs) = (Cluster::new(), Cluster::new());
    let controller = ours.controller();
    let server = || server_config(&controller).expect("usable");
    let (node, _) = ours.node("a", now());
    let dial = |identity: &NodeIdentity| controller_config(identity, true).expect("usable");
    assert_eq!(shake(dial(&node), server(), CONTROLLER_NAME).await, Ok(Some(NodeName::new("a"))));
    let (stranger, _) = theirs.node("a", now());
    assert!(shake(dial(&stranger), server(), CONTROLLER_NAME).await.is_err(), "the controller of another cluster");
    // A node that poses as the controller has a certificate of the right authority, and the wrong name.
    let posing = node.server_config(KnownKeys::default()).expect("usable");
    let refused = shake(dial(&node), posing, CONTROLLER_NAME).await.expect_err("refused");
    assert!(refused.contains("NotValidForName"), "{refused}");
}

#[tokio::test]
async fn a_certificate_that_has_ended_is_refused() {
    let cluster = Cluster::new();
    let (node, _) = cluster.node("a", now() - NODE_LIFE - HOUR);
    let (client, server) = (controller_config(&node, true), server_config(&cluster.controller()));
    let refused = shake(client.expect("usable"), server.expect("usable"), CONTROLLER_NAME).await.expect_err("refused");
    assert!(refused.contains("Expired"), "{refused}");
}

#[tokio::test]
async fn nothing_older_than_tls_1_3_is_spoken() {
    let cluster = Cluster::new();
    let mut roots = tokio_rustls::rustls::RootCertStore::empty();
    roots.add(cluster.authorities.roots(NODE_LIFE, now())[0].clone()).expect("added");
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&tokio_rustls::rustls::version::TLS12])
        .expect("known to the library");
    let old = builder.with_root_certificates(roots).with_no_client_auth();
    let refused = shake(old, server_config(&cluster.controller()).expect("usable"), CONTROLLER_NAME).await.expect_err("refused");
    assert!(refused.contains("ProtocolVersion"), "{refused}");
}

#[tokio::test]
async fn a_token_leads_to_its_own_controller_and_no_other() {
    let (ours, theirs) = (Cluster::new(), Cluster::new());
    let dial = || pinned_config(ours.authorities.fingerprint()).expect("usable");
    let server = |cluster: &Cluster| server_config(&cluster.controller()).expect("usable");
    assert_eq!(shake(dial(), server(&ours), CONTROLLER_NAME).await, Ok(None));
    let refused = shake(dial(), server(&theirs), CONTROLLER_NAME).await.expect_err("refused");
    assert!(refused.contains("WrongAuthority"), "{refused}");
}

#[tokio::test]
async fn an_authority_is_exchanged_without_anybody_being_locked_out() {
    let mut cluster = Cluster::new();
    let token = cluster.authorities.fingerprint();
    let (old, _) = cluster.node("old", now());
    cluster.authorities = Authorities::rotate(cluster.folder.path(), "c1", NODE_LIFE, now()).expect("rotated");
    let again = Authorities::rotate(cluster.folder.path(), "c1", NODE_LIFE, now() + HOUR);
    assert!(matches!(again, Err(TrustError::Rotating)));
    assert_ne!(cluster.authorities.fingerprint(), token);
    let server = || server_config(&cluster.controller()).expect("usable");
    let dial = |identity: &NodeIdentity| controller_config(identity, true).expect("usable");
    assert!(shake(dial(&old), server(), CONTROLLER_NAME).await.is_ok(), "who knows only the old one finds the new one");
    assert!(shake(pinned_config(token).expect("usable"), server(), CONTROLLER_NAME).await.is_ok(), "a token of before");
    let (new, new_files) = cluster.node("new", now());
    assert!(shake(dial(&new), server(), CONTROLLER_NAME).await.is_ok());
    let towards_old = old.server_config(known(&[("new", &new_files)])).expect("usable");
    let from_new = new.client_config(known(&[("old", &cluster.node("old", now()).1)])).expect("usable");
    assert!(shake(from_new, towards_old, "old.node.driftless.internal").await.is_ok(), "nodes on both sides of it");
    assert_eq!(cluster.authorities.roots(NODE_LIFE, now() + NODE_LIFE).len(), 2);
    assert_eq!(cluster.authorities.roots(NODE_LIFE, now() + NODE_LIFE + HOUR).len(), 1, "the old one is forgotten");
}

#[tokio::test]
async fn a_renewed_certificate_is_shown_and_a_foreign_one_is_not_taken() {
    let cluster = Cluster::new();
    let (node, files) = cluster.node("a", now() - NODE_LIFE / 2);
    let before = node.certificate().expect("one");
    let request = Request::read(&files.request().expect("made")).expect("valid");
    let renewed = cluster.authorities.issue_node(&NodeName::new("a"), &request, NODE_LIFE, now()).expect("issued");
    node.replace(&renewed).expect("usable");
    let after = node.certificate().expect("one");
    assert_eq!((before.key, before.node), (after.key.clone(), after.node.clone()));
    assert!(after.ends > before.ends);
    for (chance, share) in [(0.0, 0.5), (1.0, 0.95)] {
        let issued = after.begins + certificate::CLOCK_MARGIN;
        let at = after.renewal(chance).since(issued).as_secs_f64() / after.ends.since(issued).as_secs_f64();
        assert!((at - share).abs() < 0.001, "{at}");
    }
    let (_, other) = cluster.node("b", now());
    let foreign = Request::read(&other.request().expect("made")).expect("valid");
    let foreign = cluster.authorities.issue_node(&NodeName::new("a"), &foreign, NODE_LIFE, now()).expect("issued");
    assert!(node.replace(&foreign).is_err(), "it is for another key");
    assert_eq!(node.certificate(), Some(after));
}

#[test]
fn a_request_that_its_key_did_not_sign_is_refused() {
    let cluster = Cluster::new();
    let (_, files) = cluster.node("a", now());
    let mut request = files.request().expect("made");
    *request.last_mut().expect("not empty") ^= 1;
    assert!(matches!(Request::read(&request), Err(TrustError::Request)));
}

fn new_token() -> NewToken {
    NewToken { ttl: HOUR, uses: 1, labels: BTreeMap::from([("tier".to_owned(), "web".to_owned())]), node: None }
}

#[test]
fn a_token_says_what_it_is_and_keeps_its_secret() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = TokenStore::new(folder.path().join("tokens"));
    let token = store.create(new_token(), [7; 32], Moment(0)).expect("made");
    let text = token.expose();
    assert_eq!(text.parse::<Token>().expect("read"), token);
    for bad in ["", "driftless1", "driftless1.ab.cd", &text[1..], &format!("{}.x", text.as_str())] {
        assert!(bad.parse::<Token>().is_err(), "{bad}");
    }
    let secret = text.split('.').nth(2).expect("a secret");
    assert!(!format!("{token:?}").contains(secret));
    let path = folder.path().join("tokens").join(format!("{}.json", token.secret.id));
    assert_eq!((mode(&path), mode(&folder.path().join("tokens"))), (0o600, 0o700));
    let kept = std::fs::read_to_string(path).expect("there");
    assert!(!kept.contains(secret) && !kept.contains(&hex(token.secret.expose())), "{kept}");
}

#[test]
fn a_token_is_used_once_also_over_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let (store, node) = (TokenStore::new(folder.path()), NodeName::new("n1"));
    let token = store.create(new_token(), [7; 32], Moment(0)).expect("made").secret;
    assert_eq!(store.redeem(&token, &node, Moment(1)), Ok(new_token().labels));
    let restarted = TokenStore::new(folder.path());
    assert_eq!(restarted.redeem(&token, &node, Moment(2)), Err(JoinRefusal::TokenUsedUp));
}

#[test]
fn a_token_that_is_not_valid_is_refused_with_the_reason() {
    let folder = tempfile::tempdir().expect("a folder");
    let (store, node) = (TokenStore::new(folder.path()), NodeName::new("n1"));
    let create = |new| store.create(new, [7; 32], Moment(0)).expect("made").secret;
    let late = Moment(0) + HOUR + Duration::from_secs(60);
    assert_eq!(store.redeem(&create(new_token()), &node, late), Err(JoinRefusal::TokenExpired(Duration::from_secs(60))));
    let other = create(NewToken { node: Some(NodeName::new("n2")), ..new_token() });
    assert_eq!(store.redeem(&other, &node, Moment(1)), Err(JoinRefusal::TokenForOther(NodeName::new("n2"))));
    let revoked = create(new_token());
    assert_eq!(store.revoke(&revoked.id).ok(), Some(true));
    assert_eq!(store.revoke(&revoked.id).ok(), Some(false));
    assert_eq!(store.redeem(&revoked, &node, Moment(1)), Err(JoinRefusal::TokenUnknown));
    let known = create(new_token());
    let guessed = TokenSecret::new(known.id, vec![0; 32]);
    assert_eq!(store.redeem(&guessed, &node, Moment(1)), Err(JoinRefusal::TokenUnknown), "the id alone opens nothing");
    let outside = TokenSecret::new("../ca-1".to_owned(), vec![0; 32]);
    assert_eq!(store.redeem(&outside, &node, Moment(1)), Err(JoinRefusal::TokenUnknown));
}
