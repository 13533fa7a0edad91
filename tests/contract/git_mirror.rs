//! The mirror against real git.

use crate::git_lab::Lab;
use driftless::model::Revision;
use driftless::sync::{Contents, LinkEnd, Mirror, RepoSpec, SyncError, TreeKind, watch_repo};
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc;
use std::time::Duration;

fn spec(lab: &Lab) -> RepoSpec {
    RepoSpec { url: lab.remote().display().to_string(), ..RepoSpec::default() }
}

fn mirror(lab: &Lab, spec: &RepoSpec) -> Mirror {
    Mirror::open(&lab.path("mirror"), spec).expect("a mirror")
}

#[test]
fn a_push_is_fetched_from_the_branch_that_the_remotes_head_names() {
    let lab = Lab::new();
    let first = lab.push_file("web.yaml", "a: 1\n");
    let mut mirror = mirror(&lab, &spec(&lab));
    let head = mirror.fetch().unwrap();
    assert_eq!((head.branch.as_str(), head.revision.as_str(), head.moved), ("main", first.as_str(), true));
    assert!(!mirror.fetch().unwrap().moved);
    let second = lab.push_file("web.yaml", "a: 2\n");
    let head = mirror.fetch().unwrap();
    assert_eq!((head.revision.as_str(), head.moved, head.suspect), (second.as_str(), true, None));
    assert!(mirror.descends(&Revision::new(first), &Revision::new(second)));
}

#[test]
fn what_is_missing_is_named_with_what_is_there() {
    let lab = Lab::new();
    let missing = RepoSpec { url: lab.path("nowhere.git").display().to_string(), ..RepoSpec::default() };
    assert!(matches!(mirror(&lab, &missing).fetch(), Err(SyncError::MissingRepo { .. })));
    let no_repo = RepoSpec { url: lab.root().display().to_string(), branch: Some("main".into()), ..RepoSpec::default() };
    assert!(matches!(mirror(&lab, &no_repo).fetch(), Err(SyncError::MissingRepo { .. })));

    assert!(matches!(mirror(&lab, &spec(&lab)).fetch(), Err(SyncError::EmptyRepo { .. })));
    let on_branch = RepoSpec { branch: Some("mian".into()), ..spec(&lab) };
    assert!(matches!(mirror(&lab, &on_branch).fetch(), Err(SyncError::EmptyRepo { .. })));

    lab.push_file("deploy/prod/web.yaml", "a: 1\n");
    let error = mirror(&lab, &on_branch).fetch().unwrap_err();
    assert!(matches!(&error, SyncError::MissingBranch { near, .. } if near == &["main"]), "{error:?}");

    let mut off_path = mirror(&lab, &RepoSpec { path: "deploy/prd".into(), ..spec(&lab) });
    let head = off_path.fetch().unwrap();
    let error = off_path.tree(&head.revision).unwrap_err();
    assert!(matches!(&error, SyncError::MissingPath { near, .. } if near == &["deploy/prod"]), "{error:?}");
}

#[test]
fn an_error_heals_when_its_cause_does() {
    let lab = Lab::new();
    let mut mirror = mirror(&lab, &spec(&lab));
    assert!(mirror.fetch().is_err());
    let first = lab.push_file("web.yaml", "a: 1\n");
    assert_eq!(mirror.fetch().unwrap().revision.as_str(), first);
    lab.set_away(true);
    assert!(matches!(mirror.fetch(), Err(SyncError::MissingRepo { .. })));
    assert_eq!(mirror.tree(&Revision::new(first.as_str())).unwrap().len(), 1, "what was fetched stays readable");
    lab.set_away(false);
    assert_eq!(mirror.fetch().unwrap().revision.as_str(), first);
}

