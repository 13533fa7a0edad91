//! `$(VAR)`, as Kubernetes expands it in commands, arguments and values:
//! <https://kubernetes.io/docs/tasks/inject-data-application/define-interdependent-environment-variables/>.
//!
//! A reference to a variable that is not defined stays as written, `$$` is a dollar, so `$$(VAR)` is the text `$(VAR)`.

use super::LaunchError;
use crate::agent::runtime::EnvValue;
use crate::model::SecretBytes;

/// The value of a variable by name, among those that are defined so far.
pub(super) fn lookup<'a>(env: &'a [(String, EnvValue)], name: &str) -> Option<&'a EnvValue> {
    env.iter().find(|(known, _)| known == name).map(|(_, value)| value)
}

/// Expands a value; a Secret that takes part makes the whole a secret.
pub(super) fn value(text: &str, env: &[(String, EnvValue)]) -> EnvValue {
    let mut bytes = Vec::new();
    let mut secret = false;
    for part in parts(text) {
        match part {
            Part::Text(text) => bytes.extend_from_slice(text.as_bytes()),
            Part::Reference { name, written } => match lookup(env, name) {
                Some(value) => {
                    secret |= matches!(value, EnvValue::Secret(_));
                    bytes.extend_from_slice(value.expose());
                }
                None => bytes.extend_from_slice(written.as_bytes()),
            },
        }
    }
    if secret {
        return EnvValue::Secret(SecretBytes::new(bytes));
    }
    EnvValue::Plain(String::from_utf8_lossy(&bytes).into_owned())
}

/// Expands a command line. A Secret may not take part.
pub(super) fn arguments(words: &[String], env: &[(String, EnvValue)]) -> Result<Vec<String>, LaunchError> {
    words.iter().map(|word| argument(word, env)).collect()
}

fn argument(word: &str, env: &[(String, EnvValue)]) -> Result<String, LaunchError> {
    let mut text = String::new();
    for part in parts(word) {
        match part {
            Part::Text(part) => text.push_str(part),
            Part::Reference { name, written } => match lookup(env, name) {
                Some(EnvValue::Plain(value)) => text.push_str(value),
                Some(EnvValue::Secret(_)) => return Err(LaunchError::SecretInArguments { variable: name.to_owned() }),
                None => text.push_str(written),
            },
        }
    }
    Ok(text)
}

/// Expands a `subPathExpr`, where every variable must be defined and none may come from a Secret.
pub(super) fn path(text: &str, env: &[(String, EnvValue)]) -> Result<String, LaunchError> {
    let undefined = parts(text).into_iter().find_map(|part| match part {
        Part::Reference { name, .. } if lookup(env, name).is_none() => Some(name.to_owned()),
        Part::Reference { .. } | Part::Text(_) => None,
    });
    match undefined {
        Some(variable) => Err(LaunchError::NoVariable { path: text.to_owned(), variable }),
        None => argument(text, env),
    }
}

enum Part<'a> {
    Text(&'a str),
    Reference { name: &'a str, written: &'a str },
}

/// Splits a text into literal parts and references.
fn parts(text: &str) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        parts.push(Part::Text(&rest[..at]));
        let after = &rest[at + 1..];
        if let Some(tail) = after.strip_prefix('$') {
            parts.push(Part::Text("$"));
            rest = tail;
        } else if let Some((name, tail)) = after.strip_prefix('(').and_then(|inner| inner.split_once(')')) {
            parts.push(Part::Reference { name, written: &rest[at..rest.len() - tail.len()] });
            rest = tail;
        } else {
            parts.push(Part::Text("$"));
            rest = after;
        }
    }
    parts.push(Part::Text(rest));
    parts
}
