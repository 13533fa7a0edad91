//! The shell with a real repository, and an agent that is a bare end of the wire.

use super::{Admission, Links, ShellSettings, run};
use crate::model::*;
use crate::sync::RepoSpec;
use crate::trust::{Authorities, Membership, NewToken, Token, TokenStore};
use crate::wire::{Applicant, Connector, FromAgent, Gate, GateSettings, Incoming, ToAgent, client, local};
use git2::{Repository, Signature};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// Far beyond what anything here takes.
const DEADLINE: Duration = Duration::from_secs(30);

/// Commits one file on `main` of the bare repository at `path`.
fn commit(path: &Path, file: &str, text: &str) -> Revision {
    let repo = Repository::open(path).or_else(|_| Repository::init_bare(path)).expect("a repository");
    repo.set_head("refs/heads/main").expect("HEAD");
    let parent = repo.refname_to_id("refs/heads/main").ok().map(|id| repo.find_commit(id).expect("a commit"));
    let mut builder = git2::build::TreeUpdateBuilder::new();
    builder.upsert(file, repo.blob(text.as_bytes()).expect("a blob"), git2::FileMode::Blob);
    let empty = repo.find_tree(repo.treebuilder(None).expect("a builder").write().expect("a tree")).expect("a tree");
    let base = parent.as_ref().map_or(empty, |parent| parent.tree().expect("a tree"));
    let tree = repo.find_tree(builder.create_updated(&repo, &base).expect("a tree")).expect("a tree");
    let who = Signature::now("Ada", "ada@example.org").expect("a signature");
    let parents: Vec<_> = parent.iter().collect();
    let id = repo.commit(Some("refs/heads/main"), &who, &who, "change", &tree, &parents).expect("a commit");
    Revision::new(id.to_string())
}

const NAMESPACE: &str = "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: shop\n";

struct Shell {
    connector: Connector,
    views: watch::Receiver<Arc<View>>,
    shutdown: CancellationToken,
    task: JoinHandle<Result<(), super::ShellError>>,
}

impl Shell {
    fn start(folder: &Path, repo: &Path) -> Self {
        let (connector, incoming) = local();
        Self { connector, ..Self::start_with(folder, repo, None, incoming) }
    }

    fn start_with(folder: &Path, repo: &Path, admission: Option<Admission>, incoming: Incoming) -> Self {
        let settings = ShellSettings {
            repo: RepoSpec { url: repo.display().to_string(), ..RepoSpec::default() },
            cluster: "default".into(),
            identity_dir: folder.join("identity"),
            mirror_dir: folder.join("mirror"),
            poll_interval: Duration::from_millis(200),
            audit_remote: None,
            render: crate::sync::RenderSettings::default(),
            network: None,
            admission,
        };
        let connector = local().0;
        let (sender, views) = watch::channel(Arc::default());
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(run(settings, incoming, Arc::new(Links::new()), sender, shutdown.clone()));
        Self { connector, views, shutdown, task }
    }

    async fn sees(&mut self, what: &str, check: impl FnMut(&Arc<View>) -> bool) -> Arc<View> {
        let seen = timeout(DEADLINE, self.views.wait_for(check)).await.map(|view| view.map(|view| Arc::clone(&view)));
        match seen {
            Ok(Ok(view)) => view,
            Ok(Err(_)) => panic!("the shell ended before it was seen: {what}"),
            Err(_) => panic!("not seen: {what}; the last view: {:?}", self.views.borrow()),
        }
    }

    async fn stop(self) {
        self.shutdown.cancel();
        timeout(DEADLINE, self.task).await.expect("ends in time").expect("no panic").expect("no error");
    }
}

fn hello(epoch: Epoch) -> Hello {
    let amounts = Amounts { cpu_milli: 2_000, memory_bytes: 1 << 30 };
    Hello {
        facts: NodeFacts {
            name: NodeName::new("n1"),
            labels: BTreeMap::new(),
            capacity: amounts,
            allocatable: amounts,
            runtimes: BTreeSet::from([RuntimeKind::Process]),
            leases: BTreeSet::new(),
            allows: Allows::default(),
            os: "linux".into(),
            arch: "amd64".into(),
            kernel: "6.1".into(),
            engine: None,
            agent_version: "0.1.0".into(),
            address: "127.0.0.1".into(),
            tunnel: Vec::new(),
            ingress: false,
        },
        assignment: (epoch, Generation(1)),
        pods: Vec::new(),
        templates: BTreeMap::new(),
        endpoints: BTreeMap::new(),
        volumes: BTreeSet::new(),
        network: NetworkEcho::default(),
        ingress: 0,
    }
}

