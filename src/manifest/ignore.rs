//! Ignore patterns, with the meaning of `.gitignore`: <https://git-scm.com/docs/gitignore>.

/// An ordered list of patterns; the last one that matches decides.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct IgnoreSet {
    rules: Vec<Rule>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Rule {
    /// Segments between slashes; `**` stands for any number of them.
    segments: Vec<String>,
    is_negated: bool,
    folders_only: bool,
}

impl IgnoreSet {
    /// The patterns of `driftless.yaml`, then the lines of `.driftlessignore`; blank lines and `#` comments are passed over.
    pub fn new<'a>(patterns: impl IntoIterator<Item = &'a str>) -> Self {
        Self { rules: patterns.into_iter().filter_map(Rule::parse).collect() }
    }

    /// Whether a file, or a folder above it, is ignored. A file in an ignored folder cannot be taken back, as in git.
    #[must_use]
    pub fn is_ignored(&self, path: &str) -> bool {
        let parts: Vec<&str> = path.split('/').collect();
        (1..=parts.len()).any(|depth| self.decides(&parts[..depth], depth < parts.len()))
    }

    fn decides(&self, parts: &[&str], is_folder: bool) -> bool {
        let last = self.rules.iter().rev().find(|rule| (is_folder || !rule.folders_only) && rule.matches(parts));
        last.is_some_and(|rule| !rule.is_negated)
    }
}

impl Rule {
    fn parse(line: &str) -> Option<Self> {
        let line = line.trim_end_matches(['\r', '\n']);
        let line = if line.ends_with("\\ ") { line } else { line.trim_end() };
        if line.is_empty() || line.starts_with('#') {
            return None;
        }
        let (is_negated, pattern) = match line.strip_prefix('!') {
            Some(rest) => (true, rest),
            None => (false, line),
        };
        let (folders_only, pattern) = match pattern.strip_suffix('/') {
            Some(rest) => (true, rest),
            None => (false, pattern),
        };
        let is_anchored = pattern.contains('/');
        let mut segments: Vec<String> = pattern.trim_start_matches('/').split('/').map(str::to_owned).collect();
        if !is_anchored {
            segments.insert(0, "**".to_owned());
        }
        Some(Self { segments, is_negated, folders_only })
    }

    fn matches(&self, parts: &[&str]) -> bool {
        match_segments(&self.segments, parts)
    }
}

/// Segment by segment. `**` is tried at every length; a table of what has been reached keeps it polynomial.
fn match_segments(pattern: &[String], parts: &[&str]) -> bool {
    let mut reached = vec![false; parts.len() + 1];
    reached[0] = true;
    for (index, segment) in pattern.iter().enumerate() {
        let mut next = vec![false; parts.len() + 1];
        if segment == "**" {
            // At the end it stands for everything inside, so for at least one part.
            let least = usize::from(index + 1 == pattern.len() && index > 0);
            let first = reached.iter().position(|slot| *slot).unwrap_or(parts.len() + 1);
            next.iter_mut().skip(first + least).for_each(|slot| *slot = true);
        } else {
            for start in (0..parts.len()).filter(|start| reached[*start]) {
                next[start + 1] |= match_glob(segment, parts[start]);
            }
        }
        reached = next;
    }
    reached[parts.len()]
}

/// `*`, `?`, `[a-z]` and `\` within one segment.
fn match_glob(pattern: &str, text: &str) -> bool {
    let tokens = tokens(pattern);
    let chars: Vec<char> = text.chars().collect();
    let mut reached = vec![false; chars.len() + 1];
    reached[0] = true;
    for token in &tokens {
        let mut next = vec![false; chars.len() + 1];
        match token {
            Token::Any => {
                let first = reached.iter().position(|slot| *slot).unwrap_or(chars.len() + 1);
                next.iter_mut().skip(first).for_each(|slot| *slot = true);
            }
            Token::One(set) => {
                for start in (0..chars.len()).filter(|start| reached[*start]) {
                    next[start + 1] = set.contains(chars[start]);
                }
            }
        }
        reached = next;
    }
    reached[chars.len()]
}

