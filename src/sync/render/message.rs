//! A tool's complaint as a problem of ours: in few words, at the file and line that it is about, and without values of Secrets.

use super::closure::Closure;
use super::source::Viewpoint;
use crate::manifest::{Renderer, is_remote};
use crate::model::{Location, Problem, Scope, Severity};

/// A complaint is cut off after so many characters.
const CHARS_MAX: usize = 400;

/// What a complaint is about.
pub(super) struct Complaint<'a> {
    pub(super) renderer: Renderer,
    pub(super) from: Viewpoint<'a>,
    /// The file that made the folder a unit, from the repository's root.
    pub(super) file: &'a str,
    /// The folder.
    pub(super) folder: &'a str,
    /// The name of the chart.
    pub(super) chart: &'a str,
    pub(super) closure: &'a Closure,
    /// Texts that must not appear.
    pub(super) secrets: &'a [String],
}

impl Complaint<'_> {
    /// The problem that the tool's stderr tells of.
    pub(super) fn problem(&self, stderr: &str) -> Problem {
        let words = core(stderr);
        let (at, message, hint) = match self.renderer {
            Renderer::Kustomize => self.kustomize(&words),
            Renderer::Helm => self.helm(&words),
        };
        let left_out = self.closure.left_out.iter().find(|path| words.contains(path.as_str()));
        let hint = left_out.map(|path| format!("{path} is a link that leads out of the repository, or a submodule")).or(hint);
        let message = redacted(&message, self.secrets);
        Problem { at, path: String::new(), severity: Severity::Error, scope: Scope::Document, message, hint }
    }

    fn whole(&self) -> Location {
        place(self.from.shown(self.file), 0)
    }

    fn kustomize(&self, words: &str) -> (Location, String, Option<String>) {
        if let Some(path) = between(words, "lstat ", ": no such file").or_else(|| between(words, "open ", ": no such file")) {
            let at = self.closure.mention_of(path).map_or_else(|| self.whole(), |mention| mention.at.clone());
            let hint = is_remote(path).then(|| "rendering reaches no network: commit a copy".to_owned());
            return (at, format!("{} does not exist", self.from.shown(path)), hint);
        }
        if let Some(path) = between(words, "security; file '", "'") {
            let at = self.closure.mention_of(path).map_or_else(|| self.whole(), |mention| mention.at.clone());
            let path = self.from.shown(path.trim_start_matches('/'));
            let message =
                format!("{path} does not lie in the folder of the kustomization, and kustomize reads files nowhere else");
            return (at, message, Some("move it there, or refer to a folder with a kustomization".to_owned()));
        }
        if let Some(name) = between(words, " in File: ", "\n").or_else(|| words.split(" in File: ").nth(1)) {
            let name = name.trim_end_matches(['\'', '"']).trim();
            let file =
                self.closure.mention_as(name).map_or_else(|| self.from.shown(self.file), |(path, _)| self.from.shown(&path));
            let line = number_after(words, "yaml: line ");
            let message =
                words.split(" in File: ").next().unwrap_or(words).rsplit("MalformedYAMLError: ").next().unwrap_or(words);
            return (place(file, line), plain(message), None);
        }
        if let Some(field) = between(words, "unknown field \"", "\"") {
            let found = self
                .closure
                .kustomizations
                .iter()
                .find_map(|(file, kustomization)| kustomization.place_of(&self.from.shown(file), field));
            let hint = "it may be misspelt, or newer than the kustomize that is installed".to_owned();
            return (found.unwrap_or_else(|| self.whole()), format!("kustomize does not know the field {field:?}"), Some(hint));
        }
        let generator = self
            .closure
            .kustomizations
            .iter()
            .find_map(|(file, kustomization)| kustomization.place_of(&self.from.shown(file), "secretGenerator"));
        if let (Some(at), true) =
            (generator, ["KV pairs", "literal source", "env source"].iter().any(|sign| words.contains(sign)))
        {
            let hint = "literals are written as key=value, and files of envs hold lines of key=value".to_owned();
            return (at, "the sources of a generator cannot be read; its words are not repeated here".to_owned(), Some(hint));
        }
        if words.contains("external plugins disabled") || words.contains("must specify --enable-") {
            let hint = "rendering runs no programs of the repository: commit what it renders to".to_owned();
            return (self.whole(), format!("a plugin would have to be run, which is not done: {}", plain(words)), Some(hint));
        }
        let is_network = ["git fetch", "git cmd", "no 'git' program", "dial tcp", "hit 27s timeout", "executable file not found"];
        if is_network.iter().any(|sign| words.contains(sign)) {
            let hint = "commit a copy of what is remote, and refer to that".to_owned();
            return (self.whole(), "something remote is needed, and rendering reaches no network".to_owned(), Some(hint));
        }
        (self.whole(), format!("kustomize cannot build it: {}", plain(words)), None)
    }

    fn helm(&self, words: &str) -> (Location, String, Option<String>) {
        let hint = (words.contains("missing in charts/") || words.contains("could not retrieve"))
            .then(|| "run `helm dependency build`, and commit the charts/ folder".to_owned());
        let template = ["template: ", "error at (", "parse error on ", "YAML parse error on "]
            .iter()
            .filter_map(|prefix| words.split(prefix).nth(1))
            .find(|rest| rest.starts_with(&format!("{}/", self.chart)));
        let Some(rest) = template else {
            return (self.whole(), format!("helm cannot render it: {}", plain(words)), hint);
        };
        let name: String = rest.chars().take_while(|c| !c.is_whitespace() && !matches!(c, ':' | ')')).collect();
        let inside = name.strip_prefix(&format!("{}/", self.chart)).unwrap_or(&name);
        let file = if self.folder.is_empty() { inside.to_owned() } else { format!("{}/{inside}", self.folder) };
        let line = number_after(rest, &format!("{name}:")).max(number_after(rest, "yaml: line "));
        let said = rest.split_once("): ").map(|(_, said)| said);
        let message = said.or_else(|| rest.rsplit(">: ").next().filter(|last| last.len() < rest.len())).unwrap_or(words);
        (place(self.from.shown(&file), line), format!("helm cannot render it: {}", plain(message)), hint)
    }
}