#[test]
fn what_a_killed_git_left_behind_does_not_stop_the_next_start() {
    let lab = Lab::new();
    lab.push_file("web.yaml", "a: 1\n");
    mirror(&lab, &spec(&lab)).fetch().unwrap();
    let second = lab.push_file("web.yaml", "a: 2\n");
    let bare = lab.path("mirror/repo.git");
    for left in ["refs/remotes/source/main.lock", "packed-refs.lock", "objects/pack/tmp_pack_x"] {
        std::fs::write(bare.join(left), "").unwrap();
    }
    assert_eq!(mirror(&lab, &spec(&lab)).fetch().unwrap().revision.as_str(), second);
    assert!(!bare.join("objects/pack/tmp_pack_x").exists());
}

#[test]
fn a_forced_push_counts_when_it_is_seen_twice() {
    let lab = Lab::new();
    let first = lab.push_file("web.yaml", "a: 1\n");
    let second = lab.push_file("web.yaml", "a: 2\n");
    let mut mirror = mirror(&lab, &spec(&lab));
    mirror.resume_from(Some(Revision::new(second.as_str())));
    mirror.fetch().unwrap();
    lab.git(&lab.work(), &["reset", "--quiet", "--hard", &first]);
    let other = lab.push_file("web.yaml", "a: 3\n");
    let head = mirror.fetch().unwrap();
    assert_eq!((head.revision.as_str(), head.moved), (second.as_str(), false));
    assert_eq!(head.suspect, Some(Revision::new(other.as_str())));
    let head = mirror.fetch().unwrap();
    assert_eq!((head.revision.as_str(), head.moved, head.suspect), (other.as_str(), true, None));
    mirror.repack().unwrap();
    assert!(mirror.has(&Revision::new(second)), "what may still run is kept");
}

#[test]
fn a_tree_is_read_below_the_path_without_dot_folders() {
    let lab = Lab::new();
    lab.write("deploy/.github/x.yaml", "x");
    lab.write("deploy/shop/web.yaml", "web");
    lab.write("outside.yaml", "outside");
    for (link, target) in
        [("in", "shop/web.yaml"), ("dir", "shop"), ("out", "../outside.yaml"), ("etc", "/etc"), ("none", "gone")]
    {
        std::os::unix::fs::symlink(target, lab.work().join("deploy").join(link)).unwrap();
    }
    let head = lab.commit("All kinds");
    let gitlink = format!("160000,{head},deploy/sub");
    lab.git(&lab.work(), &["update-index", "--add", "--cacheinfo", &gitlink]);
    lab.git(&lab.work(), &["commit", "--quiet", "--message", "A submodule"]);
    lab.push();
    let mut mirror = mirror(&lab, &RepoSpec { path: "deploy/".into(), ..spec(&lab) });
    let head = mirror.fetch().unwrap();
    let tree = mirror.tree(&head.revision).unwrap();
    let kinds: Vec<(&str, &TreeKind)> = tree.iter().map(|file| (file.path.as_str(), &file.kind)).collect();
    assert_eq!(
        kinds,
        [
            ("dir", &TreeKind::Link(LinkEnd::Folder)),
            ("etc", &TreeKind::Link(LinkEnd::Outside)),
            ("in", &TreeKind::Link(LinkEnd::File)),
            ("none", &TreeKind::Link(LinkEnd::Nowhere)),
            ("out", &TreeKind::Link(LinkEnd::OutsideFile)),
            ("shop/web.yaml", &TreeKind::File),
            ("sub", &TreeKind::Submodule),
        ]
    );
    let web = &tree[5].blob;
    assert_eq!(mirror.blob(web, 3).unwrap(), Contents::Bytes(b"web".to_vec()));
    assert_eq!(mirror.blob(web, 2).unwrap(), Contents::TooLarge(3));
}

