//! The page, on a made-up view.

use super::status_server::TestServer;
use driftless::model::{Health, Kind, ObjectKey, PodPhase, Progress, View, WorkloadView};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

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
fn a_problem_of_a_manifest_is_said_once_and_a_warning_as_one() {
    let server = TestServer::start();
    let page = server.get("/").body;
    for once in ["serviceAccountName is ignored", "it has no meaning without Kubernetes", "did you mean"] {
        assert_eq!(page.matches(once).count(), 1, "{once}");
    }
    assert_has(&page, &["aria-label=\"warning\"", "shop/all.yaml:55:7", "<title>(2) main"]);
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
fn a_job_that_is_done_is_completed_and_its_pod_is_missed_by_nobody() {
    let server = TestServer::start();
    let figure = |page: &str| {
        let before = &page[..page.find("</strong> <span>pods ready").expect("a figure")];
        before.rsplit_once("<strong>").map(|(_, value)| value.to_owned())
    };
    let before = server.get("/").body;
    server.change(|view| {
        let key = ObjectKey::new(Kind::Job, "shop", "sum");
        let (_, web) = view.workloads.iter().next().expect("a workload");
        let done = WorkloadView { progress: Progress::Done, replicas: 1, available: 0, ready: 0, ..web.clone() };
        let mut pod = view.pods.iter().find(|pod| pod.report.is_some() && pod.stopping.is_none()).expect("a pod").clone();
        let report = pod.report.as_mut().expect("a report");
        (report.workload, report.hash, report.phase, report.ready) = (key.clone(), done.hash.clone(), PodPhase::Succeeded, false);
        if let Some(run) = &mut pod.told {
            (run.workload, run.hash) = (key.clone(), done.hash.clone());
        }
        view.workloads.insert(key, done);
        view.pods.push(pod);
    });
    let after = server.get("/").body;
    assert_has(&after, &["</span> completed</span>", "1 completed"]);
    assert_eq!(after.matches("degraded").count(), before.matches("degraded").count());
    assert_eq!(figure(&after), figure(&before), "a pod that has completed is not one that is not ready");
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
    assert_has(&page, &["Push a manifest", "No agent has said hello yet", "No revision is loaded yet", "starting"]);
    assert!(!page.contains("id=\"problems\"") && !page.contains("1970"));
}

/// A real browser, which says the titles of its pages over HTTP.
struct Browser {
    process: Child,
    profile: tempfile::TempDir,
}

const PATIENCE: Duration = Duration::from_secs(60);

impl Browser {
    fn open(url: &str) -> Self {
        let profile = tempfile::tempdir().expect("a folder");
        let process = Command::new("chromium")
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"])
            .args(["--disable-background-networking", "--disable-component-update", "--remote-debugging-port=0"])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg(url)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromium must be installed to test the page in a real browser (Debian: apt-get install chromium)");
        Browser { process, profile }
    }

    /// Waits for a page with this title.
    #[track_caller]
    fn wait_for(&self, server: &TestServer, title: &str) {
        let deadline = driftless::clock::now() + PATIENCE;
        let mut last = String::new();
        while driftless::clock::now() < deadline {
            if let Some(pages) = self.pages() {
                if pages.contains(&format!("\"title\": \"{title}\"")) {
                    return;
                }
                last = pages;
            }
            server.pause(Duration::from_millis(50));
        }
        panic!("no page with the title {title:?}; the last were {last}");
    }

    /// The list of pages, once the browser answers.
    fn pages(&self) -> Option<String> {
        let port = std::fs::read_to_string(Path::new(self.profile.path()).join("DevToolsActivePort")).ok()?;
        let port: u16 = port.lines().next()?.parse().ok()?;
        let mut socket = TcpStream::connect(("127.0.0.1", port)).ok()?;
        socket.set_read_timeout(Some(PATIENCE)).ok()?;
        write!(socket, "GET /json/list HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n").ok()?;
        let mut reader = BufReader::new(socket);
        let mut length = 0;
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).ok()?;
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().ok()?;
            }
            if line.trim().is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        String::from_utf8(body).ok()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn an_open_page_follows_along_in_a_real_browser() {
    let server = TestServer::start();
    let browser = Browser::open(&format!("http://{}/", server.address));
    browser.wait_for(&server, "(2) main · driftless");
    server.change(|view| view.problems.clear());
    browser.wait_for(&server, "main · driftless");
}
