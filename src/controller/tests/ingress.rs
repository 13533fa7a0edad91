//! What the Ingresses of a revision come to, and which nodes are told.

use super::world::{World, node};
use crate::controller::routes::{Routes, routes};
use crate::manifest::{self, DigestKey, TreeInput};
use crate::model::{BackendProtocol, Desired, IngressRoute, IngressTable, PathPattern, Policy, Revision};
use std::collections::BTreeMap;
use std::sync::Arc;

const WEB: &str = "---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec:
  selector: {app: web}
  ports:
  - {name: http, port: 80, targetPort: 8080}
  - {name: dns, port: 53, protocol: UDP}
  - {name: grpc, port: 9000, appProtocol: kubernetes.io/h2c}
";

/// A Secret whose certificate and key are this text.
fn secret(name: &str, text: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: Secret\ntype: kubernetes.io/tls\nmetadata: {{name: {name}, namespace: shop}}\n\
         stringData: {{tls.crt: {text}, tls.key: {text}}}\n"
    )
}

fn ingress(name: &str, annotations: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {{name: {name}, namespace: shop, annotations: {{{annotations}}}}}\n\
         spec: {{{spec}}}\n"
    )
}

/// A rule for a host (empty for all) and a path; the port is written as YAML.
fn rule(host: &str, path: &str, kind: &str, port: &str) -> String {
    let host = if host.is_empty() { String::new() } else { format!("host: \"{host}\", ") };
    format!("{{{host}http: {{paths: [{{path: {path}, pathType: {kind}, backend: {{service: {{name: web, port: {port}}}}}}}]}}}}")
}

const DEFAULT: &str = "defaultBackend: {service: {name: web, port: {number: 80}}}";

fn desired(text: &str, revision: &str) -> Desired {
    let parsed = Arc::new(manifest::parse("all.yaml", revision, text.as_bytes()));
    let input = TreeInput {
        revision: Revision::new(revision),
        files: BTreeMap::from([("all.yaml".to_owned(), parsed)]),
        problems: Vec::new(),
        policy: Policy::default(),
        rendered: BTreeMap::new(),
    };
    let loaded = manifest::load(&input, &BTreeMap::new(), &DigestKey::unkeyed());
    assert!(loaded.desired.objects.len() > 1, "{text}\n{loaded:?}");
    loaded.desired
}

fn of(text: &str) -> Routes {
    routes(&desired(text, "r1").objects)
}

/// A route as `ingress host path → service:port`, and what else it says.
fn show(route: &IngressRoute) -> String {
    let path = match &route.path {
        PathPattern::Exact(path) => format!("= {path}"),
        PathPattern::Prefix(path) => path.clone(),
        PathPattern::Rest => "*".to_owned(),
    };
    let target = route.target.as_ref().map_or("nowhere".to_owned(), |target| {
        let h2c = if target.protocol == BackendProtocol::H2c { " h2c" } else { "" };
        format!("{}:{}{h2c}", target.service.name, target.port)
    });
    format!("{} {} {path} → {target}{}", route.ingress.name, route.host, if route.to_https { " https" } else { "" })
}

fn shown(text: &str) -> Vec<String> {
    of(text).routes.iter().map(show).collect()
}

#[test]
fn a_rule_leads_to_the_port_that_it_means_by_number_or_by_name() {
    for (port, expected) in [
        ("{number: 80}", "web:80"),
        ("{name: http}", "web:80"),
        ("{name: grpc}", "web:9000 h2c"),
        ("{number: 9000}", "web:9000 h2c"),
    ] {
        let text = WEB.to_owned() + &ingress("i", "", &format!("rules: [{}]", rule("shop.example", "/", "Prefix", port)));
        assert_eq!(shown(&text), [format!("i shop.example / → {expected}")], "{port}");
    }
    let grpc = ingress("i", "nginx.ingress.kubernetes.io/backend-protocol: GRPC", DEFAULT);
    assert_eq!(shown(&(WEB.to_owned() + &grpc)), ["i every host * → web:80 h2c"]);
}

#[test]
fn each_kind_of_path_is_told_apart() {
    let rules = [
        rule("a.example", "/exact/", "Exact", "{number: 80}"),
        rule("a.example", "/prefix/", "Prefix", "{number: 80}"),
        rule("a.example", "/own", "ImplementationSpecific", "{number: 80}"),
        rule("*.a.example", "/", "Prefix", "{number: 80}"),
    ];
    let text = WEB.to_owned() + &ingress("i", "", &format!("rules: [{}]", rules.join(", ")));
    let expected = [
        "i a.example = /exact/ → web:80",
        "i a.example /own → web:80",
        "i a.example /prefix → web:80",
        "i *.a.example / → web:80",
    ];
    assert_eq!(shown(&text), expected);
}

