//! Image references: <https://pkg.go.dev/github.com/distribution/reference>.

use super::super::findings::Findings;
use super::super::templates;

/// The longest tag.
const TAG_LENGTH_MAX: usize = 128;

/// Warns of an image that no registry could have. Kubernetes accepts it, and its pods wait for ever.
pub(super) fn check(image: &str, pointer: &str, findings: &mut Findings<'_>) {
    if is_reference(image) {
        return;
    }
    let found = findings.quoted(image).unwrap_or_default();
    let hint = templates::hint(image).unwrap_or("write it as registry.example.com/path/name:tag, the path in lower-case letters");
    findings.warning(pointer, format!("{found} is no image reference: it cannot be pulled"), Some(hint.to_owned()));
}

/// `[registry[:port]/]path[:tag][@digest]`
fn is_reference(image: &str) -> bool {
    let (rest, digest) = match image.split_once('@') {
        Some((rest, digest)) => (rest, Some(digest)),
        None => (image, None),
    };
    let (path, tag) = match rest.rsplit_once(':') {
        Some((path, tag)) if !tag.contains('/') => (path, Some(tag)),
        Some(_) | None => (rest, None),
    };
    let mut parts: Vec<&str> = path.split('/').collect();
    if parts.len() > 1 && is_registry(parts[0]) {
        parts.remove(0);
    }
    parts.iter().all(|part| is_path_part(part)) && tag.is_none_or(is_tag) && digest.is_none_or(is_digest)
}

/// A host with an optional port; the first part of a path is one if it looks like one.
fn is_registry(part: &str) -> bool {
    let (host, port) = part.split_once(':').map_or((part, None), |(host, port)| (host, Some(port)));
    let labels = host.split('.').all(|label| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
    });
    labels && port.is_none_or(|port| port.parse::<u16>().is_ok())
}

/// Lower-case letters and digits with `.`, `_`, `__` or any number of `-` between them.
fn is_path_part(part: &str) -> bool {
    let is_word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let separators = part.split(is_word).filter(|separator| !separator.is_empty());
    let good = |separator: &str| matches!(separator, "." | "_" | "__") || separator.chars().all(|c| c == '-');
    part.starts_with(is_word) && part.ends_with(is_word) && separators.into_iter().all(good)
}

fn is_tag(tag: &str) -> bool {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    tag.starts_with(is_word) && tag.len() <= TAG_LENGTH_MAX && tag.chars().all(|c| is_word(c) || matches!(c, '.' | '-'))
}

/// `sha256:` and at least 32 hexadecimal digits.
fn is_digest(digest: &str) -> bool {
    let Some((algorithm, hex)) = digest.split_once(':') else { return false };
    let known = !algorithm.is_empty() && algorithm.chars().all(|c| c.is_ascii_alphanumeric() || "+._-".contains(c));
    known && hex.len() >= 32 && hex.chars().all(|c| c.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_told_from_what_cannot_be_pulled() {
        let digest = format!("nginx@sha256:{}", "a".repeat(64));
        for good in [
            "nginx",
            "nginx:1.27",
            "a/b/c:T_1.x-y",
            "ghcr.io/a/b",
            "localhost:5000/a-b__c:1",
            "127.0.0.1:80/x",
            "Example.com/a",
            &digest,
        ] {
            assert!(is_reference(good), "{good}");
        }
        for bad in [
            "",
            "Nginx",
            "a//b:1",
            "<image>",
            "${IMAGE}",
            "a:b:c",
            "a b",
            "a/-b",
            "nginx@sha256:12",
            "nginx:",
            "a___b",
            "/a",
            "REPO/IMAGE:TAG",
        ] {
            assert!(!is_reference(bad), "{bad}");
        }
    }
}
