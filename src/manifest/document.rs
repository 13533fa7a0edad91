//! One file to documents: each gets a verdict, and all its problems.

use super::findings::Findings;
use super::names::nearest;
use super::rendered::RenderedText;
use super::verdict::{self, Verdict};
use super::yaml::{self, Chunk, Composed, Data, Entry, Mark, Node};
use super::{templates, units};
use crate::model::{Location, Problem, Scope, Severity};
use std::borrow::Cow;
use std::sync::Arc;

/// How many keys that are there twice are listed.
const DUPLICATES_MAX: usize = 100;

/// The largest file that is read.
pub const FILE_BYTES_MAX: usize = 4 << 20;

/// What one file says: pure in (path, bytes), so that it can be kept by blob id and shared.
#[derive(Debug, Clone)]
pub struct ParsedFile(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    file: String,
    blob: String,
    documents: Vec<Document>,
    problems: Vec<Problem>,
}

impl ParsedFile {
    /// The path, relative to the watched path.
    #[must_use]
    pub fn file(&self) -> &str {
        &self.0.file
    }

    /// The git object id that it was read from.
    #[must_use]
    pub fn blob(&self) -> &str {
        &self.0.blob
    }

    /// Its documents, in order; the items of a `List` count one by one.
    pub(crate) fn documents(&self) -> &[Document] {
        &self.0.documents
    }

    /// Problems of the file as a whole.
    pub(crate) fn problems(&self) -> &[Problem] {
        &self.0.problems
    }
}

/// One document.
#[derive(Debug)]
pub(crate) struct Document {
    /// Its number in the file, from 0; items of a `List` share it.
    pub(crate) index: usize,
    pub(crate) api_version: String,
    pub(crate) kind: String,
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) verdict: Verdict,
    pub(crate) problems: Vec<Problem>,
}

/// Reads one file.
#[must_use]
pub fn parse(file: &str, blob: &str, bytes: &[u8]) -> ParsedFile {
    let reader = Reader { file, namespace: "default", rendered: None };
    let (documents, problems) = match text_of(bytes) {
        Ok(text) => reader.documents(text),
        Err((message, hint)) => (Vec::new(), vec![reader.problem(Mark::default(), message, Some(hint))]),
    };
    ParsedFile(Arc::new(Inner { file: file.to_owned(), blob: blob.to_owned(), documents, problems }))
}

/// Reads what a folder rendered to. Places are lines of the rendered text; problems say where a document came from as well.
#[must_use]
pub fn parse_rendered(folder: &str, blob: &str, rendered: &RenderedText) -> ParsedFile {
    let reader = Reader { file: folder, namespace: &rendered.namespace, rendered: Some(rendered) };
    let (mut documents, problems) = reader.documents(&rendered.text);
    for problem in documents.iter_mut().flat_map(|document| &mut document.problems) {
        if let Some(origin) = rendered.origin_at(problem.at.line) {
            let from = format!("it comes from {origin}");
            problem.hint = Some(problem.hint.take().map_or_else(|| from.clone(), |hint| format!("{hint}; {from}")));
        }
    }
    ParsedFile(Arc::new(Inner { file: folder.to_owned(), blob: blob.to_owned(), documents, problems }))
}

/// The text of a file, or why it has none and what to do.
pub(super) fn text_of(bytes: &[u8]) -> Result<&str, (String, String)> {
    if bytes.len() > FILE_BYTES_MAX {
        let message = format!("the file is larger than {} MiB", FILE_BYTES_MAX >> 20);
        return Err((message, "a manifest is never that large; list it in .driftlessignore if it is something else".to_owned()));
    }
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    if bytes.starts_with(b"version https://git-lfs.github.com/spec/") {
        let hint = "commit the manifest itself: git lfs untrack it".to_owned();
        return Err(("the file is a git LFS pointer, not a manifest".to_owned(), hint));
    }
    std::str::from_utf8(bytes).map_err(|error| {
        let message = format!("the file is not UTF-8 text (byte {})", error.valid_up_to());
        (message, "save it as UTF-8, or list it in .driftlessignore".to_owned())
    })
}

/// What a document calls itself.
pub(super) struct Header {
    pub(super) api_version: String,
    pub(super) kind: String,
    pub(super) namespace: String,
    pub(super) name: String,
}

impl Header {
    fn of(node: &Node) -> Self {
        let text = |node: Option<&Node>, key: &str| node.and_then(|node| node.text(key)).unwrap_or_default().to_owned();
        let meta = node.get("metadata");
        Self {
            api_version: text(Some(node), "apiVersion"),
            kind: text(Some(node), "kind"),
            namespace: text(meta, "namespace"),
            name: text(meta, "name"),
        }
    }
}

