//! Problems between objects, and the rules of an Ingress.

use super::*;

/// `line: severity: message (hint)` of every problem between the objects of a text; problems of one document alone fail the test.
fn between(text: &str) -> Vec<String> {
    let report = validate(&[("f.yaml".to_owned(), text.as_bytes().to_vec())], false);
    let mut lines = Vec::new();
    for problem in report.documents.into_iter().flat_map(|document| document.problems) {
        let is_error = problem.severity == crate::model::Severity::Error;
        if problem.scope == crate::model::Scope::Document {
            assert!(!is_error, "{text}\n{problem:?}");
            continue;
        }
        let word = if is_error { "error" } else { "warning" };
        lines.push(format!("{}: {word}: {}", problem.line, problem.message));
    }
    lines
}

fn service(name: &str, app: &str, port: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: shop}}\nspec: {{selector: {{app: {app}}}, ports: [{port}]}}\n"
    )
}

fn ingress(name: &str, spec: &str) -> String {
    format!("---\napiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {{name: {name}, namespace: shop}}\nspec:\n{spec}")
}

fn rule(host: &str, path: &str, service: &str, port: &str) -> String {
    format!(
        "  rules: [{{host: {host}, http: {{paths: [{{path: {path}, pathType: Prefix, backend: {{service: {{name: {service}, port: {port}}}}}}}]}}}}]\n"
    )
}

#[test]
fn a_service_leads_to_pods_and_to_ports_that_are_there() {
    let web = deployment("web", "        ports: [{name: http, containerPort: 80}]\n");
    assert_eq!(between(&(web.clone() + &service("web", "web", "{port: 80, targetPort: http}"))), Vec::<String>::new());
    assert_eq!(between(&(web.clone() + &service("web", "wbe", "{port: 80}"))), ["16: warning: Service shop/web selects no pods"]);
    assert_eq!(
        between(&(web + &service("web", "web", "{port: 80, targetPort: htpt}"))),
        ["17: error: no container behind Service shop/web has a port named htpt"]
    );
}

#[test]
fn an_ingress_leads_to_a_service_and_a_port_that_are_there() {
    let base = deployment("web", "") + &service("web", "web", "{name: http, port: 80}");
    for port in ["{number: 80}", "{name: http}"] {
        assert_eq!(
            between(&(base.clone() + &ingress("i", &rule("a.example", "/", "web", port)))),
            Vec::<String>::new(),
            "{port}"
        );
    }
    for (service, port, expected) in [
        ("wbe", "{number: 80}", "22: error: Service shop/wbe does not exist"),
        ("web", "{number: 81}", "22: error: Service shop/web has no port 81"),
        ("web", "{name: htpt}", "22: error: Service shop/web has no port htpt"),
    ] {
        assert_eq!(between(&(base.clone() + &ingress("i", &rule("a.example", "/", service, port)))), [expected]);
    }
    let missing =
        "  defaultBackend: {service: {name: web, port: {number: 80}}}\n  tls: [{hosts: [a.example], secretName: cert}]\n";
    assert_eq!(between(&(base.clone() + &ingress("i", missing))), ["23: warning: Secret shop/cert does not exist"]);
    let empty = "---\napiVersion: v1\nkind: Secret\nmetadata: {name: cert, namespace: shop}\nstringData: {tls.crt: x}\n";
    assert_eq!(
        between(&(base + &ingress("i", missing) + empty)),
        ["23: warning: Secret shop/cert has no key tls.key, so it is no certificate"]
    );
}

#[test]
fn one_host_and_path_has_one_rule() {
    let base = deployment("web", "") + &service("web", "web", "{port: 80}");
    let first = ingress("a", &rule("a.example", "/shop", "web", "{number: 80}"));
    let check = |second: &str, expected: &[&str]| assert_eq!(between(&(base.clone() + &first + second)), expected, "{second}");
    check(&ingress("b", &rule("a.example", "/other", "web", "{number: 80}")), &[]);
    check(&ingress("b", &rule("b.example", "/shop", "web", "{number: 80}")), &[]);
    check(&ingress("b", &("  ingressClassName: x\n".to_owned() + &rule("a.example", "/shop", "web", "{number: 80}"))), &[]);
    check(
        &ingress("b", &rule("a.example", "/shop/", "web", "{number: 80}")),
        &["26: error: Ingress shop/a and Ingress shop/b both have a rule for a.example and /shop"],
    );
}

#[test]
fn two_pods_of_one_node_cannot_have_one_of_its_ports() {
    let on = |name: &str, node: &str, port: u16| {
        deployment(
            name,
            &format!(
                "        ports: [{{containerPort: 80, hostPort: {port}}}]\n      nodeSelector: {{kubernetes.io/hostname: {node}}}\n---\n"
            ),
        )
    };
    assert_eq!(between(&(on("a", "n1", 80) + &on("b", "n2", 80))), Vec::<String>::new());
    assert_eq!(between(&(on("a", "n1", 80) + &on("b", "n1", 81))), Vec::<String>::new());
    assert_eq!(
        between(&(on("a", "n1", 80) + &on("b", "n1", 80))),
        ["17: error: Deployment shop/b wants the host port 80 of node n1, which Deployment shop/a has"]
    );
}