/// The complaint itself: without warnings, without the tool's own frame around it.
fn core(stderr: &str) -> String {
    let is_noise = |line: &&str| {
        let line = line.trim_start_matches("# ");
        ["Warning:", "WARNING:", "walk.go:", "coalesce.go:", "Use --debug"].iter().any(|prefix| line.starts_with(prefix))
    };
    let text: Vec<&str> = stderr.lines().filter(|line| !line.trim().is_empty() && !is_noise(line)).collect();
    let text = text.join("\n");
    // Newer versions of kubectl log their end in the manner of klog: a quoted string, or lines between <>.
    if let Some(quoted) = text.split("err=\"").nth(1) {
        return unquoted(quoted.trim_end().strip_suffix('"').unwrap_or(quoted));
    }
    if let Some(lines) = text.split("err=<").nth(1) {
        return lines.trim_end().trim_end_matches('>').lines().map(str::trim).collect::<Vec<_>>().join("\n").trim().to_owned();
    }
    let from = ["error: ", "Error: "].iter().filter_map(|word| text.find(word).map(|at| at + word.len())).min();
    from.map_or(text.as_str(), |at| &text[at..]).trim().to_owned()
}

/// A text as Go quotes it.
fn unquoted(text: &str) -> String {
    text.replace("\\n", "\n").replace("\\t", " ").replace("\\\"", "\"").replace("\\\\", "\\")
}

/// One line of it, not too long.
fn plain(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let line = line.strip_prefix("accumulating resources: ").unwrap_or(&line);
    if line.chars().count() <= CHARS_MAX { line.to_owned() } else { line.chars().take(CHARS_MAX).chain(['…']).collect() }
}

/// A YAML parser quotes the value that it cannot use: in backquotes. Values of Secrets are known.
fn redacted(message: &str, secrets: &[String]) -> String {
    let message = secrets.iter().fold(message.to_owned(), |message, secret| message.replace(secret.as_str(), "<redacted>"));
    let Some((before, rest)) = message.split_once("cannot unmarshal !!") else { return message };
    match (rest.find('`'), rest.rfind('`')) {
        (Some(first), Some(last)) if first < last => {
            format!("{before}cannot unmarshal !!{}…{}", &rest[..first], &rest[last + 1..])
        }
        _ => format!("{before}cannot unmarshal !!{rest}"),
    }
}

