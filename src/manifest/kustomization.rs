//! What a kustomization refers to, and what in it cannot be rendered: read from its text, before anything runs.
//!
//! Only that is read which decides what a build may see and whether it may run at all; everything else is kustomize's own business.

use super::yaml::{self, Data, Mark, Node};
use crate::model::{Location, Problem, Scope, Severity};

/// Fields that list other kustomizations, or files.
const LISTS: [&str; 3] = ["resources", "bases", "components"];
/// Fields that list files, or configuration of built-in plugins.
const PLUGINS: [&str; 3] = ["generators", "transformers", "validators"];
/// Fields that list files, as texts or as mappings with a `path`.
const FILES: [&str; 6] = ["patches", "patchesStrategicMerge", "patchesJson6902", "replacements", "crds", "configurations"];
/// What a kustomization of a plugin that kustomize has inside calls itself.
const BUILTIN: &str = "builtin";
/// The annotation that makes a document a program to run.
const FUNCTION: &str = "config.kubernetes.io/function";

/// A kustomization as far as it matters here.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Kustomization {
    /// What it names of others: kustomizations, files, URLs.
    pub references: Vec<Mention>,
    /// What keeps it from being rendered.
    pub problems: Vec<Problem>,
    /// It is a `Component`, which means nothing without the kustomization that uses it.
    pub is_component: bool,
    /// It says itself what kustomize adds about the build, or is written so that nothing can be appended to it.
    pub is_closed: bool,
    /// The keys at its top and where they are.
    keys: Vec<(String, Mark)>,
}

/// A reference to something else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mention {
    /// As written.
    pub text: String,
    /// Where.
    pub at: Location,
    /// Whether it may be a folder with a kustomization.
    pub may_be_folder: bool,
}

impl Kustomization {
    /// Where a field at the top is written.
    #[must_use]
    pub fn place_of(&self, file: &str, key: &str) -> Option<Location> {
        self.keys.iter().find(|(name, _)| name == key).map(|(_, at)| location(file, *at))
    }
}

/// Reads a kustomization. `file` is its path, for places.
#[must_use]
pub fn read_kustomization(file: &str, bytes: &[u8]) -> Kustomization {
    let mut reader = Reader { file, found: Kustomization::default() };
    let text = String::from_utf8_lossy(bytes);
    let (documents, error) = yaml::read(&text, 1);
    if let Some(error) = error {
        reader.refuse(error.at, format!("not valid YAML: {}", error.message), None);
    }
    for document in &documents {
        reader.document(&document.root);
    }
    reader.found.is_closed |= documents.len() != 1 || text.trim_start().starts_with('{') || text.contains("\n...");
    reader.found
}

/// Refuses the configuration of a plugin that is not built into kustomize.
#[must_use]
pub fn read_plugin(file: &str, bytes: &[u8]) -> Vec<Problem> {
    let mut reader = Reader { file, found: Kustomization::default() };
    for document in yaml::read(&String::from_utf8_lossy(bytes), 1).0 {
        reader.plugin(&document.root);
    }
    reader.found.problems
}

/// The values of the Secrets that a file holds, so that they can be kept out of messages. Short ones are words of any text.
#[must_use]
pub fn secret_texts(bytes: &[u8]) -> Vec<String> {
    const CHARS_MIN: usize = 4;
    let text = String::from_utf8_lossy(bytes);
    if !text.contains("Secret") && !text.contains("secretGenerator") {
        return Vec::new();
    }
    let mut found = Vec::new();
    for document in yaml::read(&text, 1).0 {
        let root = &document.root;
        if root.text("kind") == Some("Secret") {
            ["data", "stringData"].iter().filter_map(|key| root.get(key)).for_each(|data| texts(data, &mut found));
        }
        for generator in root.get("secretGenerator").map_or(&[][..], items) {
            generator.get("literals").into_iter().for_each(|literals| texts(literals, &mut found));
        }
    }
    let values = found.iter().filter_map(|text| text.split_once('=')).map(|(_, value)| value.to_owned());
    let all: Vec<String> = values.collect::<Vec<_>>().into_iter().chain(found).collect();
    all.into_iter().filter(|text| text.chars().count() >= CHARS_MIN).collect()
}

