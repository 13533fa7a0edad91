//! Text to spanned nodes, as kubectl reads YAML.
//!
//! In: the text of a file. Out: its documents as [`Node`]s in which every key and value knows its line and column, scalars resolved
//! as sigs.k8s.io/yaml does (YAML 1.1: `yes` is a boolean, `0644` is octal), duplicate keys named, aliases and merge keys expanded
//! within a budget.
//!
//! Invariants: depth and size of a node are bounded whatever the text is, so that later recursion is safe; a syntax error costs only
//! the document it is in. Deliberately absent: any knowledge of Kubernetes, and reading straight into structs, which would hide `yes`
//! where a text is wanted.

mod compose;
mod events;
mod node;
mod scalar;
mod stream;

pub(crate) use compose::Duplicate;
pub(crate) use events::SyntaxError;
pub(crate) use node::{Data, Entry, Mark, Node, escape};
pub(crate) use stream::{Chunk, chunks};

/// What one document of a stream holds.
#[derive(Debug)]
pub(crate) struct Composed {
    /// Its root.
    pub(crate) root: Node,
    /// Keys that are written twice; the first value was kept.
    pub(crate) duplicates: Vec<Duplicate>,
}

/// Reads a chunk of YAML that begins on line `first_line` of its file. An error ends the chunk; documents before it are kept.
pub(crate) fn read(text: &str, first_line: u32) -> (Vec<Composed>, Option<SyntaxError>) {
    let mut composer = compose::Composer::new(events::Granit::new(text, first_line));
    let mut documents = Vec::new();
    loop {
        match composer.document() {
            Ok(Some(document)) => documents.push(document),
            Ok(None) => return (documents, None),
            Err(error) => return (documents, Some(error)),
        }
    }
}

#[cfg(test)]
mod tests;