#[test]
fn a_default_takes_the_rest_of_its_own_hosts_and_one_without_rules_that_of_all() {
    let ruled = ingress("a", "", &format!("rules: [{}], {DEFAULT}", rule("a.example", "/x", "Prefix", "{number: 80}")));
    let own = ["a a.example /x → web:80", "a a.example * → web:80"];
    let text = WEB.to_owned() + &ruled;
    assert_eq!(shown(&text), [&own[..], &["a every host * → web:80"]].concat());
    let text = text + &ingress("b", "", DEFAULT) + &ingress("c", "", DEFAULT);
    assert_eq!(shown(&text), [&own[..], &["b every host * → web:80"]].concat());
    let conflicts: Vec<String> =
        of(&text).conflicts.iter().map(|conflict| format!("{}: {}", conflict.ingress, conflict.message)).collect();
    assert_eq!(conflicts, ["Ingress shop/c: what no rule takes of every host is served by Ingress shop/b"]);
}

#[test]
fn of_two_ingresses_with_one_path_the_first_has_it_and_the_other_is_told() {
    let with = |name: &str, kind: &str, port: &str| {
        ingress(name, "", &format!("ingressClassName: {name}, rules: [{}]", rule("a.example", "/x", kind, port)))
    };
    let text = WEB.to_owned() + &with("b", "Prefix", "{number: 9000}") + &with("a", "ImplementationSpecific", "{number: 80}");
    assert_eq!(shown(&text), ["a a.example /x → web:80"]);
    let conflict = of(&text).conflicts.pop_first().unwrap();
    assert_eq!((conflict.ingress.name.as_str(), conflict.message.as_str()), ("b", "/x of a.example is served by Ingress shop/a"));
}

