//! Ingress on one host for pods on another: the keys of certificates go to the host that a token lets have them, and to no other.

use crate::harness::{Cluster, Load, driftless, free_port};
use crate::ingress::{Client, INGRESS, certificate, flows};
use crate::manifests::{served, web_of};
use crate::namespace::within;
use serde_json::json;
use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::{Child, Stdio};

/// A part of driftless that ends with the test.
struct Part(Child);

impl Part {
    fn start(cluster: &Cluster, name: &str, args: &[String]) -> Self {
        let log = File::options().create(true).append(true).open(cluster.log_file()).expect("a log file");
        let mut command = driftless();
        command.args(args).args(["--cluster", &cluster.name, "--state-dir"]).arg(cluster.state_dir().join(name));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        Self(command.spawn().expect("driftless starts"))
    }

    fn kill(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        self.kill();
    }
}

fn words(args: &[&str]) -> Vec<String> {
    args.iter().map(|&arg| arg.to_owned()).collect()
}

/// A controller, and what its agents are told.
struct Site {
    cluster: Cluster,
    agents: u16,
    _controller: Part,
}

impl Site {
    fn new() -> Self {
        let (cluster, agents) = (Cluster::new("process"), free_port());
        let (repo, listen) = (cluster.repo().to_string_lossy().into_owned(), format!("127.0.0.1:{}", cluster.port));
        let at = format!("127.0.0.1:{agents}");
        let args = words(&["controller", "--repo", &repo, "--listen", &listen, "--agents", &at]);
        let controller = Part::start(&cluster, "controller", &args);
        cluster.wait_for("status answers", || cluster.get("/healthz").map(|_| ()));
        Self { cluster, agents, _controller: controller }
    }

    /// A host that joins with a token that has these labels, and whose agent says that it serves Ingress.
    fn join(&self, node: &str, labels: &[&str]) -> (Vec<String>, SocketAddr, SocketAddr) {
        let state = self.cluster.state_dir().join("controller");
        let made = driftless().args(["token", "create"]).args(labels).arg("--state-dir").arg(state).output();
        let made = made.expect("driftless runs");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let token = self.cluster.dir.path().join(format!("{node}.token"));
        fs::write(&token, &made.stdout).expect("written");
        let at = |port: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let (http, https, tunnel) = (at(free_port()), at(free_port()), at(free_port()));
        let controller = format!("127.0.0.1:{}", self.agents);
        let mut args = words(&["agent", "--runtime", "process", "--node", node, "--controller", &controller, "--ingress"]);
        args.extend(words(&["--ingress-http", &http.to_string(), "--ingress-https", &https.to_string()]));
        args.extend(words(&["--tunnel-listen", &tunnel.to_string(), "--token-file", &token.to_string_lossy()]));
        (args, http, https)
    }
}

/// The web on `n1`.
fn web(release: &str) -> String {
    let mut pod = served(release);
    pod["nodeSelector"] = json!({ "kubernetes.io/hostname": "n1" });
    web_of(3, &pod)
}

#[test]
fn the_host_that_a_token_lets_serve_reaches_pods_of_others_and_loses_no_request() {
    within("e2e-edge", || {
        let (secret, config) = certificate();
        let site = Site::new();
        let cluster = &site.cluster;
        let (of_n1, plain, _) = site.join("n1", &[]);
        let (of_edge, http, https) = site.join("edge", &["--labels", "driftless.dev/ingress=true"]);
        let _n1 = Part::start(cluster, "n1", &of_n1);
        let mut edge = Part::start(cluster, "edge", &of_edge);
        cluster.push(
            "the web",
            &[("shop/web.yaml", Some(&web("v1"))), ("shop/ingress.yaml", Some(INGRESS)), ("shop/cert.yaml", Some(&secret))],
        );
        let client = Client { http, https, config };
        let answers = |release: &str| match client.get_with_tls("/") {
            Ok((200, body)) if body.contains(release) => cluster.ready_pods("shop", "web", 3).map(|_| ()),
            other => Err(format!("{other:?}")),
        };
        cluster.wait_for("the web is served", || answers("api v1"));
        assert!(TcpStream::connect(plain).is_err(), "n1 says that it serves, and was told nothing");
        cluster.wait_for("the status says so", || {
            let problems = cluster.get("/driftless/v1/problems")?;
            if problems.contains("without the label driftless.dev/ingress") { Ok(()) } else { Err(problems) }
        });

        let asking = client.clone();
        let load = Load::of(None, move || asking.get_with_tls("/"));
        flows(cluster, &load);
        cluster.push("web: v2", &[("shop/web.yaml", Some(&web("v2")))]);
        cluster.wait_for("v2 is served", || answers("api v2"));
        flows(cluster, &load);
        let (_, failures) = load.finish();
        assert_eq!(failures, Vec::<String>::new());

        let asking = client.clone();
        let load = Load::of(None, move || asking.get_with_tls("/"));
        flows(cluster, &load);
        edge.kill();
        let _edge = Part::start(cluster, "edge", &of_edge);
        flows(cluster, &load);
        let (_, failures) = load.finish();
        assert!(failures.iter().all(|failure| !failure.contains("refused")), "{failures:?}");
        assert!(failures.len() <= Load::CLIENTS, "only what was under way broke off: {failures:?}");
    });
}
