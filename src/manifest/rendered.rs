//! What kustomize or helm printed, made ready to be read: where each document came from is noted, and what we asked for on top is
//! taken out again, so that a document is what it would have been without us.

use std::collections::BTreeMap;

/// Asks kustomize to note on every object where it came from.
pub const ASK_FOR_ORIGINS: &str = "\nbuildMetadata: [originAnnotations]\n";
/// The note.
const ORIGIN: &str = "    config.kubernetes.io/origin: ";
/// How helm notes the template of a document.
const SOURCE: &str = "# Source: ";

/// Rendered documents.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RenderedText {
    /// The documents.
    pub text: String,
    /// Where documents came from, by the line that they begin on: a path as the tool writes it, if it says.
    pub origins: BTreeMap<u32, Option<String>>,
    /// The namespace of objects that name none.
    pub namespace: String,
}

/// Takes kustomize's notes of origin out of its output. Kustomize prints annotations as `metadata:`, two spaces `annotations:`, four
/// spaces the key, so that no text of a user can be taken for one.
#[must_use]
pub fn without_origins(output: &str) -> RenderedText {
    let mut kept: Vec<&str> = Vec::new();
    let mut origins = BTreeMap::from([(1, None)]);
    let (mut first, mut in_meta, mut in_annotations, mut in_origin) = (1, false, false, false);
    for line in output.lines() {
        if in_origin {
            if line.starts_with("     ") {
                if let (Some(path), Some(slot @ None)) = (origin_of(line), origins.get_mut(&first)) {
                    *slot = Some(path.to_owned());
                }
                continue;
            }
            if !line.starts_with("    ") && kept.last() == Some(&"  annotations:") {
                kept.pop();
            }
        }
        if line == "---" {
            first = number(kept.len()) + 1;
            origins.insert(first, None);
        }
        if !line.starts_with(' ') {
            in_meta = line == "metadata:";
        }
        if !line.starts_with("   ") {
            in_annotations = in_meta && line == "  annotations:";
        }
        in_origin = in_annotations && line.starts_with(ORIGIN);
        if !in_origin {
            kept.push(line);
        }
    }
    if in_origin && kept.last() == Some(&"  annotations:") {
        kept.pop();
    }
    let mut text = kept.join("\n");
    if !text.is_empty() {
        text.push('\n');
    }
    RenderedText { text, origins, namespace: "default".to_owned() }
}

/// `path:` of a file, `configuredIn:` of what a generator made.
fn origin_of(line: &str) -> Option<&str> {
    let line = line.trim_start();
    line.strip_prefix("path: ").or_else(|| line.strip_prefix("configuredIn: "))
}

/// Notes what helm says about the templates of its output, which stays as it is.
#[must_use]
pub fn with_sources(output: String, namespace: &str) -> RenderedText {
    let (mut origins, mut first) = (BTreeMap::from([(1, None)]), 1);
    for (line, number) in output.lines().zip(1..) {
        if line == "---" {
            first = number;
            origins.insert(first, None);
        } else if let (Some(source), Some(slot @ None)) = (line.strip_prefix(SOURCE), origins.get_mut(&first)) {
            *slot = Some(source.to_owned());
        }
    }
    RenderedText { text: output, origins, namespace: namespace.to_owned() }
}

impl RenderedText {
    /// Where the document that holds a line came from.
    #[must_use]
    pub fn origin_at(&self, line: u32) -> Option<&str> {
        self.origins.range(..=line).next_back()?.1.as_deref()
    }
}

fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_of_origin_go_and_nothing_else_does() {
        let output = "apiVersion: v1\ndata:\n  x: |\n    metadata:\n      annotations:\n        config.kubernetes.io/origin: |\n          path: no\n\
                      kind: ConfigMap\nmetadata:\n  annotations:\n    config.kubernetes.io/origin: |\n      path: ../base/c.yaml\n  name: c\n\
                      ---\nkind: Secret\nmetadata:\n  annotations:\n    a: b\n    config.kubernetes.io/origin: |\n      configuredIn: k.yaml\n      \
                      configuredBy:\n        kind: SecretGenerator\n    z: |\n      config.kubernetes.io/origin: |\n  name: s\n";
        let rendered = without_origins(output);
        assert_eq!(
            rendered.text,
            "apiVersion: v1\ndata:\n  x: |\n    metadata:\n      annotations:\n        config.kubernetes.io/origin: |\n          path: no\n\
             kind: ConfigMap\nmetadata:\n  name: c\n\
             ---\nkind: Secret\nmetadata:\n  annotations:\n    a: b\n    z: |\n      config.kubernetes.io/origin: |\n  name: s\n"
        );
        assert_eq!(rendered.origin_at(9), Some("../base/c.yaml"));
        assert_eq!(rendered.origin_at(17), Some("k.yaml"));
    }

    #[test]
    fn a_document_without_a_note_has_no_origin() {
        let rendered = with_sources("---\n# Source: web/templates/a.yaml\na: b\n---\nc: d\n".to_owned(), "shop");
        assert_eq!(rendered.origin_at(3), Some("web/templates/a.yaml"));
        assert_eq!(rendered.origin_at(5), None);
    }

    #[test]
    fn output_without_notes_stays_as_it_is() {
        for output in ["", "a: b\n", "metadata:\n  annotations: {}\n  name: x\n---\na: b\n"] {
            assert_eq!(without_origins(output).text, output);
        }
    }
}