/// An agent that has served `epoch`; what it is told, and the end that keeps it.
fn agent(shell: &Shell, epoch: Epoch) -> (mpsc::Receiver<ToAgent>, mpsc::Sender<FromAgent>) {
    let (outgoing, from_agent) = mpsc::channel(16);
    let (to_agent, incoming) = mpsc::channel(16);
    tokio::spawn(client::run(shell.connector.clone(), move || hello(epoch), from_agent, to_agent, shell.shutdown.clone()));
    (incoming, outgoing)
}

/// The epoch of the first word.
async fn welcomed(told: &mut mpsc::Receiver<ToAgent>) -> Epoch {
    match timeout(DEADLINE, told.recv()).await {
        Ok(Some(ToAgent::Welcome { epoch, .. })) => epoch,
        other => panic!("no welcome: {other:?}"),
    }
}

#[tokio::test]
async fn every_start_is_a_reign_of_its_own_on_the_audit_branch() {
    let folder = tempfile::tempdir().expect("a folder");
    let repo = folder.path().join("shop.git");
    commit(&repo, "shop/ns.yaml", NAMESPACE);
    for reign in 1..=2 {
        let shell = Shell::start(&folder.path().join("state"), &repo);
        let (mut told, _outgoing) = agent(&shell, Epoch(0));
        assert_eq!(welcomed(&mut told).await, Epoch(reign));
        shell.stop().await;
    }
    let audit = Repository::open(&repo).expect("opens").refname_to_id("refs/heads/driftless/audit");
    assert!(audit.is_ok(), "the claim was pushed");
}

/// How hosts join at a port of this one, and the way there.
async fn admission(folder: &Path) -> (Admission, Incoming, String) {
    let cluster_id = crate::sync::Identity::load_or_create(&folder.join("identity")).expect("made").cluster_id().to_owned();
    let life = crate::trust::NODE_LIFE;
    let settings = GateSettings { identity_dir: folder.join("identity"), cluster_id, advertised: Vec::new(), life };
    let gate = Gate::open(settings).expect("an authority");
    let listener = crate::wire::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound").to_string();
    let incoming = gate.listen(listener).expect("usable");
    (Admission { gate, tokens: TokenStore::new(folder.join("tokens")) }, incoming, address)
}

#[tokio::test]
async fn a_captured_token_is_of_no_use_and_who_has_joined_is_known_without_the_disk() {
    let folder = tempfile::tempdir().expect("a folder");
    let (repo, state) = (folder.path().join("shop.git"), folder.path().join("state"));
    commit(&repo, "shop/ns.yaml", NAMESPACE);
    std::fs::create_dir_all(&state).expect("made");
    let (first, incoming, address) = admission(&state).await;
    let new = NewToken { ttl: Duration::from_secs(600), uses: 1, labels: BTreeMap::new(), node: None };
    let authority = Authorities::load(&state.join("identity")).expect("readable").expect("made").fingerprint();
    let token = first.tokens.create(new, authority, crate::clock::wall()).expect("made");
    let applicant = |node: &str, address: &str, token: Option<&Token>| Applicant {
        node: NodeName::new(node),
        membership: Membership::open(&folder.path().join(node)).expect("a key"),
        addresses: vec![address.to_owned()],
        token: token.cloned(),
    };
    let shell = Shell::start_with(&state, &repo, Some(first), incoming);
    let joined = async {
        // Until the reign has begun, nobody is let in.
        while let Err(error) = applicant("n1", &address, Some(&token)).join(None).await {
            assert!(error.may_pass(), "{error}");
        }
    };
    timeout(DEADLINE, joined).await.expect("let in");
    let refused = applicant("n2", &address, Some(&token)).join(None).await.expect_err("refused");
    assert!(refused.to_string().contains("used up"), "{refused}");
    shell.stop().await;

    std::fs::remove_dir_all(state.join("mirror")).expect("wiped");
    let (second, incoming, address) = admission(&state).await;
    let shell = Shell::start_with(&state, &repo, Some(second), incoming);
    let identity = applicant("n1", &address, None).membership.identity().expect("readable").expect("joined");
    let known = async {
        while let Err(error) = applicant("n1", &address, None).join(Some(&identity)).await {
            assert!(error.may_pass(), "{error}");
        }
    };
    timeout(DEADLINE, known).await.expect("its key is on the audit branch");
    let refused = applicant("n2", &address, Some(&token)).join(None).await.expect_err("refused");
    assert!(refused.to_string().contains("used up"), "{refused}");
    shell.stop().await;
}