/// The fields of a List.
const LIST_FIELDS: [&str; 4] = ["apiVersion", "kind", "metadata", "items"];

/// The items of a `List` or of a `DeploymentList` and its like. Another kind whose name ends alike has its fields below `spec`.
fn items_of<'n>(root: &'n Node, header: &Header) -> Option<&'n [Node]> {
    let is_plain = header.kind == "List" && header.api_version == "v1";
    let is_of_kind = header.kind.ends_with("List") && header.kind != "List" && root.get("items").is_some();
    if !is_plain && !is_of_kind {
        return None;
    }
    match root.get("items").map(|items| &items.data) {
        Some(Data::List(items)) => Some(items),
        Some(Data::Null | Data::Bool(_) | Data::Number(_) | Data::Text(_) | Data::Map(_)) | None => Some(&[]),
    }
}

/// The items of a `DeploymentList` need not say that they are Deployments.
fn with_kind_of<'n>(item: &'n Node, list: &Header, at: Mark) -> Cow<'n, Node> {
    let Some(kind) = list.kind.strip_suffix("List").filter(|kind| !kind.is_empty()) else { return Cow::Borrowed(item) };
    let Data::Map(entries) = &item.data else { return Cow::Borrowed(item) };
    let missing =
        [("apiVersion", list.api_version.as_str()), ("kind", kind)].into_iter().filter(|(key, _)| item.get(key).is_none());
    let said = missing.map(|(key, text)| {
        let value = Node { at, data: Data::Text(text.to_owned()) };
        Entry { key: key.to_owned(), key_at: at, value }
    });
    Cow::Owned(Node { at: item.at, data: Data::Map(said.chain(entries.iter().cloned()).collect()) })
}

struct Reader<'a> {
    file: &'a str,
    /// The namespace of objects that name none.
    namespace: &'a str,
    /// What is read, if a tool has printed it.
    rendered: Option<&'a RenderedText>,
}