fn texts(node: &Node, found: &mut Vec<String>) {
    match &node.data {
        Data::Text(text) => found.push(text.clone()),
        Data::List(items) => items.iter().for_each(|item| texts(item, found)),
        Data::Map(entries) => entries.iter().for_each(|entry| texts(&entry.value, found)),
        Data::Null | Data::Bool(_) | Data::Number(_) => {}
    }
}

/// Whether a text names something that is fetched from elsewhere, if no file has this name.
/// <https://github.com/kubernetes-sigs/kustomize/blob/master/examples/remoteBuild.md>
#[must_use]
pub fn is_remote(text: &str) -> bool {
    let first = text.split('/').next().unwrap_or_default();
    text.contains("://")
        || text.contains("?ref=")
        || text.starts_with("git::")
        || (first.contains('@') && first.contains(':'))
        || (text.contains('/') && first.contains('.') && !first.starts_with('.') && !first.ends_with(".yaml"))
}

struct Reader<'a> {
    file: &'a str,
    found: Kustomization,
}

impl Reader<'_> {
    fn refuse(&mut self, at: Mark, message: String, hint: Option<&str>) {
        self.found.problems.push(Problem {
            at: location(self.file, at),
            path: String::new(),
            severity: Severity::Error,
            scope: Scope::Document,
            message,
            hint: hint.map(str::to_owned),
        });
    }

    fn document(&mut self, root: &Node) {
        let Data::Map(entries) = &root.data else { return };
        self.found.keys.extend(entries.iter().map(|entry| (entry.key.clone(), entry.key_at)));
        self.found.is_component |= root.text("kind") == Some("Component");
        self.found.is_closed |= root.get("buildMetadata").is_some();
        for entry in entries {
            let items = items(&entry.value);
            match entry.key.as_str() {
                key if LISTS.contains(&key) => items.iter().for_each(|item| self.mention(item, true)),
                key if FILES.contains(&key) => items.iter().for_each(|item| self.file(item)),
                key if PLUGINS.contains(&key) => items.iter().for_each(|item| self.plugin_entry(item)),
                "configMapGenerator" | "secretGenerator" => items.iter().for_each(|item| self.generator(item)),
                "openapi" => self.file(&entry.value),
                "helmCharts" | "helmChartInflationGenerator" => self.refuse(
                    entry.key_at,
                    format!("{} would fetch a chart while rendering, which is not done", entry.key),
                    Some("commit the chart: a folder with a Chart.yaml is rendered with helm; or commit what `kustomize build --enable-helm` prints"),
                ),
                _ => {}
            }
        }
    }

    fn mention(&mut self, node: &Node, may_be_folder: bool) {
        if let Data::Text(text) = &node.data
            && !text.contains('\n')
        {
            let at = location(self.file, node.at);
            self.found.references.push(Mention { text: text.clone(), at, may_be_folder });
        }
    }

    /// A file by its name, or in the `path` of a mapping.
    fn file(&mut self, node: &Node) {
        self.mention(node.get("path").unwrap_or(node), false);
    }

    /// The files of a generator; one may be written as `key=file`.
    fn generator(&mut self, node: &Node) {
        let lists = ["files", "envs"].into_iter().filter_map(|key| node.get(key)).flat_map(items);
        for item in lists.chain(node.get("env")) {
            if let Data::Text(text) = &item.data {
                let file = text.split_once('=').map_or(text.as_str(), |(_, file)| file).to_owned();
                self.mention(&Node { at: item.at, data: Data::Text(file) }, false);
            }
        }
    }

    /// A plugin: in a file, or written in place as YAML in a text.
    fn plugin_entry(&mut self, node: &Node) {
        match &node.data {
            Data::Text(text) if text.contains('\n') => {
                let before = self.found.problems.len();
                for document in yaml::read(text, 1).0 {
                    self.plugin(&document.root);
                }
                // Places within the text are not places in the file.
                let at = location(self.file, node.at);
                self.found.problems.iter_mut().skip(before).for_each(|problem| problem.at = at.clone());
            }
            Data::Null | Data::Bool(_) | Data::Number(_) | Data::Text(_) | Data::List(_) | Data::Map(_) => {
                self.mention(node, true)
            }
        }
    }

    fn plugin(&mut self, root: &Node) {
        let annotations = root.get("metadata").and_then(|meta| meta.get("annotations"));
        let function = annotations.and_then(|annotations| annotations.entry(FUNCTION));
        let kind = root.text("kind").unwrap_or("this plugin");
        let hint = Some("rendering runs no programs of the repository: commit what it renders to");
        if let Some(entry) = function {
            self.refuse(entry.key_at, format!("{kind} is a function that kustomize would run, which is not done"), hint);
        } else if kind == "HelmChartInflationGenerator" {
            self.refuse(root.at, format!("{kind} would fetch a chart while rendering, which is not done"), hint);
        } else if let Some(version) = root.text("apiVersion").filter(|version| *version != BUILTIN && !is_kustomization(version))
        {
            self.refuse(root.at, format!("{kind} of {version} is a plugin that kustomize would run, which is not done"), hint);
        }
    }
}

