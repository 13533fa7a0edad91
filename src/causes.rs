//! Errors with their causes. Libraries leave out of an error's own words what its `source` says, or repeat it.

use std::error::Error;

/// An error and its causes on one line: `cannot connect: tcp connect error: Connection refused (os error 111)`.
#[must_use]
pub fn in_full(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let words = error.to_string();
        if !text.ends_with(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::in_full;
    use thiserror::Error;

    #[derive(Debug, Error)]
    #[error("{words}")]
    struct Link {
        words: &'static str,
        source: Option<Box<Link>>,
    }

    fn link(words: &'static str, source: Option<Link>) -> Link {
        Link { words, source: source.map(Box::new) }
    }

    #[test]
    fn every_cause_is_said_once() {
        let refused = || link("refused", None);
        assert_eq!(in_full(&refused()), "refused");
        assert_eq!(in_full(&link("cannot connect", Some(link("tcp", Some(refused()))))), "cannot connect: tcp: refused");
        assert_eq!(in_full(&link("cannot connect: refused", Some(refused()))), "cannot connect: refused");
    }
}