impl Reader<'_> {
    fn documents(&self, text: &str) -> (Vec<Document>, Vec<Problem>) {
        if let Some(tool) = units::rendered_by(self.file).filter(|_| self.rendered.is_none()) {
            return (vec![self.unrendered(tool)], Vec::new());
        }
        let mut documents = Vec::new();
        for chunk in yaml::chunks(text) {
            let (composed, error) = yaml::read(chunk.text, chunk.first_line);
            for document in composed {
                self.document(&chunk, &document, &mut documents);
            }
            if let Some(error) = error {
                documents.push(self.broken(&chunk, error));
            }
        }
        (documents, Vec::new())
    }

    fn problem(&self, at: Mark, message: String, hint: Option<String>) -> Problem {
        let at = Location { file: self.file.to_owned(), line: at.line, column: at.column };
        Problem { at, path: String::new(), severity: Severity::Error, scope: Scope::Document, message, hint }
    }

    /// A kustomization or a chart as it is written: nothing to apply by itself.
    fn unrendered(&self, tool: units::Renderer) -> Document {
        let message = format!("this is for {} and was not rendered", tool.name());
        let hint = "`driftless validate --render` checks what it renders to".to_owned();
        let problem = Problem { severity: Severity::Warning, ..self.problem(Mark::default(), message, Some(hint)) };
        let header =
            Header { api_version: String::new(), kind: tool.kind().to_owned(), namespace: String::new(), name: String::new() };
        finish(0, header, Verdict::Ignored, vec![problem])
    }

    /// A document that is not YAML. A parser's message may quote the text, so where a Secret may be it is not repeated.
    fn broken(&self, chunk: &Chunk<'_>, error: yaml::SyntaxError) -> Document {
        let message = if may_hold_secret(chunk.text) {
            "not valid YAML from here on".to_owned()
        } else {
            format!("not valid YAML: {}", error.message)
        };
        let problem = self.problem(error.at, message, self.syntax_hint(chunk, error.at));
        let header = Header { api_version: String::new(), kind: String::new(), namespace: String::new(), name: String::new() };
        finish(chunk.index, header, Verdict::Rejected, vec![problem])
    }

    /// What to say where a file looks like a template. What a tool has printed is none, whatever is in it.
    fn template_hint(&self, text: &str) -> Option<&'static str> {
        if self.rendered.is_none() { templates::hint_of_document(text) } else { None }
    }

    /// What to do about a document that is not YAML.
    fn syntax_hint(&self, chunk: &Chunk<'_>, at: Mark) -> Option<String> {
        if let Some(hint) = self.template_hint(chunk.text) {
            return Some(hint.to_owned());
        }
        let index = usize::try_from(at.line.saturating_sub(chunk.first_line)).ok()?;
        let line = chunk.text.lines().nth(index)?;
        line.trim_start_matches([' ', '-']).starts_with('\t').then(|| "indent with spaces: YAML takes no tabs there".to_owned())
    }

    fn document(&self, chunk: &Chunk<'_>, composed: &Composed, documents: &mut Vec<Document>) {
        let root = &composed.root;
        if root.data == Data::Null {
            return;
        }
        let first = documents.len();
        let header = Header::of(root);
        match items_of(root, &header) {
            Some(items) => {
                documents.extend(self.unread_of_list(chunk, root, &header));
                for (index, item) in items.iter().enumerate() {
                    let item = with_kind_of(item, &header, root.at);
                    documents.push(self.object(chunk, &item, format!("items[{index}].")));
                }
            }
            None => documents.push(self.object(chunk, root, String::new())),
        }
        if !composed.duplicates.is_empty() {
            if first == documents.len() {
                documents.push(finish(chunk.index, header, Verdict::Ignored, Vec::new()));
            }
            self.report_duplicates(composed, &mut documents[first]);
        }
    }

    /// A List has items and nothing else; what else is written there would be lost.
    fn unread_of_list(&self, chunk: &Chunk<'_>, root: &Node, header: &Header) -> Option<Document> {
        let mut findings = Findings::new(self.file, root, String::new(), may_hold_secret(chunk.text));
        let Data::Map(entries) = &root.data else { return None };
        for entry in entries.iter().filter(|entry| !LIST_FIELDS.contains(&entry.key.as_str())) {
            let hint = nearest(&entry.key, LIST_FIELDS).map(|meant| format!("did you mean {meant}?"));
            findings.error_at_key("", &entry.key, "is not a known field of a List", hint);
        }
        if !matches!(root.get("items").map(|items| &items.data), None | Some(Data::Null | Data::List(_))) {
            findings.error("/items", "must be a list", None);
        }
        let header = Header {
            api_version: header.api_version.clone(),
            kind: header.kind.clone(),
            namespace: String::new(),
            name: String::new(),
        };
        findings.has_errors().then(|| finish(chunk.index, header, Verdict::Rejected, findings.into_problems()))
    }

    fn report_duplicates(&self, composed: &Composed, document: &mut Document) {
        let (same, other): (Vec<_>, Vec<_>) = composed.duplicates.iter().partition(|duplicate| duplicate.is_same);
        for duplicate in other.into_iter().chain(same).take(DUPLICATES_MAX) {
            let with = if duplicate.is_same { ", with the same value" } else { "" };
            let message = format!("the key {:?} is there twice, first on line {}{with}", duplicate.key, duplicate.first.line);
            let mut problem = self.problem(duplicate.at, message, Some("keep one of them".to_owned()));
            if duplicate.is_same {
                problem.severity = Severity::Warning;
            }
            document.problems.push(problem);
        }
        if composed.duplicates.iter().any(|duplicate| !duplicate.is_same) {
            document.verdict = Verdict::Rejected;
        }
        document.problems.sort();
    }

    /// One object, sorted by its kind.
    fn object(&self, chunk: &Chunk<'_>, node: &Node, prefix: String) -> Document {
        let mut header = Header::of(node);
        let is_secret = header.kind == "Secret" || (header.kind.is_empty() && may_hold_secret(chunk.text));
        let mut findings = Findings::new(self.file, node, prefix, is_secret);
        let verdict = if header.api_version.is_empty() && header.kind.is_empty() {
            findings.warning("", "no apiVersion and kind: not a manifest, passed over".to_owned(), None);
            Verdict::Ignored
        } else {
            verdict::judge(node, &mut header, self.namespace, &mut findings)
        };
        let mut problems = findings.into_problems();
        if let Some(hint) = self.template_hint(chunk.text) {
            for problem in problems.iter_mut().filter(|problem| problem.is_error() && problem.hint.is_none()) {
                problem.hint = Some(hint.to_owned());
            }
        }
        finish(chunk.index, header, verdict, problems)
    }
}

fn finish(index: usize, header: Header, verdict: Verdict, problems: Vec<Problem>) -> Document {
    let Header { api_version, kind, namespace, name } = header;
    Document { index, api_version, kind, namespace, name, verdict, problems }
}

fn may_hold_secret(text: &str) -> bool {
    text.contains("Secret")
}
