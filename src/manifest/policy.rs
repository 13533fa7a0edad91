//! `driftless.yaml`: what shapes desired, read alike by the controller and by `plan` in CI.

use super::names::nearest;
use super::yaml::{self, Data, Node};
use crate::model::{Location, Policy, Problem, Scope, Severity};
use std::time::Duration;

/// The keys at the top, and those of `prune`.
const KEYS: [&str; 5] = ["atomic", "ignore", "ignoreKinds", "prune", "replaceAfter"];
const PRUNE_KEYS: [&str; 4] = ["maxWorkloadPercent", "minWorkloads", "maxObjects", "approve"];

/// Reads the policy. With an error the defaults are returned for what could not be read, and `load` holds every unit.
#[must_use]
pub fn read_policy(file: &str, bytes: &[u8]) -> (Policy, Vec<Problem>) {
    let mut reader = PolicyReader { file, problems: Vec::new() };
    let policy = reader.read(bytes);
    (policy, reader.problems)
}

struct PolicyReader<'a> {
    file: &'a str,
    problems: Vec<Problem>,
}

impl PolicyReader<'_> {
    fn error(&mut self, node: Option<&Node>, path: &str, message: impl Into<String>, hint: Option<String>) {
        let at = node.map(|node| node.at).unwrap_or_default();
        self.problems.push(Problem {
            at: Location { file: self.file.to_owned(), line: at.line, column: at.column },
            path: path.to_owned(),
            severity: Severity::Error,
            scope: Scope::Document,
            message: message.into(),
            hint,
        });
    }

    fn read(&mut self, bytes: &[u8]) -> Policy {
        let mut policy = Policy::default();
        let Ok(text) = std::str::from_utf8(bytes) else {
            self.error(None, "", "the file is not UTF-8 text", None);
            return policy;
        };
        let (documents, error) = yaml::read(text, 1);
        if let Some(error) = error {
            let place = Node { at: error.at, data: Data::Null };
            self.error(Some(&place), "", format!("not valid YAML: {}", error.message), None);
        }
        let Some(document) = documents.first() else { return policy };
        for duplicate in &document.duplicates {
            let place = Node { at: duplicate.at, data: Data::Null };
            self.error(Some(&place), &duplicate.key, format!("the key {:?} is there twice", duplicate.key), None);
        }
        let root = &document.root;
        if root.data == Data::Null {
            return policy;
        }
        self.check_keys(root, "", &KEYS);
        self.boolean(root, "atomic", &mut policy.atomic);
        self.texts(root, "", "ignore", &mut policy.ignore);
        self.texts(root, "", "ignoreKinds", &mut policy.ignore_kinds);
        self.duration(root, "replaceAfter", &mut policy.replace_after);
        if let Some(prune) = root.get("prune") {
            self.check_keys(prune, "prune.", &PRUNE_KEYS);
            self.number(prune, "maxWorkloadPercent", 100, &mut policy.prune.max_workload_percent);
            self.number(prune, "minWorkloads", u32::MAX, &mut policy.prune.min_workloads);
            self.number(prune, "maxObjects", u32::MAX, &mut policy.prune.max_objects);
            self.texts(prune, "prune.", "approve", &mut policy.prune.approve);
        }
        policy
    }

    fn check_keys(&mut self, node: &Node, prefix: &str, known: &[&str]) {
        let Data::Map(entries) = &node.data else {
            self.error(Some(node), prefix.trim_end_matches('.'), "must be a mapping", None);
            return;
        };
        for entry in entries.iter().filter(|entry| !known.contains(&entry.key.as_str())) {
            let place = Node { at: entry.key_at, data: Data::Null };
            let path = format!("{prefix}{}", entry.key);
            let hint = nearest(&entry.key, known.iter().copied())
                .map_or_else(|| format!("known are {}", known.join(", ")), |meant| format!("did you mean {meant}?"));
            self.error(Some(&place), &path, format!("{path} is not a known field"), Some(hint));
        }
    }

    fn boolean(&mut self, node: &Node, key: &str, target: &mut bool) {
        match node.get(key).map(|value| (value, &value.data)) {
            None | Some((_, Data::Null)) => {}
            Some((_, Data::Bool(value))) => *target = *value,
            Some((value, _)) => self.error(Some(value), key, format!("{key} must be true or false"), None),
        }
    }

    fn number(&mut self, node: &Node, key: &str, max: u32, target: &mut u32) {
        let Some(value) = node.get(key) else { return };
        let number = match &value.data {
            Data::Null => return,
            Data::Number(number) => number.as_u64().and_then(|number| u32::try_from(number).ok()).filter(|number| *number <= max),
            Data::Bool(_) | Data::Text(_) | Data::List(_) | Data::Map(_) => None,
        };
        match number {
            Some(number) => *target = number,
            None => self.error(
                Some(value),
                &format!("prune.{key}"),
                format!("prune.{key} must be a whole number from 0 to {max}"),
                None,
            ),
        }
    }

    fn texts(&mut self, node: &Node, prefix: &str, key: &str, target: &mut Vec<String>) {
        let Some(value) = node.get(key) else { return };
        let path = format!("{prefix}{key}");
        let items: &[Node] = match &value.data {
            Data::Null => &[],
            Data::List(items) => items,
            Data::Bool(_) | Data::Number(_) | Data::Text(_) | Data::Map(_) => {
                self.error(Some(value), &path, format!("{path} must be a list of texts"), None);
                return;
            }
        };
        for item in items {
            match &item.data {
                Data::Text(text) => target.push(text.clone()),
                Data::Null | Data::Bool(_) | Data::Number(_) | Data::List(_) | Data::Map(_) => {
                    self.error(Some(item), &path, format!("{path} must be a list of texts"), None);
                }
            }
        }
    }

    fn duration(&mut self, node: &Node, key: &str, target: &mut Duration) {
        let Some(value) = node.get(key) else { return };
        let seconds = match &value.data {
            Data::Null => return,
            Data::Number(number) => number.as_u64(),
            Data::Text(text) => seconds_of(text),
            Data::Bool(_) | Data::List(_) | Data::Map(_) => None,
        };
        match seconds.filter(|seconds| (10..=7 * 86_400).contains(seconds)) {
            Some(seconds) => *target = Duration::from_secs(seconds),
            None => self.error(Some(value), key, format!("{key} must be a time from 10s to 168h, such as 90s or 5m"), None),
        }
    }
}