enum Token {
    Any,
    One(Set),
}

enum Set {
    All,
    Char(char),
    Ranges { ranges: Vec<(char, char)>, is_negated: bool },
}

impl Set {
    fn contains(&self, c: char) -> bool {
        match self {
            Set::All => true,
            Set::Char(wanted) => *wanted == c,
            Set::Ranges { ranges, is_negated } => ranges.iter().any(|(low, high)| (*low..=*high).contains(&c)) != *is_negated,
        }
    }
}

fn tokens(pattern: &str) -> Vec<Token> {
    let chars: Vec<char> = pattern.chars().collect();
    let (mut tokens, mut index) = (Vec::new(), 0);
    while let Some(c) = chars.get(index) {
        index += 1;
        tokens.push(match c {
            '*' => Token::Any,
            '?' => Token::One(Set::All),
            '\\' => {
                index += 1;
                Token::One(Set::Char(chars.get(index - 1).copied().unwrap_or('\\')))
            }
            '[' => match bracket(&chars[index..]) {
                Some((set, length)) => {
                    index += length;
                    Token::One(set)
                }
                None => Token::One(Set::Char('[')),
            },
            other => Token::One(Set::Char(*other)),
        });
    }
    tokens
}

/// The set after a `[`, and how many characters it takes up.
fn bracket(chars: &[char]) -> Option<(Set, usize)> {
    let is_negated = matches!(chars.first(), Some('!' | '^'));
    let start = usize::from(is_negated);
    let close = chars.iter().skip(start + 1).position(|c| *c == ']')? + start + 1;
    let mut ranges = Vec::new();
    let mut index = start;
    while index < close {
        if index + 2 < close && chars[index + 1] == '-' {
            ranges.push((chars[index], chars[index + 2]));
            index += 3;
        } else {
            ranges.push((chars[index], chars[index]));
            index += 1;
        }
    }
    Some((Set::Ranges { ranges, is_negated }, close + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(patterns: &[&str], path: &str, expected: bool) {
        assert_eq!(IgnoreSet::new(patterns.iter().copied()).is_ignored(path), expected, "{patterns:?} on {path}");
    }

    #[test]
    fn patterns_mean_what_they_mean_in_gitignore() {
        check(&["*.json"], "a/b/x.json", true);
        check(&["/x.yaml"], "a/x.yaml", false);
        check(&["/x.yaml"], "x.yaml", true);
        check(&["test/"], "a/test/x.yaml", true);
        check(&["test/"], "a/test", false);
        check(&["a/*/c.yaml"], "a/b/c.yaml", true);
        check(&["a/*/c.yaml"], "a/b/b/c.yaml", false);
        check(&["a/**/c.yaml"], "a/c.yaml", true);
        check(&["a/**/c.yaml"], "a/b/b/c.yaml", true);
        check(&["**/values.yaml"], "values.yaml", true);
        check(&["docs/**"], "docs/x/y.yaml", true);
        check(&["docs/**"], "docs", false);
        check(&["*.yaml", "!keep.yaml"], "keep.yaml", false);
        check(&["a/", "!a/keep.yaml"], "a/keep.yaml", true);
        check(&["x[0-9].yaml"], "x7.yaml", true);
        check(&["x[!0-9].yaml"], "x7.yaml", false);
        check(&["\\!x.yaml"], "!x.yaml", true);
        check(&["", "# all", "  "], "x.yaml", false);
        check(&["secret?.yaml"], "secret1.yaml", true);
    }

    #[test]
    fn a_pattern_of_many_stars_does_not_explode() {
        let stars = "*a".repeat(200);
        check(&[&stars], &("a".repeat(200) + "b"), false);
        let deep = vec!["**"; 100].join("/") + "/x";
        check(&[&deep], &vec!["a"; 100].join("/"), false);
    }
}
