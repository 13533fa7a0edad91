//! Label and field selectors as query parameters write them:
//! <https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#api> and
//! <https://kubernetes.io/docs/concepts/overview/working-with-objects/field-selectors/>.

use super::super::refusal::Refusal;
use serde_json::Value;

/// What a list keeps.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Selector {
    labels: Vec<Requirement>,
    fields: Vec<(String, bool, String)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Requirement {
    key: String,
    test: Test,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Test {
    In(Vec<String>),
    NotIn(Vec<String>),
    Exists,
    Absent,
}

/// The fields that can be selected by.
const FIELDS: [&str; 15] = [
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "status.phase",
    "status.podIP",
    "spec.nodeName",
    "spec.restartPolicy",
    "involvedObject.kind",
    "involvedObject.name",
    "involvedObject.namespace",
    "involvedObject.uid",
    "involvedObject.apiVersion",
    "reason",
    "type",
    "source",
];

impl Selector {
    /// Reads both parameters.
    ///
    /// # Errors
    /// 400 when one cannot be read, or a field cannot be selected by.
    pub(super) fn parse(labels: Option<&str>, fields: Option<&str>) -> Result<Selector, Refusal> {
        let labels = split_outside_parentheses(labels.unwrap_or(""));
        let labels = labels.into_iter().map(requirement).collect::<Result<_, _>>()?;
        let fields = fields.unwrap_or("").split(',').map(str::trim).filter(|term| !term.is_empty());
        let fields = fields.map(field_term).collect::<Result<_, _>>()?;
        Ok(Selector { labels, fields })
    }

    /// The name that `metadata.name=` asks for, so that a list can look only there.
    pub(super) fn exact_name(&self) -> Option<&str> {
        let found = self.fields.iter().find(|(path, equal, _)| path == "metadata.name" && *equal);
        found.map(|(_, _, value)| value.as_str())
    }

    /// True if the object is kept.
    pub(super) fn takes(&self, object: &Value) -> bool {
        self.labels.iter().all(|requirement| requirement.holds(&object["metadata"]["labels"]))
            && self.fields.iter().all(|(path, equal, value)| (text_at(object, path) == value.as_str()) == *equal)
    }
}

/// The text of a field, empty if it is absent, as Kubernetes compares it.
fn text_at<'a>(object: &'a Value, path: &str) -> &'a str {
    let mut at = object;
    for part in path.split('.') {
        at = &at[part];
    }
    at.as_str().unwrap_or("")
}

fn field_term(term: &str) -> Result<(String, bool, String), Refusal> {
    let (path, equal, value) = match (term.split_once("!="), term.split_once("=")) {
        (Some((path, value)), _) => (path, false, value),
        (None, Some((path, value))) => (path, true, value.strip_prefix('=').unwrap_or(value)),
        (None, None) => {
            return Err(Refusal::bad_request(format!("invalid field selector {term:?}: write field=value or field!=value")));
        }
    };
    if !FIELDS.contains(&path) {
        return Err(Refusal::bad_request(format!("field label not supported: {path}; supported are {}", FIELDS.join(", "))));
    }
    Ok((path.into(), equal, value.into()))
}

/// `a in (b,c),d` has two terms.
fn split_outside_parentheses(text: &str) -> Vec<&str> {
    let mut depth = 0_u32;
    let terms = text.split(|c: char| {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == ',' && depth == 0
    });
    terms.map(str::trim).filter(|term| !term.is_empty()).collect()
}

fn requirement(term: &str) -> Result<Requirement, Refusal> {
    let invalid = || Refusal::bad_request(format!("unable to parse requirement in label selector: {term:?}"));
    let (key, test) = if let Some((key, value)) = term.split_once("!=") {
        (key, Test::NotIn(vec![value.trim().into()]))
    } else if let Some((key, value)) = term.split_once('=') {
        (key, Test::In(vec![value.strip_prefix('=').unwrap_or(value).trim().into()]))
    } else if let Some((key, values)) = term.split_once(" notin ") {
        (key, Test::NotIn(value_set(values).ok_or_else(invalid)?))
    } else if let Some((key, values)) = term.split_once(" in ") {
        (key, Test::In(value_set(values).ok_or_else(invalid)?))
    } else if let Some(key) = term.strip_prefix('!') {
        (key, Test::Absent)
    } else {
        (term, Test::Exists)
    };
    let key = key.trim();
    if key.is_empty() || key.contains([' ', '(', ')', '=', '!']) {
        return Err(invalid());
    }
    Ok(Requirement { key: key.into(), test })
}

fn value_set(text: &str) -> Option<Vec<String>> {
    let inner = text.trim().strip_prefix('(')?.strip_suffix(')')?;
    Some(inner.split(',').map(|value| value.trim().to_owned()).collect())
}

impl Requirement {
    fn holds(&self, labels: &Value) -> bool {
        let value = labels[&self.key].as_str();
        match &self.test {
            Test::In(values) => value.is_some_and(|value| values.iter().any(|wanted| wanted == value)),
            Test::NotIn(values) => value.is_none_or(|value| values.iter().all(|unwanted| unwanted != value)),
            Test::Exists => value.is_some(),
            Test::Absent => value.is_none(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn takes(labels: &str, fields: &str) -> bool {
        let object = json!({
            "metadata": { "name": "web-1", "namespace": "shop", "labels": { "app": "web", "tier": "front" } },
            "status": { "phase": "Running" },
        });
        Selector::parse(Some(labels), Some(fields)).unwrap().takes(&object)
    }

    #[test]
    fn label_selectors_read_as_kubernetes_documents_them() {
        for selector in [
            "",
            "app=web",
            "app==web",
            "app!=api",
            "app in (api, web),tier",
            "tier notin (back)",
            "!gone",
            "gone!=x",
            "app,tier=front",
        ] {
            assert!(takes(selector, ""), "{selector}");
        }
        for selector in ["app=api", "app!=web", "app in (api)", "tier notin (front,back)", "!app", "gone", "app=web,tier=back"] {
            assert!(!takes(selector, ""), "{selector}");
        }
    }

    #[test]
    fn field_selectors_compare_texts() {
        assert!(takes("", "metadata.name=web-1,status.phase==Running,metadata.namespace!=other"));
        assert!(!takes("", "status.phase!=Running"));
        assert!(takes("", "spec.nodeName="));
    }

    #[test]
    fn a_selector_that_makes_no_sense_is_refused_and_never_matches_everything() {
        for labels in ["a in b", "=x", "a b", "a in (x"] {
            assert!(Selector::parse(Some(labels), None).is_err(), "{labels}");
        }
        for fields in ["metadata.name", "spec.secret=x"] {
            assert!(Selector::parse(None, Some(fields)).is_err(), "{fields}");
        }
    }
}
