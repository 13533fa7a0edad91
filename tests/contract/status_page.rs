//! The page, on a made-up view.

use super::status_server::TestServer;
use driftless::model::{Health, View};

#[track_caller]
fn assert_has(page: &str, parts: &[&str]) {
    for part in parts {
        assert!(page.contains(part), "{part:?} is missing in:\n{page}");
    }
}

#[test]
fn the_page_says_what_is_wrong_first_and_where() {
    let server = TestServer::start();
    let page = server.get("/").body;
    assert_has(&page, &["reports/nightly.yaml:14:11", "unknown field", "did you mean", "fix the file and push"]);
    let place = |part: &str| page.find(part).unwrap_or(usize::MAX);
    assert!(place("id=\"problems\"") < place("id=\"workloads\""), "problems come first");
}

#[test]
fn the_page_shows_rollouts_services_nodes_reconciles_and_units() {
    let server = TestServer::start();
    assert_has(
        &server.get("/").body,
        &[
            "1 ready, 1 not ready, 1 of an older template, 1 stopping",
            "no progress within progressDeadlineSeconds",
            "CrashLoopBackOff",
            "next start in 40s",
            "127.64.0.10",
            "3 backends",
            "shop/web: rolling out 3 pods, nginx:1.26 → 1.27",
            "at bbbbbbbb, because aaaaaaaa has errors",
            "awaited",
        ],
    );
}

#[test]
fn texts_from_the_cluster_cannot_become_markup() {
    let server = TestServer::start();
    server.change(|view| {
        let evil = "\"><script>alert('x')</script><img src=x onerror=alert(1)>";
        view.cluster = evil.into();
        view.branch = evil.into();
        view.reconciles[0].subject = evil.into();
        view.reconciles[0].body = evil.into();
        view.pods.iter_mut().filter_map(|pod| pod.report.as_mut()).for_each(|report| report.message = evil.into());
    });
    let page = server.get("/").body;
    assert_eq!(page.matches("<script").count(), 1, "our own script alone");
    for markup in ["<img", "<script>alert", "\"><script"] {
        assert!(!page.contains(markup), "{markup} is in the page");
    }
    assert_has(&page, &["&#60;script&#62;alert(&#39;about&#39;)&#60;/script&#62;"]);
}

#[test]
fn the_policy_allows_the_inline_style_and_script_by_hash_and_nothing_else() {
    let server = TestServer::start();
    let answer = server.get("/");
    let policy = answer.head.lines().find(|line| line.to_ascii_lowercase().starts_with("content-security-policy"));
    let policy = policy.expect("a policy");
    assert_has(policy, &["default-src 'none'", "style-src 'sha256-", "script-src 'sha256-", "frame-ancestors 'none'"]);
    assert!(!policy.contains("unsafe"), "{policy}");
    assert!(!answer.body.contains(" style=\""), "an inline style attribute would be blocked");
    assert!(!answer.body.contains("=\"http"), "nothing is loaded from elsewhere");
}

#[test]
fn the_page_of_an_empty_cluster_says_what_comes_next() {
    let server = TestServer::start();
    server.change(|view| *view = View { branch: "main".into(), health: Health::Starting, ..View::default() });
    let page = server.get("/").body;
    assert_has(&page, &["Push a manifest", "No agent has said hello yet", "starting"]);
    assert!(!page.contains("id=\"problems\""));
}
