//! Events to nodes: anchors, aliases, merge keys, duplicates, tags.

use super::events::{DEPTH_MAX, Event, Events, SyntaxError};
use super::{Composed, Data, Entry, Mark, Node, scalar};
use std::collections::BTreeMap;

/// Bytes, roughly, that aliases may add to a file. Manifests use a few kilobytes; a bomb is refused before it is built.
const ALIAS_BUDGET_BYTES: usize = 8 << 20;

/// What a node costs beside its text.
const NODE_BYTES: usize = 64;

/// A key that is written twice in one mapping.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Duplicate {
    pub(crate) key: String,
    pub(crate) at: Mark,
    pub(crate) first: Mark,
    /// Whether both have the same value, so that it does not matter which one counts.
    pub(crate) is_same: bool,
}

/// A node that an alias can stand for, with what a copy costs.
struct Anchored {
    node: Node,
    bytes: usize,
    depth: usize,
}

/// A composed node with its cost and depth.
struct Built {
    node: Node,
    bytes: usize,
    depth: usize,
}

/// Composes the documents of a stream.
pub(super) struct Composer<E> {
    events: E,
    anchors: BTreeMap<usize, Anchored>,
    alias_bytes: usize,
    duplicates: Vec<Duplicate>,
}

type Composition<T> = Result<T, SyntaxError>;

impl<E: Events> Composer<E> {
    pub(super) fn new(events: E) -> Self {
        Self { events, anchors: BTreeMap::new(), alias_bytes: 0, duplicates: Vec::new() }
    }

    /// The next document; `None` at the end.
    pub(super) fn document(&mut self) -> Composition<Option<Composed>> {
        loop {
            let (event, at) = self.events.next_event()?;
            match event {
                Event::End => return Ok(None),
                Event::DocumentStart => self.anchors.clear(),
                Event::DocumentEnd => {}
                event @ (Event::Scalar { .. }
                | Event::ListStart { .. }
                | Event::ListEnd
                | Event::MapStart { .. }
                | Event::MapEnd
                | Event::Alias(_)) => {
                    let root = self.node(event, at, 0)?.node;
                    return Ok(Some(Composed { root, duplicates: std::mem::take(&mut self.duplicates) }));
                }
            }
        }
    }

    fn node(&mut self, event: Event, at: Mark, level: usize) -> Composition<Built> {
        if level > DEPTH_MAX {
            return Err(too_deep(at));
        }
        let (anchor, built) = match event {
            Event::Alias(anchor) => return self.alias(anchor, at, level),
            Event::Scalar { text, plain, anchor, tag } => {
                let bytes = NODE_BYTES + text.len();
                let data = scalar_data(text, plain, tag.as_deref(), at)?;
                (anchor, Built { node: Node { at, data }, bytes, depth: 1 })
            }
            Event::ListStart { anchor, tag } => {
                refuse_tag(tag.as_deref(), "seq", at)?;
                (anchor, self.list(at, level)?)
            }
            Event::MapStart { anchor, tag } => {
                refuse_tag(tag.as_deref(), "map", at)?;
                (anchor, self.map(at, level)?)
            }
            Event::DocumentStart | Event::DocumentEnd | Event::ListEnd | Event::MapEnd | Event::End => {
                return Err(SyntaxError { at, message: "the document ends in the middle of a value".to_owned() });
            }
        };
        if anchor != 0 {
            let kept = Anchored { node: built.node.clone(), bytes: built.bytes, depth: built.depth };
            self.anchors.insert(anchor, kept);
        }
        Ok(built)
    }

    fn alias(&mut self, anchor: usize, at: Mark, level: usize) -> Composition<Built> {
        let Some(target) = self.anchors.get(&anchor) else {
            return Err(SyntaxError { at, message: "an alias inside the value that it stands for".to_owned() });
        };
        self.alias_bytes = self.alias_bytes.saturating_add(target.bytes);
        if self.alias_bytes > ALIAS_BUDGET_BYTES {
            let message = format!("aliases expand to more than {} MiB", ALIAS_BUDGET_BYTES >> 20);
            return Err(SyntaxError { at, message });
        }
        if level + target.depth > DEPTH_MAX {
            return Err(too_deep(at));
        }
        // The alias is where the reader must look, not the anchor; deeper nodes keep their own place.
        let node = Node { at, data: target.node.data.clone() };
        Ok(Built { node, bytes: target.bytes, depth: target.depth })
    }

    fn list(&mut self, at: Mark, level: usize) -> Composition<Built> {
        let (mut items, mut bytes, mut depth) = (Vec::new(), NODE_BYTES, 0);
        loop {
            let (event, item_at) = self.events.next_event()?;
            if matches!(event, Event::ListEnd) {
                return Ok(Built { node: Node { at, data: Data::List(items) }, bytes, depth: depth + 1 });
            }
            let item = self.node(event, item_at, level + 1)?;
            bytes += item.bytes;
            depth = depth.max(item.depth);
            items.push(item.node);
        }
    }

