//! No request through a Service fails while its pods are scaled, rolled and moved, and the agents in between are restarted.

use super::lab::Lab;
use super::web;
use crate::harness::{Load, brief, is_ready};

/// The Node manifest that has a host drained, or takes that back.
fn node(name: &str, drained: bool) -> String {
    format!("apiVersion: v1\nkind: Node\nmetadata:\n  name: {name}\n  annotations: {{driftless.dev/drain: \"{drained}\"}}\n")
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

#[test]
fn no_request_fails_while_pods_are_scaled_rolled_and_moved_and_agents_restarted() {
    let mut lab = Lab::new(3, "process");
    lab.cluster.push("first release", &[("shop/web.yaml", Some(&web(2, "v1")))]);
    lab.start();
    whole(&lab, 2, "v1", "");
    let address = lab.reaches_from_all("shop", "web");
    // From every host, so that some pods are near and others behind the tunnel.
    let loads: Vec<Load> = (1..=3).map(|host| Load::start_in(Some(&lab.network(host)), address)).collect();
    lab.cluster.push("out", &[("shop/web.yaml", Some(&web(4, "v1")))]);
    whole(&lab, 4, "v1", "");
    lab.cluster.push("v2", &[("shop/web.yaml", Some(&web(4, "v2")))]);
    whole(&lab, 4, "v2", "");
    lab.cluster.push("drain", &[("nodes/h2.yaml", Some(&node("h2", true)))]);
    whole(&lab, 4, "v2", "h2");
    lab.cluster.push("back", &[("nodes/h2.yaml", Some(&node("h2", false))), ("shop/web.yaml", Some(&web(4, "v3")))]);
    whole(&lab, 4, "v3", "");
    for host in 1..=3 {
        lab.restart_agent(host);
        // Everybody has found it again.
        whole(&lab, 4, "v3", "");
    }
    lab.cluster.push("in", &[("shop/web.yaml", Some(&web(2, "v3")))]);
    whole(&lab, 2, "v3", "");
    for (index, load) in loads.into_iter().enumerate() {
        let (answered, failures) = load.finish();
        assert!(
            answered > 100 && failures.is_empty(),
            "from h{}: {answered} answered, {} failed: {:?}{}",
            index + 1,
            failures.len(),
            failures.first(),
            lab.logs()
        );
    }
}
