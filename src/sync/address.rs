//! The address of a repository: what git is given, what people are shown, and the credentials in neither.
//!
//! A password in a URL is taken out of it and given to git by its own `store` credential helper, from a file that only we may
//! read: an argument list is visible to every user of the host, a log to many more.

use std::path::{Path, PathBuf};

/// A repository's address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Address {
    /// What git is given: a URL without credentials, or an absolute path.
    pub(super) plain: String,
    /// `scheme://user:password@host`, if the URL held a password.
    pub(super) credentials: Option<Credentials>,
    /// The folder, if it is on this host.
    pub(super) local: Option<PathBuf>,
}

/// A line for `git credential-store`. Its `Debug` is redacted.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Credentials(pub(super) String);

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Credentials(redacted)")
    }
}

impl Address {
    /// Reads a URL, an scp-like address or a path; a relative path is meant from `here`.
    pub(super) fn parse(text: &str, here: &Path) -> Self {
        if let Some(path) = text.strip_prefix("file://") {
            return Self::local(PathBuf::from(path));
        }
        if let Some((scheme, rest)) = text.split_once("://") {
            return Self::url(scheme, rest);
        }
        if is_scp_like(text) {
            return Self { plain: text.to_owned(), credentials: None, local: None };
        }
        Self::local(here.join(text))
    }

    fn local(path: PathBuf) -> Self {
        let path = path.canonicalize().unwrap_or(path);
        Self { plain: path.to_string_lossy().into_owned(), credentials: None, local: Some(path) }
    }

    fn url(scheme: &str, rest: &str) -> Self {
        let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        let Some((user, host)) = authority.rsplit_once('@') else {
            return Self { plain: format!("{scheme}://{rest}"), credentials: None, local: None };
        };
        // Over ssh a user is a name. Over HTTP, even without a password, it is a secret: some forges take a token there.
        if !scheme.starts_with("http") && !user.contains(':') {
            return Self { plain: format!("{scheme}://{rest}"), credentials: None, local: None };
        }
        let colon = if user.contains(':') { "" } else { ":" };
        let credentials = Some(Credentials(format!("{scheme}://{user}{colon}@{host}")));
        Self { plain: format!("{scheme}://{host}{path}"), credentials, local: None }
    }
}

/// `git@host:path`: a colon before the first slash, as git decides it.
fn is_scp_like(text: &str) -> bool {
    text.find(':').is_some_and(|colon| text.find('/').is_none_or(|slash| colon < slash))
}

/// Replaces the credentials of every URL in a text by `***`, for messages of git.
#[must_use]
pub fn redact(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (head, tail) = rest.split_at(at + 3);
        out.push_str(head);
        let end = tail.find(|c: char| c == '/' || c == '\'' || c == '"' || c.is_whitespace()).unwrap_or(tail.len());
        let (authority, remainder) = tail.split_at(end);
        match authority.rsplit_once('@') {
            Some((_, host)) => {
                out.push_str("***@");
                out.push_str(host);
            }
            None => out.push_str(authority),
        }
        rest = remainder;
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Address {
        Address::parse(text, Path::new("/work"))
    }

    #[test]
    fn a_password_leaves_the_url_that_git_is_given() {
        let address = parse("https://bot:s3cret@forge.example/shop.git");
        assert_eq!(address.plain, "https://forge.example/shop.git");
        assert_eq!(address.credentials, Some(Credentials("https://bot:s3cret@forge.example".into())));
        assert!(!format!("{address:?}").contains("s3cret"));
    }

    #[test]
    fn a_token_in_place_of_the_user_is_a_secret_too() {
        let address = parse("https://ghp_token@forge.example/shop.git");
        assert_eq!(address.plain, "https://forge.example/shop.git");
        assert_eq!(address.credentials, Some(Credentials("https://ghp_token:@forge.example".into())));
    }

    #[test]
    fn urls_scp_addresses_and_paths_are_told_apart() {
        assert_eq!(parse("ssh://git@forge.example:22/shop.git").plain, "ssh://git@forge.example:22/shop.git");
        assert_eq!(parse("git@forge.example:team/shop.git").local, None);
        assert_eq!(parse("repos/shop").local, Some(PathBuf::from("/work/repos/shop")));
        assert_eq!(parse("file:///srv/shop.git").local, Some(PathBuf::from("/srv/shop.git")));
        assert_eq!(parse("./odd:name").local, Some(PathBuf::from("/work/./odd:name")));
    }

    #[test]
    fn every_credential_in_a_message_is_redacted() {
        let text = "fatal: unable to access 'https://bot:p@ss@a.example/x': see http://tok@b.example and https://c.example/d";
        let shown = redact(text);
        assert_eq!(shown, "fatal: unable to access 'https://***@a.example/x': see http://***@b.example and https://c.example/d");
    }
}