    fn map(&mut self, at: Mark, level: usize) -> Composition<Built> {
        let mut map = Mapping::default();
        let (mut bytes, mut depth) = (NODE_BYTES, 0);
        loop {
            let (event, key_at) = self.events.next_event()?;
            if matches!(event, Event::MapEnd) {
                let entries = map.finish(&mut self.duplicates);
                return Ok(Built { node: Node { at, data: Data::Map(entries) }, bytes, depth: depth + 1 });
            }
            let is_merge = matches!(&event, Event::Scalar { text, plain: true, tag: None, .. } if text == "<<");
            let key = self.node(event, key_at, level + 1)?;
            let (event, value_at) = self.events.next_event()?;
            let value = self.node(event, value_at, level + 1)?;
            bytes += key.bytes + value.bytes;
            depth = depth.max(value.depth);
            if is_merge {
                map.merge(value.node)?;
            } else {
                map.written.push(Entry { key: key_text(key.node)?, key_at, value: value.node });
            }
        }
    }
}

/// A mapping under construction: what is written wins over what is merged in.
#[derive(Default)]
struct Mapping {
    written: Vec<Entry>,
    merged: Vec<Entry>,
}

impl Mapping {
    fn merge(&mut self, value: Node) -> Composition<()> {
        let Node { at, data } = value;
        match data {
            Data::Map(entries) => self.merged.extend(entries),
            Data::List(items) => {
                for item in items {
                    let Data::Map(entries) = item.data else { return Err(bad_merge(item.at)) };
                    self.merged.extend(entries);
                }
            }
            Data::Null | Data::Bool(_) | Data::Number(_) | Data::Text(_) => return Err(bad_merge(at)),
        }
        Ok(())
    }

    fn finish(self, duplicates: &mut Vec<Duplicate>) -> Vec<Entry> {
        let mut seen: BTreeMap<String, usize> = BTreeMap::new();
        let mut entries: Vec<Entry> = Vec::with_capacity(self.written.len() + self.merged.len());
        for entry in self.written {
            if let Some(first) = seen.get(&entry.key).and_then(|index| entries.get(*index)) {
                let is_same = first.value.means_the_same(&entry.value);
                duplicates.push(Duplicate { key: entry.key, at: entry.key_at, first: first.key_at, is_same });
                continue;
            }
            seen.insert(entry.key.clone(), entries.len());
            entries.push(entry);
        }
        for entry in self.merged {
            if !seen.contains_key(&entry.key) {
                seen.insert(entry.key.clone(), entries.len());
                entries.push(entry);
            }
        }
        entries
    }
}

fn too_deep(at: Mark) -> SyntaxError {
    SyntaxError { at, message: format!("nested deeper than {DEPTH_MAX} levels") }
}

fn bad_merge(at: Mark) -> SyntaxError {
    SyntaxError { at, message: "a merge key (<<) wants a mapping or a list of mappings".to_owned() }
}

/// A key as JSON has it: numbers and booleans become texts, as sigs.k8s.io/yaml turns them.
fn key_text(key: Node) -> Composition<String> {
    match key.data {
        Data::Text(text) => Ok(text),
        Data::Bool(value) => Ok(value.to_string()),
        Data::Number(number) => Ok(number.to_string()),
        Data::Null => Err(SyntaxError { at: key.at, message: "a key is empty".to_owned() }),
        Data::List(_) | Data::Map(_) => Err(SyntaxError { at: key.at, message: "a key is not a text".to_owned() }),
    }
}

fn scalar_data(text: String, plain: bool, tag: Option<&str>, at: Mark) -> Composition<Data> {
    let mismatch = |wanted: &str| SyntaxError { at, message: format!("tagged as {wanted}, but it is not one") };
    match tag {
        None if plain && scalar::is_not_finite(&text) => {
            Err(SyntaxError { at, message: "infinity and NaN are no numbers in JSON; put a text in quotes".to_owned() })
        }
        None if plain => Ok(scalar::resolve(&text)),
        None | Some("str" | "!" | "!!timestamp") => Ok(Data::Text(text)),
        Some("int") => scalar::integer(&text).map(Data::Number).ok_or_else(|| mismatch("a whole number")),
        Some("float") => scalar::number(&text).map(Data::Number).ok_or_else(|| mismatch("a number")),
        Some(word @ ("bool" | "null")) => match (word, scalar::resolve(&text)) {
            ("bool", data @ Data::Bool(_)) | ("null", data @ Data::Null) => Ok(data),
            ("bool", _) => Err(mismatch("a boolean")),
            _ => Err(mismatch("null")),
        },
        Some(other) => Err(unknown_tag(other, at)),
    }
}

fn refuse_tag(tag: Option<&str>, allowed: &str, at: Mark) -> Composition<()> {
    match tag {
        Some(tag) if tag != allowed && tag != "!" => Err(unknown_tag(tag, at)),
        Some(_) | None => Ok(()),
    }
}

fn unknown_tag(tag: &str, at: Mark) -> SyntaxError {
    SyntaxError { at, message: format!("the tag {tag} is not known here") }
}
