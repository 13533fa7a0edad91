//! Ingress: from a push to what a client outside of the cluster gets.

use crate::harness::{Cluster, Load, free_port, http_get_on};
use crate::manifests::web;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, crypto::ring};

const HOST: &str = "shop.example";

/// A client that believes one certificate only.
#[derive(Clone)]
pub struct Client {
    pub http: SocketAddr,
    pub https: SocketAddr,
    pub config: Arc<ClientConfig>,
}

impl Client {
    pub fn get(&self, path: &str) -> io::Result<(u16, String)> {
        http_get_on(connect(self.http)?, HOST, path)
    }

    pub fn get_with_tls(&self, path: &str) -> io::Result<(u16, String)> {
        let name = ServerName::try_from(HOST).map_err(io::Error::other)?;
        let session = ClientConnection::new(Arc::clone(&self.config), name).map_err(io::Error::other)?;
        http_get_on(StreamOwned::new(session, connect(self.https)?), HOST, path)
    }
}

fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    Ok(stream)
}

/// A certificate for [`HOST`], as the Secret that a team commits, and what believes it.
pub fn certificate() -> (String, Arc<ClientConfig>) {
    let key = rcgen::KeyPair::generate().expect("a key");
    let made = rcgen::CertificateParams::new(vec![HOST.to_owned()]).and_then(|params| params.self_signed(&key));
    let made = made.expect("a certificate");
    let lines = |pem: String| pem.lines().map(|line| format!("    {line}\n")).collect::<String>();
    let secret = format!(
        "apiVersion: v1\nkind: Secret\ntype: kubernetes.io/tls\nmetadata: {{name: cert, namespace: shop}}\nstringData:\n  tls.crt: |\n{}  tls.key: |\n{}",
        lines(made.pem()),
        lines(key.serialize_pem())
    );
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(made.der().to_vec())).expect("a root");
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().expect("versions");
    (secret, Arc::new(builder.with_root_certificates(roots).with_no_client_auth()))
}

/// The web for [`HOST`], with TLS.
pub const INGRESS: &str = "apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: shop, namespace: shop}
spec:
  tls: [{hosts: [shop.example], secretName: cert}]
  rules:
  - host: shop.example
    http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 8080}}}}]}
";

/// A cluster that serves the web with TLS, and a client of it.
fn served() -> (Cluster, Client) {
    let (secret, config) = certificate();
    let mut cluster = Cluster::new("process");
    let (http, https) = (free_port(), free_port());
    let at = |port: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let listeners = [("--ingress-http", at(http)), ("--ingress-https", at(https))];
    cluster.options = vec!["--ingress".to_owned()];
    cluster.options.extend(listeners.into_iter().flat_map(|(option, address)| [option.to_owned(), address.to_string()]));
    cluster.push(
        "the web",
        &[("shop/web.yaml", Some(&web(3, "v1"))), ("shop/ingress.yaml", Some(INGRESS)), ("shop/cert.yaml", Some(&secret))],
    );
    cluster.start();
    let client = Client { http: at(http), https: at(https), config };
    cluster.wait_for("the web is served", || match client.get_with_tls("/") {
        Ok((200, body)) if body.contains("api v1") => cluster.ready_pods("shop", "web", 3).map(|_| ()),
        other => Err(format!("{other:?}")),
    });
    (cluster, client)
}

/// Waits for requests that are answered now.
pub fn flows(cluster: &Cluster, load: &Load) {
    let before = load.answered();
    cluster.wait_for("the load flows", || if load.answered() > before + 50 { Ok(()) } else { Err(load.answered().to_string()) });
}

/// Runs `change` under load, and returns what has failed.
fn under_load(cluster: &mut Cluster, client: &Client, change: impl FnOnce(&mut Cluster)) -> Vec<String> {
    let asking = client.clone();
    let load = Load::of(None, move || asking.get_with_tls("/"));
    flows(cluster, &load);
    change(cluster);
    flows(cluster, &load);
    load.finish().1
}

#[test]
fn an_ingress_with_tls_serves_through_a_rollout_without_one_failed_request() {
    let (mut cluster, client) = served();
    let (status, body) = client.get("/cart?x=1").expect("an answer");
    assert_eq!(status, 308, "{body}");
    let kube = cluster.json("/apis/networking.k8s.io/v1/namespaces/shop/ingresses/shop").expect("an Ingress");
    assert!(kube["status"]["loadBalancer"]["ingress"][0]["ip"].is_string(), "{kube}");
    let failures = under_load(&mut cluster, &client, |cluster| {
        cluster.push("web: v2", &[("shop/web.yaml", Some(&web(3, "v2")))]);
        cluster.wait_for("v2 answers alone", || {
            cluster.ready_pods("shop", "web", 3)?;
            let answers = (0..6).map(|_| client.get_with_tls("/").map(|(_, body)| body).unwrap_or_default());
            answers.map(|body| if body.contains("api v2") { Ok(()) } else { Err(body) }).collect::<Result<Vec<()>, _>>()
        });
        cluster.push("web: fewer", &[("shop/web.yaml", Some(&web(1, "v2")))]);
        cluster.wait_for("one is left", || cluster.ready_pods("shop", "web", 1));
        cluster.push("web: more", &[("shop/web.yaml", Some(&web(4, "v2")))]);
        cluster.wait_for("four are there", || cluster.ready_pods("shop", "web", 4));
    });
    assert_eq!(failures, Vec::<String>::new());
}

#[test]
fn no_request_through_ingress_fails_while_driftless_is_stopped_and_started() {
    let (mut cluster, client) = served();
    let failures = under_load(&mut cluster, &client, |cluster| {
        for _ in 0..2 {
            cluster.terminate();
            cluster.start();
        }
    });
    assert_eq!(failures, Vec::<String>::new());
}

#[test]
fn nobody_is_refused_at_ingress_while_driftless_is_killed_and_started() {
    let (mut cluster, client) = served();
    let failures = under_load(&mut cluster, &client, |cluster| {
        cluster.kill();
        cluster.start();
    });
    assert!(failures.iter().all(|failure| !failure.contains("refused")), "{failures:?}");
    assert!(failures.len() <= Load::CLIENTS, "only what was under way broke off: {failures:?}");
}

#[test]
fn a_certificate_that_is_renewed_by_a_commit_is_shown_without_a_restart() {
    let (cluster, mut client) = served();
    let (secret, config) = certificate();
    let pid = cluster.up_pid();
    cluster.push("a new certificate", &[("shop/cert.yaml", Some(&secret))]);
    client.config = config;
    cluster.wait_for("the new certificate is shown", || client.get_with_tls("/").map_err(|error| error.to_string()));
    assert_eq!(cluster.up_pid(), pid);
    let state = std::process::Command::new("grep").args(["-rl", "PRIVATE KEY"]).arg(cluster.state_dir()).output();
    let found = String::from_utf8_lossy(&state.expect("grep runs").stdout).into_owned();
    assert!(!found.lines().any(|path| path.contains("/agent/")), "a key is on disk: {found}");
}
