//! Names: what labels may look like, and which known name a misspelt one comes nearest to.

/// The known name nearest to `written`, if one is near enough to be meant: at most a third of its letters differ, case aside.
pub(crate) fn nearest<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = written.to_lowercase();
    if lower.len() > 100 {
        return None;
    }
    let limit = (lower.chars().count() / 3).max(1);
    known
        .into_iter()
        .map(|name| (distance(&lower, &name.to_lowercase()), name))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// How many letters must be inserted, removed, replaced or swapped with their neighbour (optimal string alignment).
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, to) in b.iter().enumerate() {
            let mut best = (above[j + 1] + 1).min(row[j] + 1).min(above[j] + usize::from(from != to));
            if i > 0 && j > 0 && *from == b[j - 1] && a[i - 1] == *to {
                best = best.min(before[j - 1] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut above, row);
    }
    above.last().copied().unwrap_or_default()
}

/// Whether a text is a label or annotation key: an optional DNS name and a slash, then up to 63 letters, digits, `-`, `_` and `.`.
pub(crate) fn is_label_key(key: &str) -> bool {
    let (prefix, name) = match key.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, key),
    };
    prefix.is_none_or(is_dns_name) && is_label_name(name)
}

fn is_label_name(name: &str) -> bool {
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    name.len() <= 63
        && edge(name.chars().next())
        && edge(name.chars().last())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
}

/// Whether a text is a DNS subdomain (RFC 1123).
fn is_dns_name(text: &str) -> bool {
    !text.is_empty() && text.len() <= 253 && text.split('.').all(is_dns_label)
}

fn is_dns_label(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 63
        && !text.starts_with('-')
        && !text.ends_with('-')
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_name_finds_the_one_that_was_meant() {
        let known = ["replicas", "selector", "strategy", "template", "containerPort"];
        for (written, meant) in [
            ("replcas", Some("replicas")),
            ("Replicas", Some("replicas")),
            ("stragety", Some("strategy")),
            ("containerport", Some("containerPort")),
            ("volumes", None),
            ("", None),
        ] {
            assert_eq!(nearest(written, known), meant, "{written}");
        }
    }

    #[test]
    fn label_keys_follow_the_syntax_of_kubernetes() {
        for good in ["app", "app.kubernetes.io/name", "a", "A_b.c-d", "example.com/X"] {
            assert!(is_label_key(good), "{good}");
        }
        for bad in ["", "-app", "app-", "/name", "a/b/c", "Example.com/x", "a b", "example.com/"] {
            assert!(!is_label_key(bad), "{bad}");
        }
    }
}
