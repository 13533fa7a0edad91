//! Which rule a request is for. Pure: a table in, a route out.
//!
//! The rules are those of <https://kubernetes.io/docs/concepts/services-networking/ingress/#path-types>: paths are compared element by
//! element, percent-encoding decoded; the longest one wins, and of two that are alike the exact one. A host of its own comes before
//! a wildcard, and that before rules for every host; where none of the rules for a host has the path, those for more hosts are
//! asked. What no rule takes goes to the `defaultBackend` of the nearest host.

use crate::model::{HostPattern, IngressRoute, IngressTable, PathPattern};
use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The routes of a table by host.
#[derive(Debug, Default)]
pub(super) struct Router {
    by_host: BTreeMap<HostPattern, Vec<Rule>>,
}

#[derive(Debug)]
struct Rule {
    path: Elements,
    route: Arc<IngressRoute>,
}

/// How a rule compares paths; the elements are decoded.
#[derive(Debug)]
enum Elements {
    Exact(Vec<Vec<u8>>),
    /// Without empty elements at its end: `/shop/` and `/shop` are one prefix.
    Prefix(Vec<Vec<u8>>),
    Rest,
}

/// The path of a request, cut into elements and decoded.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct RequestPath<'a>(Vec<Cow<'a, [u8]>>);

/// The path has an element that leads upwards (`..`), also in disguise. Clients resolve those before they ask; servers disagree
/// about what is one, so that a rule for one part of a site would let requests through to others.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct LeadsUpwards;

impl Router {
    pub(super) fn new(table: &IngressTable) -> Self {
        let mut by_host: BTreeMap<HostPattern, Vec<Rule>> = BTreeMap::new();
        for route in &table.routes {
            let rule = Rule { path: Elements::new(&route.path), route: Arc::new(route.clone()) };
            by_host.entry(route.host.clone()).or_default().push(rule);
        }
        for rules in by_host.values_mut() {
            rules.sort_by_key(|rule| Reverse(rule.path.rank()));
        }
        Self { by_host }
    }

    /// The route for a host (in lower case, without a port) and a path.
    pub(super) fn find(&self, host: &str, path: &RequestPath<'_>) -> Option<&Arc<IngressRoute>> {
        let exact = HostPattern::Exact(host.to_owned());
        let wildcard = host.split_once('.').map(|(_, parent)| HostPattern::Wildcard(parent.to_owned()));
        let hosts = || [Some(&exact), wildcard.as_ref(), Some(&HostPattern::Any)].into_iter().flatten();
        let rules = || hosts().filter_map(|host| self.by_host.get(host)).flatten();
        let ruled = rules().filter(|rule| !rule.is_rest()).find(|rule| rule.path.takes(path));
        ruled.or_else(|| rules().find(|rule| rule.is_rest())).map(|rule| &rule.route)
    }
}

impl Rule {
    fn is_rest(&self) -> bool {
        matches!(self.path, Elements::Rest)
    }
}

impl Elements {
    fn new(pattern: &PathPattern) -> Self {
        let decoded = |path: &str| cut(path).map(|element| decode(element).into_owned()).collect::<Vec<_>>();
        match pattern {
            PathPattern::Exact(path) => Self::Exact(decoded(path)),
            PathPattern::Prefix(path) => Self::Prefix(decoded(path.trim_end_matches('/'))),
            PathPattern::Rest => Self::Rest,
        }
    }

    /// Larger comes first: longer ones, and exact ones before others.
    fn rank(&self) -> (usize, bool) {
        match self {
            Self::Exact(elements) => (elements.len(), true),
            Self::Prefix(elements) => (elements.len(), false),
            Self::Rest => (0, false),
        }
    }

    fn takes(&self, path: &RequestPath<'_>) -> bool {
        match self {
            Self::Exact(elements) => elements.len() == path.0.len() && begins(&path.0, elements),
            Self::Prefix(elements) => begins(&path.0, elements),
            Self::Rest => true,
        }
    }
}

