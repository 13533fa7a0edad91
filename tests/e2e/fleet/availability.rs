//! No request through a Service or Ingress fails while pods are scaled, rolled and moved, and the agents in between are restarted.

use super::lab::Lab;
use super::web;
use crate::harness::{Load, brief, is_ready};
use crate::ingress::{Client, INGRESS, certificate};
use std::collections::BTreeSet;

/// The Node manifest that has a host drained, or takes that back; the host may serve Ingress.
fn node(name: &str, drained: bool) -> String {
    format!(
        "apiVersion: v1\nkind: Node\nmetadata:\n  name: {name}\n  labels: {{driftless.dev/ingress: \"true\"}}\n  \
         annotations: {{driftless.dev/drain: \"{drained}\"}}\n"
    )
}

/// The web is whole, none of it on the host `without`, and answers as `release` alone.
fn whole(lab: &Lab, count: usize, release: &str, without: &str) {
    lab.wait_for("the web is whole", || {
        let pods = lab.cluster.pods("shop")?;
        let ready = pods.values().filter(|pod| is_ready(pod) && pod["spec"]["nodeName"] != without).count();
        if ready != count || pods.len() != count {
            return Err(brief(&pods));
        }
        for _ in 0..2 * count {
            let answer = lab.cluster.ask("shop", "web")?;
            if !answer.contains(release) {
                return Err(answer);
            }
        }
        Ok(())
    });
}

/// What no client may notice, of a web of two pods that answers as `v1`: it is scaled, rolled, moved off one host and then off another, and
/// every agent is restarted in order.
fn live_through_it(lab: &mut Lab) {
    lab.cluster.push("out", &[("shop/web.yaml", Some(&web(4, "v1")))]);
    whole(lab, 4, "v1", "");
    lab.cluster.push("v2", &[("shop/web.yaml", Some(&web(4, "v2")))]);
    whole(lab, 4, "v2", "");
    lab.cluster.push("drain", &[("nodes/h2.yaml", Some(&node("h2", true)))]);
    whole(lab, 4, "v2", "h2");
    lab.cluster.push("back", &[("nodes/h2.yaml", Some(&node("h2", false))), ("shop/web.yaml", Some(&web(4, "v3")))]);
    whole(lab, 4, "v3", "");
    lab.cluster.push("drain another", &[("nodes/h3.yaml", Some(&node("h3", true)))]);
    whole(lab, 4, "v3", "h3");
    lab.cluster.push("back", &[("nodes/h3.yaml", Some(&node("h3", false)))]);
    for host in 1..=lab.len() {
        lab.restart_agent(host);
        // Everybody has found it again.
        whole(lab, 4, "v3", "");
    }
    lab.cluster.push("in", &[("shop/web.yaml", Some(&web(2, "v3")))]);
    whole(lab, 2, "v3", "");
}

/// Ends the loads: everything was answered.
fn nothing_failed(lab: &Lab, loads: Vec<(String, Load)>) {
    for (name, load) in loads {
        let (answered, failures) = load.finish();
        assert!(
            answered > 100 && failures.is_empty(),
            "{name}: {answered} answered, {} failed: {:?}{}",
            failures.len(),
            failures.first(),
            lab.logs()
        );
    }
}

#[test]
fn no_request_to_a_service_fails_while_pods_are_scaled_rolled_and_moved_and_agents_restarted() {
    let mut lab = Lab::new(3, "process");
    lab.cluster.push("first release", &[("shop/web.yaml", Some(&web(2, "v1")))]);
    lab.start();
    whole(&lab, 2, "v1", "");
    let address = lab.reaches_from_all("shop", "web");
    // From every host, so that some pods are near and others behind the tunnel.
    let loads = (1..=3).map(|host| (format!("from h{host}"), Load::start_in(Some(&lab.network(host)), address))).collect();
    live_through_it(&mut lab);
    nothing_failed(&lab, loads);
}

/// A web of two pods, served with TLS and without by `h1` and `h2`, as a client sees it there.
fn served_by_two(lab: &mut Lab) -> [Client; 2] {
    let (secret, config) = certificate();
    // A host with a certificate sends plain requests to the other port, unless it is told not to.
    let both = "namespace: shop, annotations: {nginx.ingress.kubernetes.io/ssl-redirect: \"false\"}";
    let ingress = INGRESS.replacen("namespace: shop", both, 1);
    let nodes = ["h1", "h2"].map(|name| (format!("nodes/{name}.yaml"), node(name, false)));
    let mut files = vec![("shop/ingress.yaml", Some(ingress.as_str())), ("shop/cert.yaml", Some(secret.as_str()))];
    files.extend(nodes.iter().map(|(path, text)| (path.as_str(), Some(text.as_str()))));
    let web = web(2, "v1");
    files.push(("shop/web.yaml", Some(web.as_str())));
    lab.cluster.push("first release", &files);
    lab.agent_args = vec!["--ingress".to_owned()];
    lab.start();
    whole(lab, 2, "v1", "");
    let clients = [1, 2].map(|host| Client { http: lab.at(host, 80), https: lab.at(host, 443), config: config.clone() });
    for client in &clients {
        lab.wait_for("Ingress answers", || match lab.within(3, || client.get_with_tls("/")) {
            Ok((200, _)) => Ok(()),
            other => Err(format!("{other:?}")),
        });
    }
    clients
}

/// The hosts that serve Ingress, as its status says.
fn servers(lab: &Lab) -> Result<BTreeSet<String>, String> {
    let ingress = lab.cluster.json("/apis/networking.k8s.io/v1/namespaces/shop/ingresses/shop")?;
    let places = ingress["status"]["loadBalancer"]["ingress"].as_array().ok_or("nobody serves it")?;
    Ok(places.iter().filter_map(|place| place["ip"].as_str().map(str::to_owned)).collect())
}

#[test]
fn no_request_to_an_ingress_fails_while_pods_are_scaled_rolled_and_moved_and_agents_restarted() {
    let mut lab = Lab::new(3, "process");
    let clients = served_by_two(&mut lab);
    // From a host that serves no Ingress: to one that is drained meanwhile and to one that is not, with TLS and without.
    let outside = lab.network(3);
    let mut loads = Vec::new();
    for (client, host) in clients.into_iter().zip(["h1", "h2"]) {
        let plain = client.clone();
        loads.push((format!("{host} without TLS"), Load::of(Some(&outside), move || plain.get("/"))));
        loads.push((format!("{host} with TLS"), Load::of(Some(&outside), move || client.get_with_tls("/"))));
    }
    live_through_it(&mut lab);
    nothing_failed(&lab, loads);
}

#[test]
fn a_host_that_is_drained_goes_on_serving_ingress() {
    let mut lab = Lab::new(3, "process");
    let [_, client] = served_by_two(&mut lab);
    lab.cluster.push("drain", &[("nodes/h2.yaml", Some(&node("h2", true)))]);
    lab.wait_for("it is drained", || {
        let node = lab.cluster.json("/api/v1/nodes/h2")?;
        let conditions = node["status"]["conditions"].as_array().ok_or("no conditions")?;
        let is_drained = conditions.iter().any(|one| one["type"] == "Drained" && one["status"] == "True");
        if is_drained { Ok(()) } else { Err(node["status"].to_string()) }
    });
    whole(&lab, 2, "v1", "h2");
    let answer = lab.within(3, || client.get_with_tls("/"));
    assert!(matches!(answer, Ok((200, _))), "{answer:?}");
    let served: BTreeSet<String> = [1, 2].map(|host| lab.address(host).to_string()).into();
    assert_eq!(servers(&lab), Ok(served));
}