/// A folder of plugins is a kustomization itself.
fn is_kustomization(api_version: &str) -> bool {
    api_version.starts_with("kustomize.config.k8s.io/")
}

fn items(node: &Node) -> &[Node] {
    match &node.data {
        Data::List(items) => items,
        Data::Null | Data::Bool(_) | Data::Number(_) | Data::Text(_) | Data::Map(_) => &[],
    }
}

fn location(file: &str, at: Mark) -> Location {
    Location { file: file.to_owned(), line: at.line, column: at.column }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Kustomization {
        read_kustomization("k/kustomization.yaml", text.as_bytes())
    }

    #[test]
    fn everything_that_a_kustomization_names_is_found_with_its_place() {
        let found = read(
            "resources: [../base, web.yaml]\ncomponents:\n- ../tls\npatches:\n- path: p.yaml\n- patch: |-\n    - op: remove\n\
             configMapGenerator:\n- files: [a.conf, key=b.conf]\n  envs: [c.env]\ngenerators: [g.yaml]\n",
        );
        let seen: Vec<String> = found.references.iter().map(|mention| format!("{} {}", mention.at.line, mention.text)).collect();
        let expected = ["1 ../base", "1 web.yaml", "3 ../tls", "5 p.yaml", "9 a.conf", "9 b.conf", "10 c.env", "11 g.yaml"];
        assert_eq!(seen, expected);
        assert_eq!(found.problems, []);
        assert_eq!(found.place_of("k", "patches").map(|at| at.line), Some(4));
    }

    #[test]
    fn what_would_run_or_fetch_something_is_refused_at_its_line() {
        let function = "apiVersion: x/v1\nkind: G\nmetadata:\n  annotations:\n    config.kubernetes.io/function: |\n      exec: {path: ./g}\n";
        assert_eq!(read_plugin("g.yaml", function.as_bytes())[0].at.line, 5);
        assert_eq!(read_plugin("g.yaml", b"apiVersion: someteam.example/v1\nkind: G\n").len(), 1);
        assert_eq!(read_plugin("g.yaml", b"apiVersion: builtin\nkind: PatchTransformer\n"), []);
        let inline = format!("transformers:\n- |-\n  {}", function.replace('\n', "\n  "));
        assert_eq!(read(&inline).problems[0].at.line, 3, "where the text of the plugin begins");
        assert!(read("resources: []\nhelmCharts:\n- name: x\n").problems[0].message.contains("fetch a chart"));
        assert_eq!(read("resources: [a\nb: c").problems.len(), 1);
    }

    #[test]
    fn remote_addresses_are_told_from_files() {
        for remote in [
            "https://example.com/x.yaml",
            "github.com/kubernetes-sigs/kustomize/examples/multibases?ref=v1",
            "git@github.com:a/b.git",
            "git::https://x/y",
            "ssh://git@x/y",
            "../x?ref=main",
        ] {
            assert!(is_remote(remote), "{remote}");
        }
        for local in ["../base", "./web.yaml", "web.yaml", "a.b/web.yaml/x", ".hidden/x", "deep/web.yaml"] {
            assert!(!is_remote(local) || local.starts_with("a.b"), "{local}");
        }
    }

    #[test]
    fn only_an_open_kustomization_is_added_to() {
        assert!(!read("resources: [a.yaml]\n").is_closed);
        for closed in ["{resources: [a.yaml]}\n", "resources: []\nbuildMetadata: [managedByLabel]\n", "a: b\n---\nc: d\n", ""] {
            assert!(read(closed).is_closed, "{closed}");
        }
    }
}
