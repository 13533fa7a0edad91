//! What others know: the resolvers of this host, asked in turn, and what they said before.

use super::message::Outcome;
use super::resolvers::resolvers;
use crate::clock;
use crate::model::Moment;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts, ServerOrderingStrategy};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError, NoRecords};
use hickory_resolver::proto::op::{Query, ResponseCode};
use std::collections::BTreeSet;
use std::fmt;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long one resolver may take, its repetitions included: so short that the next one answers before a client gives up, which
/// the C libraries do after 5 s.
const RESOLVER_MAX: Duration = Duration::from_millis(1_500);

/// How long a resolver that did not answer is asked only after the others.
const SHUN: Duration = Duration::from_secs(10);

/// Answers that are kept for each resolver.
const CACHE_MAX: u64 = 4_096;

/// The longest time that an answer is kept.
const KEPT_MAX: Duration = Duration::from_secs(3_600);

/// The longest time that it is kept that a name is not there: it may be made any minute.
const KEPT_NEGATIVE_MAX: Duration = Duration::from_secs(30);

/// Where the resolvers come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resolvers {
    /// These, in this order.
    Given(Vec<SocketAddr>),
    /// Those of a file of the form of `/etc/resolv.conf`, read again when it changes.
    File(PathBuf),
}

/// The resolvers of this host.
#[derive(Debug)]
pub(super) struct Upstream {
    source: Resolvers,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// What the source was when it was last read; `None` if it must be read again.
    read: Option<Option<Stamp>>,
    /// What it named.
    addresses: Vec<SocketAddr>,
    /// Our own addresses.
    own: BTreeSet<SocketAddr>,
    servers: Arc<Vec<Server>>,
}

/// By what a file that has changed is told from the one that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    modified: (i64, i64),
    bytes: u64,
}

impl Stamp {
    fn of(path: &Path) -> Option<Self> {
        let found = std::fs::metadata(path).ok()?;
        Some(Self { inode: found.ino(), modified: (found.mtime(), found.mtime_nsec()), bytes: found.size() })
    }
}

impl Resolvers {
    fn stamp(&self) -> Option<Stamp> {
        match self {
            Resolvers::Given(_) => None,
            Resolvers::File(path) => Stamp::of(path),
        }
    }

    fn read(&self, own: &BTreeSet<SocketAddr>) -> Vec<SocketAddr> {
        match self {
            Resolvers::Given(given) => given.iter().filter(|address| !own.contains(address)).copied().collect(),
            // A file that is not there, or not for a moment, names nobody.
            Resolvers::File(path) => resolvers(&std::fs::read_to_string(path).unwrap_or_default(), own),
        }
    }
}

/// One resolver, with what it has answered.
struct Server {
    address: SocketAddr,
    resolver: TokioResolver,
    /// Until when others come first, in milliseconds as [`Moment`].
    shunned_until: AtomicU64,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Upstream {
    /// Nobody is asked before the first question.
    pub(super) fn new(source: Resolvers) -> Self {
        Self { source, state: Mutex::default() }
    }

    /// Where we listen ourselves, from now on.
    pub(super) fn set_own(&self, own: BTreeSet<SocketAddr>) {
        let mut state = self.lock();
        state.own = own;
        state.read = None;
    }

    /// Asks one resolver after the other until one has an answer, or knows that there is none.
    pub(super) async fn ask(&self, query: &Query) -> Outcome {
        let servers = self.servers();
        let now = clock::now();
        // A stable sort: in the order of the source otherwise.
        let mut in_turn: Vec<&Server> = servers.iter().collect();
        in_turn.sort_by_key(|server| server.is_shunned(now));
        for server in in_turn {
            if let Some(outcome) = server.ask(query).await {
                return outcome;
            }
        }
        Outcome::failed()
    }

    /// The resolvers as they are named now: to look at the file costs less than the question that follows.
    fn servers(&self) -> Arc<Vec<Server>> {
        let stamp = self.source.stamp();
        let mut state = self.lock();
        if state.read != Some(stamp) {
            state.read = Some(stamp);
            let addresses = self.source.read(&state.own);
            if state.addresses != addresses {
                tracing::info!("names outside of the cluster are asked of {}", words(&addresses));
                state.servers = Arc::new(addresses.iter().filter_map(|address| Server::new(*address)).collect());
                state.addresses = addresses;
            }
        }
        Arc::clone(&state.servers)
    }

    /// Who would be asked.
    #[cfg(test)]
    pub(super) fn named(&self) -> Vec<SocketAddr> {
        self.servers().iter().map(|server| server.address).collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every state in between is whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn words(addresses: &[SocketAddr]) -> String {
    match addresses {
        [] => "nobody: this host names no resolver but this agent".to_owned(),
        some => some.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
    }
}

impl Server {
    fn new(address: SocketAddr) -> Option<Self> {
        let mut server = NameServerConfig::udp_and_tcp(address.ip());
        for connection in &mut server.connections {
            connection.port = address.port();
        }
        let config = ResolverConfig::from_name_servers(vec![server]);
        let builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default()).with_options(options());
        match builder.build() {
            Ok(resolver) => Some(Self { address, resolver, shunned_until: AtomicU64::new(0) }),
            Err(error) => {
                tracing::warn!(%address, %error, "a resolver of this host cannot be asked");
                None
            }
        }
    }

    fn is_shunned(&self, now: Moment) -> bool {
        now.0 < self.shunned_until.load(Ordering::Relaxed)
    }

    /// `None` if it does not know, and another one may.
    async fn ask(&self, query: &Query) -> Option<Outcome> {
        let asked = self.resolver.lookup(query.name().clone(), query.query_type());
        let failure = match tokio::time::timeout(RESOLVER_MAX, asked).await {
            Ok(Ok(found)) => {
                let message = found.message();
                let (code, answers) = (message.metadata.response_code, message.answers.clone());
                return Some(Outcome { code, answers, authorities: Vec::new() });
            }
            Ok(Err(NetError::Dns(DnsError::NoRecordsFound(nothing)))) => return Some(negative(nothing)),
            Ok(Err(error)) => error,
            Err(_) => NetError::Timeout,
        };
        tracing::debug!(resolver = %self.address, name = %query.name(), error = %failure, "a resolver has no answer");
        // One that says that it cannot answer this question is there for the next.
        if !matches!(failure, NetError::Dns(_)) {
            self.shunned_until.store((clock::now() + SHUN).0, Ordering::Relaxed);
        }
        None
    }
}

fn options() -> ResolverOpts {
    let mut options = ResolverOpts::default();
    options.timeout = RESOLVER_MAX;
    options.attempts = 0;
    options.cache_size = CACHE_MAX;
    options.positive_max_ttl = Some(KEPT_MAX);
    options.negative_max_ttl = Some(KEPT_NEGATIVE_MAX);
    // `/etc/hosts` is the host's own business, as in Kubernetes.
    options.use_hosts_file = ResolveHosts::Never;
    options.server_ordering_strategy = ServerOrderingStrategy::UserProvidedOrder;
    options
}

/// No such name, or no such record of it.
fn negative(nothing: NoRecords) -> Outcome {
    let is_nowhere = nothing.response_code == ResponseCode::NXDomain;
    let code = if is_nowhere { ResponseCode::NXDomain } else { ResponseCode::NoError };
    let says = nothing.soa.map(|record| record.into_record_of_rdata());
    Outcome { code, answers: Vec::new(), authorities: says.into_iter().collect() }
}
