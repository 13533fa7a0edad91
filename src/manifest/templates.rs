//! Manifests that still want rendering: which tool's marks a text has, and what to say.

/// The marks of one tool.
struct Marks {
    /// Whether a text has them.
    found: fn(&str) -> bool,
    hint: &'static str,
}

/// The most telling marks first.
const TOOLS: [Marks; 6] = [
    Marks {
        found: |text| {
            ["{{ .Values", "{{- ", "{{.Values", ".Release.", ".Chart.", "{{ include", "{{ template"]
                .iter()
                .any(|mark| text.contains(mark))
        },
        hint: "this looks like a Helm template: commit what `helm template` prints, or the whole chart with its Chart.yaml",
    },
    Marks { found: |text| text.contains("{%"), hint: "this looks like a Jinja template (Ansible): commit what it renders to" },
    Marks {
        found: |text| text.contains("{{ .") || text.contains("{{."),
        hint: "this looks like a Go template: commit what it renders to",
    },
    Marks {
        found: |text| text.contains("{{"),
        hint: "this looks like a template (Jinja, Mustache, Helm): commit what it renders to",
    },
    Marks {
        found: |text| has_variable(text),
        hint: "this looks like a placeholder (envsubst, Flux postBuild): commit what envsubst prints, or set it with kustomize",
    },
    Marks { found: |text| text.contains("#@ "), hint: "this looks like a ytt template: commit what `ytt -f` prints" },
];

/// Which tool renders this, and what to do, if the text has the marks of one.
pub(crate) fn hint(text: &str) -> Option<&'static str> {
    TOOLS.iter().find(|tool| (tool.found)(text)).map(|tool| tool.hint)
}

/// The same for a whole document, where shell text may have `${…}` for good reasons: only marks that no YAML value has.
pub(crate) fn hint_of_document(text: &str) -> Option<&'static str> {
    let bare = |mark: &str| text.lines().any(|line| line.trim_start().starts_with(mark) || line.contains(&format!(": {mark}")));
    if ["{{", "{%"].into_iter().any(bare) { hint(text) } else { None }
}

/// `${NAME}`, `${NAME:-default}`.
fn has_variable(text: &str) -> bool {
    text.match_indices("${").any(|(at, _)| text[at + 2..].starts_with(|c: char| c.is_ascii_alphabetic() || c == '_'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tool_is_named_that_renders_a_text() {
        for (text, tool) in [
            ("{{ .Values.image }}", "Helm"),
            ("{{- if .Values.x }}", "Helm"),
            ("{{ include \"app.labels\" . }}", "Helm"),
            ("{% if x %}", "Jinja"),
            ("{{ image_tag }}", "Jinja"),
            ("{{ .Env.NAME }}", "Go template"),
            ("repo/${IMAGE}:1", "envsubst"),
            ("${TAG:-latest}", "envsubst"),
            ("#@ data.values.x", "ytt"),
        ] {
            assert!(hint(text).is_some_and(|hint| hint.contains(tool)), "{text}: {:?}", hint(text));
        }
        for text in ["plain", "$(VAR)", "$NAME", "${", "a{b}"] {
            assert_eq!(hint(text), None, "{text}");
        }
    }

    #[test]
    fn a_document_is_called_a_template_for_marks_outside_of_texts_only() {
        assert!(hint_of_document("a: {{ .Values.x }}\n").is_some());
        assert!(hint_of_document("{{- if .Values.x }}\na: 1\n").is_some());
        assert_eq!(hint_of_document("a: '{{ $labels.instance }}'\n"), None);
        assert_eq!(hint_of_document("a: \"${HOME}\"\n"), None);
    }
}