#[test]
fn two_services_cannot_write_one_address_or_one_node_port() {
    let service = |name: &str, address: &str, port: u16| {
        format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: shop}}\nspec: {{type: NodePort, clusterIP: {address}, selector: {{app: a}}, ports: [{{port: 80, nodePort: {port}}}]}}\n---\n"
        )
    };
    let errors = |text: &str| between(text).into_iter().filter(|line| line.contains("error")).collect::<Vec<String>>();
    assert_eq!(errors(&(service("a", "10.96.0.2", 30_080) + &service("b", "10.96.0.3", 30_081))), Vec::<String>::new());
    assert_eq!(
        errors(&(service("a", "10.96.0.2", 30_080) + &service("b", "10.96.0.2", 30_080))),
        [
            "8: error: Service shop/b wants the address 10.96.0.2, which Service shop/a has",
            "8: error: Service shop/b wants the node port 30080, which Service shop/a has"
        ]
    );
}

#[test]
fn an_ingress_is_checked_and_said_to_be_served_by_nothing() {
    let judged = |spec: &str| {
        let report = validate(&[("f.yaml".to_owned(), ingress("i", spec).into_bytes())], true);
        let document = &report.documents[0];
        let lines = document.problems.iter().filter(|problem| problem.scope == crate::model::Scope::Document);
        (document.status, lines.map(|problem| format!("{}: {}", problem.line, problem.message)).collect::<Vec<String>>())
    };
    let good = rule("a.example", "/", "web", "{number: 80}");
    assert_eq!(judged(&good), (Status::Accepted, vec![]));
    for (spec, expected) in [
        ("  rules: []\n".to_owned(), "5: spec must have rules or defaultBackend"),
        (
            "  backend: {serviceName: web, servicePort: 80}\n".to_owned(),
            "6: spec.backend is not supported: it was a field of networking.k8s.io/v1beta1",
        ),
        (
            rule("10.0.0.1", "/", "web", "{number: 80}"),
            "6: spec.rules[0].host must be a host name: lower-case letters, digits, '-' and '.', at most 253, no address; may begin with '*.', not \"10.0.0.1\"",
        ),
        (
            rule("a.example", "shop", "web", "{number: 80}"),
            "6: spec.rules[0].http.paths[0].path must be a path that begins with '/', not \"shop\"",
        ),
        (rule("a.example", "/a//b", "web", "{number: 80}"), "6: spec.rules[0].http.paths[0].path must not have //"),
        (
            rule("a.example", "/", "web", "{number: 80, name: x}"),
            "6: spec.rules[0].http.paths[0].backend.service.port must have exactly one of name, number",
        ),
        (
            good.replace("Prefix", "Regex"),
            "6: spec.rules[0].http.paths[0].pathType must be Exact or Prefix or ImplementationSpecific, not \"Regex\"",
        ),
    ] {
        let (status, lines) = judged(&spec);
        assert_eq!(status, Status::Rejected, "{spec}");
        assert!(lines.iter().any(|line| line == expected), "{spec}{lines:#?}");
    }
    let plain = good + "  tls: [{hosts: ['*.b.example'], secretName: cert}]\n";
    assert_eq!(judged(&plain).1[0], "6: no entry of spec.tls is for a.example: it is served without TLS");
}

#[test]
fn what_other_controllers_honour_is_refused_or_said_to_have_no_effect() {
    let judged = |annotation: &str| {
        let text = format!(
            "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {{name: i, annotations: {{{annotation}}}}}\n\
             spec: {{defaultBackend: {{service: {{name: web, port: {{number: 80}}}}}}}}\n"
        );
        let report = validate(&[("f.yaml".to_owned(), text.into_bytes())], true);
        let document = &report.documents[0];
        let about = document.problems.iter().map(|problem| problem.message.clone()).collect::<Vec<_>>().join("\n");
        (document.status, about)
    };
    for refused in [
        "nginx.ingress.kubernetes.io/whitelist-source-range: 10.0.0.0/8",
        "nginx.ingress.kubernetes.io/auth-url: https://x",
        "traefik.ingress.kubernetes.io/router.middlewares: x",
        "alb.ingress.kubernetes.io/scheme: internal",
    ] {
        let (status, about) = judged(refused);
        assert!(status == Status::Rejected && about.contains("is not supported: "), "{refused}: {about}");
    }
    for inert in ["nginx.ingress.kubernetes.io/rewrite-target: /", "cert-manager.io/cluster-issuer: x"] {
        let (status, about) = judged(inert);
        assert!(status == Status::Accepted && about.contains("is without effect here: "), "{inert}: {about}");
    }
    for (wrong, values) in [("ssl-redirect: 'no'", "true or false"), ("backend-protocol: HTTPS", "HTTP or GRPC")] {
        let (status, about) = judged(&format!("nginx.ingress.kubernetes.io/{wrong}"));
        assert!(status == Status::Rejected && about.contains(&format!("must be {values}")), "{wrong}: {about}");
    }
    for note in [
        "nginx.ingress.kubernetes.io/force-ssl-redirect: 'true'",
        "nginx.ingress.kubernetes.io/ssl-redirect: 'false'",
        "nginx.ingress.kubernetes.io/backend-protocol: GRPC",
        "example.com/owner: me",
    ] {
        let (status, about) = judged(note);
        assert!(status == Status::Accepted && !about.contains("annotations"), "{note}: {about}");
    }
    let text = "apiVersion: v1\nkind: Namespace\nmetadata: {name: n, labels: {pod-security.kubernetes.io/enforce: restricted}}\n";
    let report = validate(&[("f.yaml".to_owned(), text.as_bytes().to_vec())], true);
    assert_eq!(report.documents[0].status, Status::Rejected);
}