/// `90s`, `5m`, `2h`, `1h30m`.
fn seconds_of(text: &str) -> Option<u64> {
    let (mut total, mut rest) = (0_u64, text.trim());
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let (number, tail) = rest.split_at(digits);
        let factor = match tail.chars().next()? {
            's' => 1,
            'm' => 60,
            'h' => 3600,
            _ => return None,
        };
        total = total.checked_add(number.parse::<u64>().ok()?.checked_mul(factor)?)?;
        rest = &tail[1..];
    }
    (total > 0).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_is_read_and_every_mistake_in_it_is_named() {
        let text = "atomic: true\nignore: [docs/]\nignoreKinds:\n- Certificate.cert-manager.io\nreplaceAfter: 1m30s\n\
                    prune: {maxObjects: 3, approve: [Deployment/shop/web]}\n";
        let (policy, problems) = read_policy("driftless.yaml", text.as_bytes());
        assert_eq!(problems, []);
        assert!(policy.atomic);
        assert_eq!(policy.ignore, ["docs/"]);
        assert_eq!(policy.ignore_kinds, ["Certificate.cert-manager.io"]);
        assert_eq!(policy.replace_after, Duration::from_secs(90));
        assert_eq!((policy.prune.max_objects, policy.prune.min_workloads), (3, 5));
        assert_eq!(policy.prune.approve, ["Deployment/shop/web"]);

        let text = "atomc: yes\nprune:\n  maxObjects: many\nreplaceAfter: soon\n";
        let (_, problems) = read_policy("driftless.yaml", text.as_bytes());
        let lines: Vec<String> = problems.iter().map(|p| format!("{}:{} {}", p.at.line, p.at.column, p.message)).collect();
        assert_eq!(
            lines,
            [
                "1:1 atomc is not a known field",
                "4:15 replaceAfter must be a time from 10s to 168h, such as 90s or 5m",
                "3:15 prune.maxObjects must be a whole number from 0 to 4294967295",
            ]
        );
        assert_eq!(problems[0].hint.as_deref(), Some("did you mean atomic?"));
    }

    #[test]
    fn an_empty_policy_is_the_default_one() {
        for text in ["", "# nothing\n", "---\n"] {
            assert_eq!(read_policy("driftless.yaml", text.as_bytes()), (Policy::default(), Vec::new()), "{text:?}");
        }
    }
}