#[test]
fn certificates_are_found_by_host_and_send_plain_requests_to_https_unless_told_not_to() {
    let tls = "tls: [{hosts: [a.example, '*.b.example'], secretName: cert}]";
    let rules = [
        rule("a.example", "/", "Prefix", "{number: 80}"),
        rule("x.b.example", "/", "Prefix", "{number: 80}"),
        rule("c.example", "/", "Prefix", "{number: 80}"),
    ]
    .join(", ");
    let text = |annotations: &str| {
        WEB.to_owned() + &secret("cert", "pem") + &ingress("i", annotations, &format!("rules: [{rules}], {tls}"))
    };
    let redirected = |annotations: &str| {
        shown(&text(annotations))
            .iter()
            .filter(|line| line.ends_with(" https"))
            .map(|line| line.split(' ').nth(1).unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(redirected(""), ["a.example", "x.b.example"]);
    assert!(redirected("nginx.ingress.kubernetes.io/ssl-redirect: 'false'").is_empty());
    assert_eq!(redirected("nginx.ingress.kubernetes.io/force-ssl-redirect: 'true'").len(), 3);
    let hosts: Vec<String> = of(&text("")).certificates.iter().map(|certificate| certificate.host.to_string()).collect();
    assert_eq!(hosts, ["a.example", "*.b.example"]);
    let unnamed =
        WEB.to_owned() + &secret("cert", "pem") + &ingress("i", "", &format!("rules: [{rules}], tls: [{{secretName: cert}}]"));
    assert_eq!(of(&unnamed).certificates.len(), 3, "without hosts it is for those of the rules");
    let second = text("")
        + &secret("other", "pem")
        + &ingress("j", "", &format!("{DEFAULT}, tls: [{{hosts: [a.example], secretName: other}}]"));
    let conflict = of(&second).conflicts.pop_first().unwrap();
    assert_eq!(conflict.message, "a.example is served with the certificate of Secret shop/cert, not of Secret shop/other");
    let missing = WEB.to_owned() + &ingress("i", "", &format!("rules: [{rules}], {tls}"));
    assert!(of(&missing).certificates.is_empty() && shown(&missing).iter().all(|line| !line.ends_with("https")));
}

fn told(world: &World, name: &str) -> Option<Arc<IngressTable>> {
    world.agents[&node(name)].ingress.clone()
}

fn with_certificate(text: &str) -> String {
    let spec =
        format!("rules: [{}], tls: [{{hosts: [a.example], secretName: cert}}]", rule("a.example", "/", "Prefix", "{number: 80}"));
    WEB.to_owned() + &secret("cert", text) + &ingress("i", "", &spec)
}

#[test]
fn only_nodes_that_serve_ingress_are_told_and_a_changed_secret_makes_a_new_table() {
    let mut world = World::new(&["n1", "n2"]);
    world.agents.get_mut(&node("n1")).unwrap().serves_ingress = true;
    world.hello(&node("n1"));
    world.load(desired(&with_certificate("old"), "r1"), &[]);
    world.seconds(1);
    let first = told(&world, "n1").unwrap();
    assert_eq!((first.routes.len(), first.certificates[0].key.expose()), (1, &b"old"[..]));
    assert_eq!(told(&world, "n2"), None);
    world.load(desired(&with_certificate("old"), "r2"), &[]);
    world.seconds(1);
    assert_eq!(told(&world, "n1").unwrap().version, first.version, "nothing has changed");
    world.load(desired(&with_certificate("new"), "r3"), &[]);
    world.seconds(1);
    let second = told(&world, "n1").unwrap();
    assert!(second.version > first.version && second.certificates[0].key.expose() == b"new");
    assert_eq!(told(&world, "n2"), None);
    world.core.check().expect("as from scratch");
}

#[test]
fn a_node_that_has_not_taken_the_table_is_told_again_and_a_later_reign_tells_a_later_one() {
    let mut world = World::new(&["n1"]);
    world.agents.get_mut(&node("n1")).unwrap().serves_ingress = true;
    world.greet();
    world.load(desired(&with_certificate("pem"), "r1"), &[]);
    world.seconds(1);
    let first = world.agents.get_mut(&node("n1")).unwrap().ingress.take().unwrap();
    world.hello(&node("n1"));
    assert_eq!(told(&world, "n1"), Some(Arc::clone(&first)));
    world.restart(false);
    world.greet();
    world.load(desired(&with_certificate("pem"), "r1"), &[]);
    world.seconds(20);
    assert!(told(&world, "n1").unwrap().version > first.version);
}

/// What a node has, by the text of the certificate; `None` if it was told nothing, and `nothing` if it was told that.
fn held(world: &World, name: &str) -> Option<String> {
    let table = told(world, name)?;
    let mut keys = table.certificates.iter().map(|certificate| String::from_utf8_lossy(certificate.key.expose()).into_owned());
    Some(keys.next().unwrap_or_else(|| "nothing".to_owned()))
}

/// The same with a Node manifest.
fn with_node(certificate: &str, name: &str, label: &str) -> String {
    let node = format!("---\napiVersion: v1\nkind: Node\nmetadata: {{name: {name}, labels: {{{label}}}}}\n");
    with_certificate(certificate) + &node
}

fn problems(world: &World) -> Vec<String> {
    let view = world.core.view();
    let problems = view.problems.iter();
    problems.filter(|one| one.message.contains("ngress")).map(|one| format!("{}: {}", one.about, one.message)).collect()
}

const DENIED: &str =
    "node n1: its agent runs with --ingress, but without the label driftless.dev/ingress: \"true\" it serves none";

#[test]
fn a_host_that_joined_is_handed_keys_only_with_the_label_of_its_token_or_of_git_and_not_on_its_own_word() {
    let mut world = World::new(&["n1", "n2"]);
    world.join("n1", "key", &[]);
    world.join("n2", "key", &[("driftless.dev/ingress", "true")]);
    for name in ["n1", "n2"] {
        world.agents.get_mut(&node(name)).unwrap().serves_ingress = true;
        let own = BTreeMap::from([("driftless.dev/ingress".to_owned(), "true".to_owned())]);
        world.hello_with(&node(name), own);
    }
    world.load(desired(&with_certificate("one"), "r1"), &[]);
    world.seconds(1);
    assert_eq!((held(&world, "n1"), held(&world, "n2").as_deref()), (None, Some("one")));
    assert_eq!(problems(&world), [DENIED]);
    world.load(desired(&with_node("one", "n1", "driftless.dev/ingress: \"true\""), "r2"), &[]);
    world.seconds(1);
    assert_eq!(held(&world, "n1").as_deref(), Some("one"), "git lets it");
    assert!(problems(&world).is_empty());
    world.load(desired(&with_node("two", "n1", "other: x"), "r3"), &[]);
    world.seconds(1);
    assert_eq!((held(&world, "n1").as_deref(), held(&world, "n2").as_deref()), (Some("nothing"), Some("two")));
    world.load(desired(&with_node("two", "n1", "driftless.dev/ingress: \"true\""), "r4"), &[]);
    world.seconds(1);
    assert_eq!(held(&world, "n1").as_deref(), Some("two"), "as often as it changes");
    world.core.check().expect("as from scratch");
}

#[test]
fn git_can_keep_the_agent_beside_the_controller_from_serving_too_and_says_if_nobody_does() {
    let mut world = World::new(&["n1"]);
    world.agents.get_mut(&node("n1")).unwrap().serves_ingress = true;
    world.greet();
    world.load(desired(&with_node("pem", "n1", "driftless.dev/ingress: \"false\""), "r1"), &[]);
    world.seconds(1);
    assert_eq!(held(&world, "n1"), None);
    assert_eq!(problems(&world), [DENIED, "Ingress shop/i: no node serves Ingress"]);
}
