//! A repository is a stranger's. Here the tools themselves are hostile, which is more than a repository can make of them: whatever they
//! try, they get an error and nothing else.
//!
//! Each probe is also run without a jail, where it succeeds: it is the jail that stops it.

use crate::workshop::{Good, Workshop, errors, names};
use driftless::sync::Confinement;
use std::fs;
use std::io::ErrorKind;
use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::time::Duration;

const LONG: Duration = Duration::from_secs(30);
const CONFIG: &str = "printf 'apiVersion: v1\\nkind: ConfigMap\\nmetadata: {name: %s}\\n' \"$answer\"";

/// The names of the objects, or the errors, that a script in place of kustomize leads to.
fn with_script(script: &str, confinement: Confinement, wall_max: Duration) -> (Vec<String>, Vec<String>) {
    let workshop = Workshop::new();
    workshop.stand_in("kustomize", script);
    workshop.write("shop/kustomization.yaml", "resources: []\n");
    let mut loader = workshop.loader("", workshop.stand_ins(confinement, wall_max));
    let loaded = workshop.load(&mut loader, &Good::new());
    (names(&loaded), errors(&loaded))
}

fn answer(script: &str, confinement: Confinement) -> Vec<String> {
    let (names, errors) = with_script(&format!("{script}\n{CONFIG}"), confinement, LONG);
    assert_eq!(errors, [] as [&str; 0]);
    names
}

#[test]
fn nothing_of_the_host_is_seen() {
    let outside = tempfile::tempdir().unwrap();
    let secret = outside.path().join("secret");
    fs::write(&secret, "hunter2").unwrap();
    fs::set_permissions(outside.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let script = format!(
        "answer=blind; for place in {} /etc/passwd /proc/1 /sys/kernel /root /var /dev/sda; do [ -e $place ] && answer=sees; done",
        secret.display()
    );
    assert_eq!(answer(&script, Confinement::Jail), ["ConfigMap/blind"]);
    assert_eq!(answer(&script, Confinement::None), ["ConfigMap/sees"]);
}

#[test]
fn the_environment_is_empty_and_the_user_is_nobody() {
    let script = "answer=bare; [ \"$(id -u)\" -gt 60000 ] || answer=somebody; [ -z \"$CARGO$USER\" ] || answer=env; \
                  [ $$ -eq 1 ] || answer=pid; echo x 2>/dev/null >x && answer=writes; echo x >$HOME/x || answer=homeless";
    assert_eq!(answer(script, Confinement::Jail), ["ConfigMap/bare"]);
}

#[test]
fn the_network_is_out_of_reach() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    let script = format!("answer=done; echo hello | busybox nc -w 2 127.0.0.1 {port} >/dev/null 2>&1");
    assert_eq!(answer(&script, Confinement::Jail), ["ConfigMap/done"]);
    assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::WouldBlock, "nobody has called");
    with_script(&script, Confinement::None, Duration::from_secs(2));
    assert!(listener.accept().is_ok(), "without the jail it gets through");
}

#[test]
fn what_runs_for_ever_is_stopped_with_all_that_it_started() {
    // A number that nobody else sleeps for.
    let marker = format!("{}.25", 100_000 + std::process::id());
    // Without a jail, what has left its process group is out of reach.
    let scripts = [(Confinement::Jail, "setsid "), (Confinement::None, "")];
    for (confinement, leave) in scripts {
        let script = format!("sleep {marker} & ({leave}sleep {marker} &) ; while :; do :; done");
        let (names, errors) = with_script(&script, confinement, Duration::from_millis(700));
        assert_eq!(names, [] as [&str; 0]);
        assert!(
            errors[0].starts_with("shop/kustomization.yaml:0: kustomize did not render this: it took more than"),
            "{errors:?}"
        );
        assert!(!runs(&marker), "{confinement:?}: nothing is left");
    }
}

fn runs(word: &str) -> bool {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    processes
        .filter_map(|entry| fs::read(entry.path().join("cmdline")).ok())
        .any(|line| String::from_utf8_lossy(&line).contains(word))
}