#[tokio::test]
async fn an_agent_of_a_later_reign_makes_the_controller_claim_a_later_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let repo = folder.path().join("shop.git");
    commit(&repo, "shop/ns.yaml", NAMESPACE);
    let mut shell = Shell::start(&folder.path().join("state"), &repo);
    let (_told, _outgoing) = agent(&shell, Epoch(41));
    shell.sees("a later epoch", |view| view.epoch > Epoch(41)).await;
    shell.stop().await;
}

#[tokio::test]
async fn a_repository_that_is_not_there_is_a_problem_that_heals() {
    let folder = tempfile::tempdir().expect("a folder");
    let repo = folder.path().join("shop.git");
    let mut shell = Shell::start(&folder.path().join("state"), &repo);
    let view = shell.sees("the problem", |view| !view.problems.is_empty()).await;
    let problem = &view.problems[0];
    assert!(problem.message.contains("no git repository") && problem.hint.is_some(), "{problem:?}");
    commit(&repo, "shop/ns.yaml", NAMESPACE);
    let (mut told, _outgoing) = agent(&shell, Epoch(0));
    welcomed(&mut told).await;
    shell.stop().await;
}

#[tokio::test]
async fn a_push_is_read_and_a_broken_one_holds_its_unit() {
    let folder = tempfile::tempdir().expect("a folder");
    let repo = folder.path().join("shop.git");
    let first = commit(&repo, "shop/ns.yaml", NAMESPACE);
    let mut shell = Shell::start(&folder.path().join("state"), &repo);
    let (_told, _outgoing) = agent(&shell, Epoch(0));
    shell.sees("the first revision", |view| view.revision.as_ref() == Some(&first)).await;
    let broken = commit(&repo, "shop/web.yaml", "kind: [\n");
    let view = shell.sees("the second revision", |view| view.revision.as_ref() == Some(&broken)).await;
    assert!(view.units[&UnitName::new("shop")].is_held(), "{:?}", view.units);
    shell.stop().await;
}

/// Whether the audit branch in the mirror remembers a revision.
fn remembers(folder: &Path, repo: &Path, revision: &Revision) -> bool {
    let repo = Repository::open(repo).or_else(|_| Repository::open(folder.join("mirror/repo.git"))).expect("opens");
    let memory = repo.revparse_single("refs/heads/driftless/audit:current/_cluster/memory.yaml");
    memory.is_ok_and(|blob| {
        let text = String::from_utf8_lossy(blob.as_blob().expect("a file").content()).into_owned();
        text.contains(revision.as_str())
    })
}

#[tokio::test]
async fn without_the_remote_a_reign_begins_from_the_mirror_and_an_empty_mirror_waits() {
    let folder = tempfile::tempdir().expect("a folder");
    let (repo, away, state) = (folder.path().join("shop.git"), folder.path().join("away.git"), folder.path().join("state"));
    let first = commit(&repo, "shop/ns.yaml", NAMESPACE);
    let mut shell = Shell::start(&state, &repo);
    let (_told, _outgoing) = agent(&shell, Epoch(0));
    shell.sees("a record of the revision", |_| remembers(&state, &repo, &first)).await;
    shell.stop().await;

    std::fs::rename(&repo, &away).expect("moved away");
    let mut shell = Shell::start(&state, &repo);
    let view = shell.sees("the trouble and the revision", |view| !view.problems.is_empty() && view.revision.is_some()).await;
    assert_eq!(view.revision.as_ref(), Some(&first));
    assert_eq!(view.epoch, Epoch(2));
    shell.stop().await;

    std::fs::remove_dir_all(state.join("mirror")).expect("wiped");
    let mut shell = Shell::start(&state, &repo);
    let view = shell.sees("the trouble", |view| !view.problems.is_empty()).await;
    assert_eq!((view.epoch, &view.revision), (Epoch(0), &None), "an empty memory is not an empty cluster");
    std::fs::rename(&away, &repo).expect("moved back");
    let view = shell.sees("the revision again", |view| view.revision.as_ref() == Some(&first)).await;
    assert_eq!(view.epoch, Epoch(2), "the claim that was never pushed is gone with the mirror");
    shell.stop().await;
}
