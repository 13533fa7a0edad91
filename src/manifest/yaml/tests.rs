//! YAML in, nodes out: compared with what `kubectl label --local -o json` prints for the same text.

use super::*;
use proptest::prelude::*;
use serde_json::{Value, json};

/// The documents of a text, and the errors as `line:column message`.
fn read_all(text: &str) -> (Vec<Value>, Vec<String>) {
    let (mut values, mut errors) = (Vec::new(), Vec::new());
    for chunk in chunks(text) {
        let (documents, error) = read(chunk.text, chunk.first_line);
        for document in documents {
            values.push(document.root.to_value());
            let line = |d: &Duplicate| format!("{}:{} {} twice, first on {}", d.at.line, d.at.column, d.key, d.first.line);
            errors.extend(document.duplicates.iter().map(line));
        }
        errors.extend(error.map(|error| format!("{}:{} {}", error.at.line, error.at.column, error.message)));
    }
    (values, errors)
}

fn check(text: &str, expected: Value) {
    assert_eq!(read_all(text), (vec![expected], Vec::new()), "{text}");
}

fn check_error(text: &str, expected: &str) {
    let (_, errors) = read_all(text);
    assert!(errors.iter().any(|error| error.starts_with(expected)), "{text}\nwanted {expected}, got {errors:?}");
}

/// What kubectl itself said, asked once; `tests/contract/kubectl_yaml.rs` asks it again.
const KUBECTL: &str = include_str!("kubectl.tsv");

/// Numbers go through a float in kubectl, so they are compared as floats.
fn is_alike(ours: &Value, theirs: &Value) -> bool {
    match (ours, theirs) {
        (Value::Number(ours), Value::Number(theirs)) => ours.as_f64() == theirs.as_f64(),
        (Value::Array(ours), Value::Array(theirs)) => {
            ours.len() == theirs.len() && ours.iter().zip(theirs).all(|(ours, theirs)| is_alike(ours, theirs))
        }
        (Value::Object(ours), Value::Object(theirs)) => {
            ours.len() == theirs.len()
                && ours.iter().all(|(key, value)| theirs.get(key).is_some_and(|theirs| is_alike(value, theirs)))
        }
        (ours, theirs) => ours == theirs,
    }
}