fn begins(path: &[Cow<'_, [u8]>], elements: &[Vec<u8>]) -> bool {
    path.len() >= elements.len() && path.iter().zip(elements).all(|(a, b)| a.as_ref() == b.as_slice())
}

impl<'a> RequestPath<'a> {
    /// Reads a path as it came, without the query.
    pub(super) fn parse(path: &'a str) -> Result<Self, LeadsUpwards> {
        let elements: Vec<Cow<'a, [u8]>> = cut(path).map(decode).collect();
        if elements.iter().any(|element| leads_upwards(element)) { Err(LeadsUpwards) } else { Ok(Self(elements)) }
    }
}

/// Whether a server that decodes first, takes `\` for `/`, or cuts parameters off at `;` would find `..` in an element.
fn leads_upwards(element: &[u8]) -> bool {
    let parts = element.split(|byte| matches!(byte, b'/' | b'\\'));
    parts.map(|part| part.split(|byte| *byte == b';').next().unwrap_or(part)).any(|part| part == b"..")
}

/// The elements of a path; none of the root.
fn cut(path: &str) -> impl Iterator<Item = &str> {
    let path = path.strip_prefix('/').unwrap_or(path);
    path.split('/').take(if path.is_empty() { 0 } else { usize::MAX })
}

/// Decodes percent-encoding (RFC 3986 section 2.1); what is none stays as it is.
fn decode(text: &str) -> Cow<'_, [u8]> {
    let bytes = text.as_bytes();
    if !bytes.contains(&b'%') {
        return Cow::Borrowed(bytes);
    }
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let [first, after @ ..] = rest {
        let digit = |at: usize| after.get(at).and_then(|byte| char::from(*byte).to_digit(16));
        match (first, digit(0), digit(1)) {
            (b'%', Some(high), Some(low)) => {
                decoded.extend(u8::try_from(high * 16 + low));
                rest = &after[2..];
            }
            _ => {
                decoded.push(*first);
                rest = after;
            }
        }
    }
    Cow::Owned(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{IngressTarget, Kind, ObjectKey};
    use proptest::prelude::*;

    /// Rules as `host kind path`, numbered by their Services.
    fn router(rules: &[&str]) -> Router {
        let route = |(index, rule): (usize, &&str)| {
            let mut words = rule.splitn(3, ' ');
            let mut word = || words.next().unwrap_or_default().to_owned();
            let (host, kind, path) = (word(), word(), word());
            let path = match kind.as_str() {
                "exact" => PathPattern::Exact(path),
                "prefix" => PathPattern::Prefix(path),
                _ => PathPattern::Rest,
            };
            let service = ObjectKey::new(Kind::Service, "shop", index.to_string());
            IngressRoute {
                ingress: ObjectKey::new(Kind::Ingress, "shop", "i"),
                host: HostPattern::new(host.trim_start_matches('-')),
                path,
                target: Some(IngressTarget { service, port: 80, protocol: crate::model::BackendProtocol::Http1 }),
                to_https: false,
            }
        };
        let routes = rules.iter().enumerate().map(route).collect();
        Router::new(&IngressTable { version: 1, routes, certificates: Vec::new() })
    }

    /// The number of the rule that takes a request.
    fn taken(router: &Router, host: &str, path: &str) -> Option<usize> {
        let path = RequestPath::parse(path).expect("a path that does not lead upwards");
        let target = router.find(host, &path)?.target.as_ref()?;
        target.service.name.parse().ok()
    }

    #[test]
    fn every_example_of_the_kubernetes_documentation_holds() {
        for (rules, path, expected) in [
            (&["- prefix /"][..], "/any/path", Some(0)),
            (&["- prefix /"], "/", Some(0)),
            (&["- exact /foo"], "/foo", Some(0)),
            (&["- exact /foo"], "/bar", None),
            (&["- exact /foo"], "/foo/", None),
            (&["- exact /foo/"], "/foo", None),
            (&["- prefix /foo"], "/foo", Some(0)),
            (&["- prefix /foo"], "/foo/", Some(0)),
            (&["- prefix /foo/"], "/foo", Some(0)),
            (&["- prefix /foo/"], "/foo/", Some(0)),
            (&["- prefix /aaa/bb"], "/aaa/bbb", None),
            (&["- prefix /aaa/bbb"], "/aaa/bbb", Some(0)),
            (&["- prefix /aaa/bbb/"], "/aaa/bbb", Some(0)),
            (&["- prefix /aaa/bbb"], "/aaa/bbb/", Some(0)),
            (&["- prefix /aaa/bbb"], "/aaa/bbb/ccc", Some(0)),
            (&["- prefix /aaa/bbb"], "/aaa/bbbxyz", None),
            (&["- prefix /", "- prefix /aaa"], "/aaa/ccc", Some(1)),
            (&["- prefix /", "- prefix /aaa", "- prefix /aaa/bbb"], "/aaa/bbb", Some(2)),
            (&["- prefix /", "- prefix /aaa", "- prefix /aaa/bbb"], "/ccc", Some(0)),
            (&["- prefix /aaa", "- rest"], "/ccc", Some(1)),
            (&["- prefix /foo", "- exact /foo"], "/foo", Some(1)),
        ] {
            assert_eq!(taken(&router(rules), "any.example", path), expected, "{rules:?} and {path}");
        }
    }

    #[test]
    fn a_nearer_host_wins_and_what_it_does_not_have_is_asked_of_the_others() {
        let rules = router(&[
            "shop.example.org prefix /cart",
            "*.example.org prefix /",
            "- prefix /health",
            "- rest",
            "shop.example.org rest",
            "lone.example.net prefix /a",
        ]);
        for (host, path, expected) in [
            ("shop.example.org", "/cart/1", Some(0)),
            ("shop.example.org", "/other", Some(1)),
            ("news.example.org", "/cart", Some(1)),
            ("a.b.example.org", "/health", Some(2)),
            ("a.b.example.org", "/", Some(3)),
            ("lone.example.net", "/health", Some(2)),
            ("lone.example.net", "/b", Some(3)),
        ] {
            assert_eq!(taken(&rules, host, path), expected, "{host}{path}");
        }
        let own = router(&["shop.example.org prefix /cart", "shop.example.org rest", "- rest"]);
        assert_eq!(taken(&own, "shop.example.org", "/"), Some(1));
        assert_eq!(taken(&own, "other.example.org", "/"), Some(2));
    }

    #[test]
    fn paths_are_compared_decoded_and_an_encoded_slash_is_none() {
        let rules = router(&["- prefix /café", "- exact /a b", "- prefix /x"]);
        for (path, expected) in [
            ("/caf%C3%A9/menu", Some(0)),
            ("/caf%c3%a9", Some(0)),
            ("/a%20b", Some(1)),
            ("/%78/y", Some(2)),
            ("/x%2Fy", None),
            ("/x%", None),
            ("/X", None),
            ("//x", None),
        ] {
            assert_eq!(taken(&rules, "h", path), expected, "{path}");
        }
    }

    #[test]
    fn no_path_leads_upwards_out_of_a_rule() {
        for path in [
            "/a/..",
            "/a/../b",
            "/..",
            "/a/%2e%2e/b",
            "/a/.%2E/b",
            "/a/..%2fb",
            "/a/x%2f..%2fb",
            "/a/..;x=1/b",
            "/a\\..\\b",
            "/a/..%5cb",
        ] {
            assert_eq!(RequestPath::parse(path), Err(LeadsUpwards), "{path}");
        }
        for path in ["/a/...", "/a/..b", "/a/b..", "/.well-known/x", "/a;..", "/%252e%252e/"] {
            assert!(RequestPath::parse(path).is_ok(), "{path}");
        }
    }

    proptest! {
        #[test]
        fn a_prefix_takes_exactly_what_lies_below_it(prefix in "(/[a-c]{1,2}){0,3}", path in "(/[a-c]{0,2}){1,4}") {
            let rules = router(&[&format!("- prefix {prefix}/")]);
            let below = path == prefix || path.starts_with(&format!("{prefix}/"));
            prop_assert_eq!(taken(&rules, "h", &path).is_some(), below || prefix.is_empty());
        }
    }
}