#[test]
fn disk_memory_and_output_are_bounded() {
    let (_, errors) = with_script("yes 'a: b'", Confinement::Jail, LONG);
    assert!(errors[0].contains("it printed more than 16 MiB"), "{errors:?}");
    let script = "answer=full; for i in 1 2 3 4; do head -c 60000000 /usr/bin/* >/tmp/$i 2>/dev/null; done; \
                  [ $(cat /tmp/? | wc -c) -gt 70000000 ] && answer=more";
    assert_eq!(answer(script, Confinement::Jail), ["ConfigMap/full"]);
    let (_, errors) = with_script("exec busybox awk 'BEGIN { s = \"x\"; while (1) s = s s }'", Confinement::Jail, LONG);
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(!errors[0].contains("took more than"), "memory ends before time does: {errors:?}");
}

#[test]
fn a_fork_bomb_does_not_leave_the_jail() {
    let script = "bomb() { bomb | bomb & }; bomb; while :; do :; done";
    let (_, errors) = with_script(script, Confinement::Jail, Duration::from_millis(1500));
    assert_eq!(errors.len(), 1, "{errors:?}");
    let still = std::process::Command::new("true").status().unwrap();
    assert!(still.success(), "the host can still start processes");
}

#[test]
fn links_lead_nowhere_outside_of_the_repository() {
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("secret"), "password: hunter2").unwrap();
    let workshop = Workshop::new();
    workshop.write("shop/kustomization.yaml", "configMapGenerator:\n- name: stolen\n  files: [secret]\n");
    symlink(outside.path().join("secret"), workshop.repo().join("shop/secret")).unwrap();
    let mut loader = workshop.loader("", workshop.settings());
    let loaded = workshop.load(&mut loader, &Good::new());
    assert_eq!(names(&loaded), [] as [&str; 0]);
    assert_eq!(errors(&loaded), ["shop/kustomization.yaml:3: shop/secret does not exist"]);
    let validated = workshop.driftless(&["validate", "--render", "."]);
    assert!(!validated.status.success());
    assert!(!String::from_utf8_lossy(&validated.stdout).contains("hunter2"));
}

#[test]
fn what_would_fetch_or_run_something_is_refused_at_its_line() {
    let cases = [
        ("resources:\n- https://example.com/x.yaml\n", "kustomization.yaml:2: https://example.com/x.yaml is remote"),
        ("resources:\n- github.com/a/b?ref=v1\n", "kustomization.yaml:2: github.com/a/b?ref=v1 is remote"),
        ("resources:\n- ../../../outside\n", "kustomization.yaml:2: ../../../outside leads out of the repository"),
        ("generators: [exec.yaml]\n", "exec.yaml:6: Maker is a function that kustomize would run"),
        ("helmCharts:\n- name: web\n  repo: https://example.com\n", "kustomization.yaml:1: helmCharts would fetch a chart"),
        ("generators: [plugin.yaml]\n", "kustomization.yaml:0: a plugin would have to be run"),
        (
            "configMapGenerator:\n- name: x\n  files: [../../../../etc/passwd]\n",
            "kustomization.yaml:3: ../../../../etc/passwd leads out",
        ),
    ];
    for (text, expected) in cases {
        let workshop = Workshop::new();
        workshop.write("shop/kustomization.yaml", text);
        let exec = "apiVersion: v1\nkind: Maker\nmetadata:\n  name: x\n  annotations:\n    config.kubernetes.io/function: |\n      exec: {path: ./run.sh}\n";
        workshop.write("shop/exec.yaml", exec);
        workshop.write("shop/plugin.yaml", "apiVersion: team.example/v1\nkind: Maker\nmetadata: {name: x}\n");
        workshop.write("shop/run.sh", "#!/bin/sh\ntouch /tmp/driftless-was-here\n");
        let mut loader = workshop.loader("", workshop.settings());
        let loaded = workshop.load(&mut loader, &Good::new());
        let errors = errors(&loaded);
        assert!(errors.iter().any(|error| error.starts_with(&format!("shop/{expected}"))), "{text}: {errors:?}");
        assert_eq!(names(&loaded), [] as [&str; 0]);
    }
}