#[test]
fn a_value_means_what_kubectl_makes_of_it() {
    let mut differences = Vec::new();
    for row in KUBECTL.lines().filter(|row| !row.starts_with("# ")) {
        let mut columns = row.split('\t');
        let (text, mut expected) = (columns.next().unwrap_or(""), columns.next().expect("a row has two columns"));
        if columns.next().is_some() {
            expected = "refused";
        }
        let (values, errors) = read_all(&format!("k: {text}\n"));
        let is_as_expected = match serde_json::from_str::<Value>(expected) {
            Ok(expected) => errors.is_empty() && values.len() == 1 && is_alike(&values[0]["k"], &expected),
            Err(_) => !errors.is_empty(),
        };
        if !is_as_expected {
            differences.push(format!("{text}: kubectl says {expected}, we say {values:?} {errors:?}"));
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

#[test]
fn keys_become_texts() {
    check("on: 1\n7: 2\n1.5: 3\nno: 4", json!({"true": 1, "7": 2, "1.5": 3, "false": 4}));
}

#[test]
fn files_of_any_layout_are_read() {
    check("a: 1\r\nb:\r\n- x\r\n", json!({"a": 1, "b": ["x"]}));
    check("a: |\r\n  x\r\n  y\r\nb: 1\r\n", json!({"a": "x\ny\n", "b": 1}));
    check("{\n\t\"a\": {\n\t\t\"b\": [1,\t2]\n\t}\n}\n", json!({"a": {"b": [1, 2]}}));
    check("%YAML 1.1\n---\na: 1\n...\n", json!({"a": 1}));
    check("%YAML 1.2\n---\na: 1\n...\n", json!({"a": 1}));
    check("--- # one\na: 1", json!({"a": 1}));
    check("a: [x,\n b\n]\nc: {d: 1,\n e: 2,}\n", json!({"a": ["x", "b"], "c": {"d": 1, "e": 2}}));
    check("a: >\n  x\n  y\n\n  z\nb: |+\n  k\n\nc: |-\n  s\n", json!({"a": "x y\nz\n", "b": "k\n\n", "c": "s"}));
    check("a: \"x\\\n  y\"\nb: \"x\n  y\"\n", json!({"a": "xy", "b": "x y"}));
    check("a: http://x:80/y # z\nb: 'x'\nc: a#c\n", json!({"a": "http://x:80/y", "b": "x", "c": "a#c"}));
    assert_eq!(read_all("---\n---\n# nothing\n---\n").0, Vec::<Value>::new());
    assert_eq!(read_all("a: 1\n---\n\n---\nb: 2\n--- {c: 3}\n").0, [json!({"a": 1}), json!({"b": 2}), json!({"c": 3})]);
    assert_eq!(read_all("{\"a\": 1}\n{\"b\": 2}\n").0, [json!({"a": 1}), json!({"b": 2})]);
    assert_eq!(read_all("a: |\n  x\n---\nb: 2\n---\t\nc: 3\n").0, [json!({"a": "x\n"}), json!({"b": 2}), json!({"c": 3})]);
}

#[test]
fn tabs_are_read_where_kubectl_reads_them() {
    check("a:\t1\t# x\nb: 1\t\n", json!({"a": 1, "b": 1}));
    check("a: |\n  x\n  \ty\n", json!({"a": "x\n\ty\n"}));
    check("a: x\n  \ty\n", json!({"a": "x y"}));
    check_error("a:\n\tb: 1\n", "2:");
}

#[test]
fn documents_are_counted_as_yaml_counts_them() {
    let index = |text: &str| chunks(text).iter().map(|chunk| (chunk.index, chunk.first_line)).collect::<Vec<_>>();
    assert_eq!(index("a: 1"), [(0, 1)]);
    assert_eq!(index("# licence\n---\na: 1\n---\nb: 1\n"), [(0, 1), (1, 4)]);
    assert_eq!(index("---\n# empty\n---\na: 1\n---\n---\nb: 1\n"), [(1, 3), (3, 6)]);
}

#[test]
fn every_key_and_value_knows_its_place() {
    let (documents, _) = read("\n\na:\n  - b: x\n    'c/d':  [1, 2]\n", 10);
    let root = &documents[0].root;
    for (pointer, line, column, path) in [
        ("/a", 12, 1, "a"),
        ("/a/0/b", 13, 8, "a[0].b"),
        ("/a/0/c~1d", 14, 5, "a[0]['c/d']"),
        ("/a/0/c~1d/1", 14, 17, "a[0]['c/d'][1]"),
        ("/a/0/missing", 13, 5, "a[0].missing"),
    ] {
        assert_eq!(root.locate(pointer), (Mark { line, column }, path.to_owned()), "{pointer}");
    }
    assert_eq!(root.locate_key("/a/0", "b").0, Mark { line: 13, column: 5 });
}

#[test]
fn columns_count_characters() {
    let (documents, _) = read("k: {ä: 1, b: 2}", 1);
    assert_eq!(documents[0].root.locate("/k/b").0, Mark { line: 1, column: 14 });
}

#[test]
fn a_key_that_is_there_twice_is_named_at_the_second() {
    check_error("a: 1\nb: 2\na: 3\n", "3:1 a twice, first on 1");
    check_error("x: {on: 1, 'true': 2}", "1:12 true twice, first on 1");
}

#[test]
fn anchors_and_merge_keys_are_expanded() {
    check("a: &x {k: 1}\nb: *x\n", json!({"a": {"k": 1}, "b": {"k": 1}}));
    check("a: &x {k: 1, l: 1}\nb:\n  <<: *x\n  k: 2\n", json!({"a": {"k": 1, "l": 1}, "b": {"k": 2, "l": 1}}));
    check(
        "a: &x {k: 1}\nb: &y {k: 2, l: 2}\nc: {<<: [*x, *y]}",
        json!({"a": {"k": 1}, "b": {"k": 2, "l": 2}, "c": {"k": 1, "l": 2}}),
    );
    check_error("a: *nothing", "1:4 ");
    check_error("a: &x [*x]", "1:8 an alias inside the value that it stands for");
    check_error("<<: 5", "1:5 a merge key (<<) wants a mapping");
}

#[test]
fn a_syntax_error_costs_one_document_only() {
    let (values, errors) = read_all("a: 1\n---\nb: [\n---\nc: 3\n");
    assert_eq!(values, [json!({"a": 1}), json!({"c": 3})]);
    assert_eq!(errors.len(), 1, "{errors:?}");
}

#[test]
fn what_kubectl_cannot_read_is_refused() {
    for (text, expected) in [
        ("a: !Ref b", "1:"),
        ("a: !!int x", "1:"),
        ("? [a]\n: b", "1:3 a key is not a text"),
        ("{{ .Values.x }}: 1", "1:"),
        ("a:\n\tb: 1", "2:"),
        ("a: 'b", "1:"),
    ] {
        check_error(text, expected);
    }
}

#[test]
fn a_bomb_of_aliases_is_refused() {
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let alias = format!("*a{}", level - 1);
        bomb += &format!("a{level}: &a{level} [{}]\n", [alias.as_str(); 9].join(", "));
    }
    check_error(&bomb, "6:10 aliases expand");
    let long = format!("a: &a {}\nb: [{}]\n", "x".repeat(1 << 20), vec!["*a"; 100].join(", "));
    check_error(&long, "2:");
}

#[test]
fn depth_is_bounded_in_every_notation() {
    check_error(&"[".repeat(100_000), "1:");
    check_error(&"- ".repeat(5_000), "1:");
    check_error(&"{a: ".repeat(5_000), "1:");
    let mut chain = format!("a0: &a0 {}{}\n", "[".repeat(60), "]".repeat(60));
    chain += &format!("a1: &a1 {}*a0{}\n", "[".repeat(60), "]".repeat(60));
    check_error(&chain, "2:");
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "\\PC{0,200}", yaml in "[-:{}\\[\\],&*!|>'\"%@`#?~<a0 \n\t]{0,200}") {
        read_all(&text);
        read_all(&yaml);
    }

    #[test]
    fn json_reads_as_itself(keys in prop::collection::btree_map("\\PC{0,8}", prop::collection::vec("\\PC{0,8}", 0..4), 0..6)) {
        let value = json!(keys);
        let (values, errors) = read_all(&format!("{value:#}"));
        prop_assert_eq!(errors, Vec::<String>::new());
        prop_assert_eq!(values, vec![value]);
    }
}