#[test]
fn commits_between_two_revisions_include_both_sides_of_a_merge() {
    let lab = Lab::new();
    let first = lab.push_file("web.yaml", "a: 1\n");
    lab.git(&lab.work(), &["checkout", "--quiet", "-b", "drop"]);
    lab.commit("Drop the old shop\n\nDriftless-Allow-Prune: 3");
    lab.git(&lab.work(), &["checkout", "--quiet", "main"]);
    lab.commit("Meanwhile");
    lab.git(&lab.work(), &["merge", "--quiet", "--no-ff", "--message", "Merge drop", "drop"]);
    lab.push();
    let mut mirror = mirror(&lab, &spec(&lab));
    let head = mirror.fetch().unwrap();
    let commits = mirror.commits_between(Some(&Revision::new(first)), &head.revision).unwrap();
    assert_eq!(commits.len(), 3);
    assert_eq!(commits[2].subject, "Merge drop");
    let allowed = commits.iter().find(|commit| commit.subject == "Drop the old shop").expect("the merged commit");
    assert_eq!(allowed.trailers, [("Driftless-Allow-Prune".to_owned(), "3".to_owned())]);
    assert_eq!(allowed.committer, "Ada <ada@example.org>");
}

#[test]
fn a_password_in_the_address_reaches_no_message() {
    let lab = Lab::new();
    let url = "http://bot:s3cret@127.0.0.1:1/shop.git".to_owned();
    let mut mirror = mirror(&lab, &RepoSpec { url, branch: Some("main".into()), ..RepoSpec::default() });
    assert!(!mirror.shown().contains("s3cret"));
    let error = mirror.fetch().unwrap_err();
    assert!(matches!(error, SyncError::Unreachable { .. }), "{error:?}");
    assert!(!format!("{error:?} {error}").contains("s3cret"), "{error:?}");
}

#[test]
fn a_password_in_the_address_reaches_the_host_even_after_it_was_refused() {
    let lab = Lab::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://bot:s3cr%40t@{}/shop.git", listener.local_addr().unwrap());
    let (sender, credentials) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            refuse(stream.unwrap(), &sender);
        }
    });
    let spec = RepoSpec { url, branch: Some("main".into()), ..RepoSpec::default() };
    let mut mirror = Mirror::open(&lab.path("it's a mirror"), &spec).unwrap();
    for _ in 0..2 {
        let error = mirror.fetch().unwrap_err();
        assert!(matches!(error, SyncError::Denied { .. }), "{error:?}");
        // "bot:s3cr@t" in base64.
        assert_eq!(credentials.try_recv().as_deref(), Ok("Basic Ym90OnMzY3JAdA=="));
    }
}

/// Reads a request, passes its credentials on, and lets nobody in.
fn refuse(stream: TcpStream, credentials: &mpsc::Sender<String>) {
    let mut head = BufReader::new(&stream).lines().map_while(Result::ok).take_while(|line| !line.is_empty());
    if let Some(brought) = head.find_map(|line| line.strip_prefix("Authorization: ").map(String::from)) {
        credentials.send(brought).unwrap_or_default();
    }
    let status = "401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"shop\"";
    write!(&stream, "HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").unwrap();
}

#[test]
fn a_repository_of_another_user_is_read_all_the_same() {
    let lab = Lab::new();
    let first = lab.push_file("web.yaml", "a: 1\n");
    let chown = std::process::Command::new("chown").args(["-R", "65534"]).arg(lab.remote()).status().unwrap();
    if !chown.success() {
        eprintln!("skipped: only root can give a repository to another user");
        return;
    }
    assert_eq!(mirror(&lab, &spec(&lab)).fetch().unwrap().revision.as_str(), first);
}

#[test]
fn a_push_to_a_local_repository_is_noticed_at_once() {
    let lab = Lab::new();
    lab.push_file("web.yaml", "a: 1\n");
    for (path, change) in [(lab.remote(), "bare"), (lab.work(), "plain")] {
        let (sender, noticed) = mpsc::channel();
        let notice = move || sender.send(()).unwrap_or_default();
        let _watch = watch_repo(&path, notice).unwrap();
        match change {
            "bare" => drop(lab.push_file("web.yaml", "a: 2\n")),
            _ => drop(lab.commit("A local commit")),
        }
        noticed.recv_timeout(Duration::from_secs(20)).unwrap_or_else(|_| panic!("a change of the {change} repository"));
    }
}