fn between<'a>(text: &'a str, start: &str, end: &str) -> Option<&'a str> {
    let rest = text.split_once(start)?.1;
    rest.split_once(end).map(|(found, _)| found)
}

fn number_after(text: &str, start: &str) -> u32 {
    let Some((_, rest)) = text.split_once(start) else { return 0 };
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().unwrap_or(0)
}

fn place(file: String, line: u32) -> Location {
    Location { file, line, column: 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::read_kustomization;

    fn told(renderer: Renderer, stderr: &str) -> String {
        let mut closure = Closure::default();
        let text = b"namePrefix: x\nresouces: []\nresources: [nope.yaml, bad.yaml]\n";
        closure.kustomizations.insert("o/kustomization.yaml".to_owned(), read_kustomization("o/kustomization.yaml", text));
        let complaint = Complaint {
            renderer,
            from: Viewpoint { watched: "", prefix: "" },
            file: if renderer == Renderer::Helm { "c/Chart.yaml" } else { "o/kustomization.yaml" },
            folder: if renderer == Renderer::Helm { "c" } else { "o" },
            chart: "web",
            closure: &closure,
            secrets: &["hunter2".to_owned()],
        };
        let problem = complaint.problem(stderr);
        format!("{}:{}: {}", problem.at.file, problem.at.line, problem.message)
    }

    #[test]
    fn kustomizes_words_lead_to_the_line_that_is_at_fault() {
        let missing = "E1126 12:56:36.4 2083 run.go:72] \"command failed\" err=\"accumulating resources: accumulation err='accumulating \
                       resources from 'nope.yaml': evalsymlink failure on 'o/nope.yaml' : lstat o/nope.yaml: no such file or directory': \
                       must build at directory\"";
        assert_eq!(told(Renderer::Kustomize, missing), "o/kustomization.yaml:3: o/nope.yaml does not exist");
        let bad = "# Warning: 'bases' is deprecated.\nError: accumulating resources: accumulating resources from 'bad.yaml': \
                   MalformedYAMLError: yaml: line 7: did not find expected ',' or ']' in File: bad.yaml\n";
        assert_eq!(told(Renderer::Kustomize, bad), "o/bad.yaml:7: yaml: line 7: did not find expected ',' or ']'");
        let unknown = "E1126 12:56:36.6 2113 run.go:72] \"command failed\" err=\"invalid Kustomization: json: unknown field \\\"resouces\\\"\"\n";
        assert_eq!(told(Renderer::Kustomize, unknown), "o/kustomization.yaml:2: kustomize does not know the field \"resouces\"");
        let plugin = "Error: loading generator plugins: failed to load generator: external plugins disabled; unable to load";
        assert!(told(Renderer::Kustomize, plugin).contains("a plugin would have to be run, which is not done"));
    }

    #[test]
    fn helms_words_lead_to_the_template() {
        let failed = "Error: execution error at (web/templates/a.yaml:3:4): image is required\n\nUse --debug flag to render out invalid YAML";
        assert!(told(Renderer::Helm, failed).starts_with("c/templates/a.yaml:3: "), "{}", told(Renderer::Helm, failed));
        let broken = "Error: YAML parse error on web/templates/b.yaml: error converting YAML to JSON: yaml: line 5: x";
        assert!(told(Renderer::Helm, broken).starts_with("c/templates/b.yaml:5: "), "{}", told(Renderer::Helm, broken));
        let nil = "Error: template: web/templates/c.yaml:9:12: executing \"web/templates/c.yaml\" at <.Values.a.b>: nil pointer evaluating";
        assert_eq!(told(Renderer::Helm, nil), "c/templates/c.yaml:9: helm cannot render it: nil pointer evaluating");
    }

    #[test]
    fn a_value_of_a_secret_is_not_repeated() {
        let literal = "error: loading KV pairs: literal sources [hunter2]: invalid literal source hunter2, expected key=value";
        assert!(!told(Renderer::Kustomize, literal).contains("hunter2"));
        let yaml = "error: yaml: unmarshal errors: line 3: cannot unmarshal !!str `s3cret` into map";
        assert!(!told(Renderer::Kustomize, yaml).contains("s3cret"));
    }
}
