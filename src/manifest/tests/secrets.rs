//! Values of Secrets stay out of every message and of what is shown.

use super::documents::judge;
use super::*;

const MARKER: &str = "hunter2";

#[test]
fn no_problem_of_a_secret_quotes_a_value() {
    let head = "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\n";
    let encoded = "aHVudGVyMg";
    let bad = [
        format!("data: {{p: '{MARKER}!'}}\n"),
        format!("data: {{p: {encoded}=x}}\n"),
        format!("data: [{MARKER}]\n"),
        format!("data: {MARKER}\n"),
        format!("stringData: {{p: [{MARKER}]}}\n"),
        "stringData: {p: 31337}\n".to_owned(),
        format!("stringData: {{p: '{MARKER}', p: '{MARKER}!'}}\n"),
        format!("type: [{MARKER}]\n"),
        format!("stringData:\n  p: *{MARKER}\n"),
        format!("stringData:\n  p: !{MARKER} x\n"),
        format!("stringData:\n  p: \"{MARKER}\n"),
        format!("stringData:\n\tp: {MARKER}\n"),
        format!("stringData: {{p: {{{{ {MARKER} }}}}}}\n"),
        format!("metadata: {MARKER}\n"),
    ];
    for text in bad {
        let judged = judge(&format!("{head}{text}"));
        assert!(judged.starts_with("Rejected"), "{text}: {judged}");
        for leaked in [MARKER, encoded, "31337"] {
            assert!(!judged.contains(leaked), "{text}: {judged}");
        }
    }
}

#[test]
fn the_values_of_a_secret_in_a_list_are_not_quoted_either() {
    for list in ["List", "SecretList"] {
        for body in [
            "stringData: {p: [hunter2]}",
            "data: {p: 'hunter2!'}",
            "stringData: {p: '{{ hunter2 }}', p: hunter2}",
            "data: hunter2",
        ] {
            let item = if list == "List" { "apiVersion: v1, kind: Secret, " } else { "" };
            let judged = judge(&format!("apiVersion: v1\nkind: {list}\nitems:\n- {{{item}metadata: {{name: s}}, {body}}}\n"));
            assert!(judged.starts_with("Rejected") && !judged.contains("hunter2"), "{body}: {judged}");
        }
    }
}

#[test]
fn what_is_shown_of_a_secret_has_no_value() {
    let text = format!(
        "apiVersion: v1\nkind: Secret\nmetadata:\n  name: s\n  annotations: {{kubectl.kubernetes.io/last-applied-configuration: {MARKER}}}\n\
         data: {{a: aHVudGVyMg==}}\nstringData: {{b: {MARKER}}}\n"
    );
    let loaded = loaded(&tree("r1", &[("a/s.yaml", &text)]), &Good::new());
    let object = loaded.desired.objects.values().next().expect("a Secret");
    let crate::model::Body::Secret(data) = &object.body else { panic!("a Secret") };
    assert_eq!(data["a"].expose(), MARKER.as_bytes());
    let shown = format!("{:?} {loaded:?}", object.written);
    assert!(!shown.contains(MARKER) && !shown.contains("aHVudGVyMg"), "{shown}");
    assert_eq!(object.written["data"]["a"], "<redacted>");
}
