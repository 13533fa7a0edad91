//! The node tree.

use serde_json::{Map, Number, Value};

/// A place in a file: line and column from 1, columns in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Mark {
    pub(crate) line: u32,
    pub(crate) column: u32,
}

/// A value and where it is written.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    pub(crate) at: Mark,
    pub(crate) data: Data,
}

/// What a node holds.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Data {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// One entry of a mapping; keys are texts, as in JSON.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) key_at: Mark,
    pub(crate) value: Node,
}

impl Node {
    /// The node as JSON. Depth is bounded by the composer.
    pub(crate) fn to_value(&self) -> Value {
        match &self.data {
            Data::Null => Value::Null,
            Data::Bool(value) => Value::Bool(*value),
            Data::Number(number) => Value::Number(number.clone()),
            Data::Text(text) => Value::String(text.clone()),
            Data::List(items) => Value::Array(items.iter().map(Node::to_value).collect()),
            Data::Map(entries) => Value::Object(
                entries.iter().map(|entry| (entry.key.clone(), entry.value.to_value())).collect::<Map<String, Value>>(),
            ),
        }
    }

    /// Whether another node holds the same, wherever it is written. It costs no more than the smaller of the two.
    pub(crate) fn means_the_same(&self, other: &Node) -> bool {
        match (&self.data, &other.data) {
            (Data::List(items), Data::List(others)) => {
                items.len() == others.len() && items.iter().zip(others).all(|(item, other)| item.means_the_same(other))
            }
            (Data::Map(entries), Data::Map(others)) => {
                let is_alike =
                    |(entry, other): (&Entry, &Entry)| entry.key == other.key && entry.value.means_the_same(&other.value);
                entries.len() == others.len() && entries.iter().zip(others).all(is_alike)
            }
            (data, other) => data == other,
        }
    }

    /// The entry of a mapping with this key.
    pub(crate) fn entry(&self, key: &str) -> Option<&Entry> {
        match &self.data {
            Data::Map(entries) => entries.iter().find(|entry| entry.key == key),
            Data::Null | Data::Bool(_) | Data::Number(_) | Data::Text(_) | Data::List(_) => None,
        }
    }

    /// The value of a mapping's key.
    pub(crate) fn get(&self, key: &str) -> Option<&Node> {
        self.entry(key).map(|entry| &entry.value)
    }

    /// The text of a mapping's key, if it is one.
    pub(crate) fn text(&self, key: &str) -> Option<&str> {
        match &self.get(key)?.data {
            Data::Text(text) => Some(text),
            Data::Null | Data::Bool(_) | Data::Number(_) | Data::List(_) | Data::Map(_) => None,
        }
    }

    /// Where a JSON pointer leads, and the pointer as people write it (`spec.containers[0].image`). A step that does not exist ends
    /// the walk at its parent: a missing field is reported at the mapping that lacks it.
    pub(crate) fn locate(&self, pointer: &str) -> (Mark, String) {
        let (mut here, mut at, mut path) = (Some(self), self.at, String::new());
        for step in pointer.split('/').skip(1) {
            let step = step.replace("~1", "/").replace("~0", "~");
            let data = here.map(|node| &node.data);
            if let Some(Data::List(items)) = data {
                path.push_str(&format!("[{step}]"));
                here = step.parse::<usize>().ok().and_then(|index| items.get(index));
                at = here.map_or(at, |node| node.at);
                continue;
            }
            push_key(&mut path, &step);
            let entry = here.and_then(|node| node.entry(&step));
            at = entry.map_or(at, |entry| if is_scalar(&entry.value) { entry.value.at } else { entry.key_at });
            here = entry.map(|entry| &entry.value);
        }
        (at, path)
    }

    /// Where the last key of a pointer is written, rather than its value.
    pub(crate) fn locate_key(&self, parent: &str, key: &str) -> (Mark, String) {
        let pointer = format!("{parent}/{}", escape(key));
        let (at, path) = self.locate(&pointer);
        let entry = self.pointed(parent).and_then(|node| node.entry(key));
        (entry.map_or(at, |entry| entry.key_at), path)
    }

    /// What a JSON pointer leads to.
    pub(crate) fn pointed(&self, pointer: &str) -> Option<&Node> {
        pointer.split('/').skip(1).try_fold(self, |node, step| match &node.data {
            Data::List(items) => items.get(step.parse::<usize>().ok()?),
            Data::Map(_) => node.get(&step.replace("~1", "/").replace("~0", "~")),
            Data::Null | Data::Bool(_) | Data::Number(_) | Data::Text(_) => None,
        })
    }
}

fn is_scalar(node: &Node) -> bool {
    !matches!(node.data, Data::List(_) | Data::Map(_) | Data::Null)
}

fn push_key(path: &mut String, key: &str) {
    if key.len() <= 80 && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-') {
        if !path.is_empty() {
            path.push('.');
        }
        path.push_str(key);
    } else {
        // A hostile key must not fill the log.
        let shown: String = key.chars().take(80).filter(|c| !c.is_control()).collect();
        path.push_str(&format!("['{shown}']"));
    }
}

/// A key as a step of a JSON pointer (RFC 6901).
pub(crate) fn escape(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}
