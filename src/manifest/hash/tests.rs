//! The contract of the template hash. A golden value here changes only with a new contract version: every pod of every cluster
//! would be replaced.

use super::*;
use crate::manifest::yaml;

fn template(text: &str) -> Value {
    let (documents, error) = yaml::read(text, 1);
    assert_eq!(error, None);
    documents[0].root.to_value()
}

fn hash(text: &str) -> String {
    template_hash(&template(text), &ConfigDigests::new()).as_str().to_owned()
}

const PLAIN: &str = "
metadata: {labels: {app: web}}
spec:
  containers:
  - name: web
    image: nginx:1.27
    ports: [{containerPort: 80}]
    resources: {requests: {cpu: 500m, memory: 1Gi}}
";

#[test]
fn the_hash_of_a_known_template_is_the_known_one() {
    assert_eq!(hash(PLAIN), "297f92c5e8fe95205e9b52c15d84666e2e06741c");
    let digests = ConfigDigests::from([
        ("ConfigMap/settings".to_owned(), config_map_digest(&BTreeMap::from([("A".to_owned(), b"1".to_vec())]))),
        (
            "Secret/token".to_owned(),
            secret_digest(&BTreeMap::from([("B".to_owned(), SecretBytes::new(b"2".to_vec()))]), &DigestKey::new([7; 32])),
        ),
    ]);
    assert_eq!(template_hash(&template(PLAIN), &digests).as_str(), "73d36149051156257375c400c40f42bb93e987c6");
}

/// Every default of the table that a template can write, spelt out.
const EXPLICIT: &str = "
spec:
  volumes: []
  nodeSelector: {}
  restartPolicy: Always
  enableServiceLinks: true
  terminationGracePeriodSeconds: 30
  containers:
  - resources: {limits: {}, requests: {memory: 1024Mi, cpu: '0.5'}}
    ports: [{containerPort: 80, protocol: TCP}]
    command: []
    env: []
    image: nginx:1.27
    name: web
metadata: {annotations: {}, labels: {app: web}, creationTimestamp: null, name: web}
";

#[test]
fn defaults_order_and_spelling_do_not_count() {
    assert_eq!(hash(EXPLICIT), hash(PLAIN));
    let spellings = [("cpu: 500m", "cpu: 0.5"), ("cpu: 500m", "cpu: 5e-1"), ("memory: 1Gi", "memory: 1073741824")];
    for (from, to) in spellings {
        assert_eq!(hash(&PLAIN.replace(from, to)), hash(PLAIN), "{to}");
    }
}

#[test]
fn defaults_within_probes_volumes_and_references_do_not_count() {
    let short = "{spec: {containers: [{name: a, image: b, readinessProbe: {httpGet: {port: 80}}, \
                 envFrom: [{configMapRef: {name: c}}]}], volumes: [{name: v, secret: {secretName: s}}, {name: w, emptyDir: {}}]}}";
    let long = "{spec: {containers: [{name: a, image: b, readinessProbe: {httpGet: {port: 80, path: /, scheme: HTTP}, \
                periodSeconds: 10, timeoutSeconds: 1, successThreshold: 1, failureThreshold: 3, initialDelaySeconds: 0}, \
                envFrom: [{configMapRef: {name: c, optional: false}, prefix: ''}]}], \
                volumes: [{name: v, secret: {secretName: s, defaultMode: 0644, optional: false, items: []}}, {name: w, emptyDir: {medium: ''}}]}}";
    assert_eq!(hash(short), hash(long));
}

#[test]
fn everything_else_that_is_written_counts() {
    let changes = [
        ("nginx:1.27", "nginx:1.28"),
        ("app: web", "app: api"),
        ("containerPort: 80", "containerPort: 81"),
        ("containerPort: 80", "containerPort: 80, protocol: UDP"),
        ("cpu: 500m", "cpu: 501m"),
        ("spec:", "spec:\n  terminationGracePeriodSeconds: 31"),
        ("spec:", "spec:\n  serviceAccountName: web"),
        ("image:", "args: [a]\n    image:"),
        ("image:", "command: [a]\n    image:"),
    ];
    let mut hashes: Vec<String> = changes.iter().map(|(from, to)| hash(&PLAIN.replace(from, to))).collect();
    hashes.push(hash(PLAIN));
    let count = hashes.len();
    hashes.sort();
    hashes.dedup();
    assert_eq!(hashes.len(), count, "two different templates share a hash");
}

#[test]
fn a_changed_config_changes_the_hash_and_a_secret_depends_on_the_key() {
    let hash = |name: &str, digest: String| template_hash(&template(PLAIN), &ConfigDigests::from([(name.to_owned(), digest)]));
    let map = |text: &str| config_map_digest(&BTreeMap::from([("k".to_owned(), text.as_bytes().to_vec())]));
    assert_ne!(hash("ConfigMap/c", map("1")), hash("ConfigMap/c", map("2")));
    assert_ne!(hash("ConfigMap/c", map("1")), hash("ConfigMap/d", map("1")));
    let data = BTreeMap::from([("k".to_owned(), SecretBytes::new(b"1".to_vec()))]);
    let secret = |key: [u8; 32]| secret_digest(&data, &DigestKey::new(key));
    assert_ne!(secret([1; 32]), secret([2; 32]));
    assert_ne!(secret([1; 32]), map("1"));
}

#[test]
fn parts_cannot_be_shifted_into_each_other() {
    let map = |key: &str, text: &str| config_map_digest(&BTreeMap::from([(key.to_owned(), text.as_bytes().to_vec())]));
    assert_ne!(map("ab", "c"), map("a", "bc"));
}
