//! User, groups and rights of a program.

use super::{launch, lines, run};
use crate::docker::{USER, whole_image};
use crate::stage::Stage;
use driftless::agent::runtime::RuntimeError;
use serde_json::json;

on_docker! {
    user_and_groups_are_seen_by_the_program_and_own_its_volumes,
    a_container_has_its_own_user_in_the_pod_of_another,
    the_groups_that_an_image_gives_its_user_stay,
    an_image_of_root_is_not_started_where_root_is_forbidden,
    rights_that_were_dropped_are_not_there,
    rights_that_were_added_are_there,
    a_privileged_program_may_do_what_the_hosts_root_may,
    system_calls_are_those_of_the_profile,
    kernel_parameters_are_set,
}

async fn user_and_groups_are_seen_by_the_program_and_own_its_volumes(stage: &Stage) {
    let pod = json!({
        "securityContext": { "runAsUser": 1000, "runAsGroup": 2000, "supplementalGroups": [3000], "fsGroup": 4000 },
        "volumes": [{ "name": "data", "emptyDir": {} }, { "name": "key", "secret": { "secretName": "db", "defaultMode": 0o400 } }]
    });
    let mounts = json!({ "volumeMounts": [{ "name": "data", "mountPath": "/data" }, { "name": "key", "mountPath": "/key" }] });
    let script = "busybox id -u; busybox id -g; busybox id -G; touch /data/x; stat -c '%g %a' /data; stat -c %g /data/x; \
                  cat /key/password; echo; stat -L -c '%u %g %a' /key/password";
    let seen = run(stage, &[], pod, mounts, script).await;
    assert_eq!(seen, ["1000", "2000", "2000 3000 4000", "4000 2777", "4000", "hunter2", "0 4000 440"]);
}

async fn an_image_of_root_is_not_started_where_root_is_forbidden(stage: &Stage) {
    let refused = launch(stage, &[], json!({ "securityContext": { "runAsNonRoot": true } }), json!({}), "true");
    let error = stage.runtime.start(&refused).await.unwrap_err();
    assert!(matches!(&error, RuntimeError::Config { message } if message.contains("runs as root")), "{error:?}");
    assert_eq!(error.reason(), "CreateContainerConfigError");
    let pod = json!({ "securityContext": { "runAsNonRoot": true, "runAsUser": 65534 } });
    assert_eq!(run(stage, &[], pod, json!({}), "busybox id -u").await, ["65534"]);
}

/// A line of `/proc/self/status`, without its name.
const STATUS: &str = "status() { busybox sed -n \"s/^$1:[[:space:]]*//p\" /proc/self/status; }";

/// How `/proc/sys` is mounted.
const PROC: &str = "busybox awk '$5 == \"/proc/sys\" { print substr($6, 1, 2) }' /proc/self/mountinfo";

async fn rights_that_were_dropped_are_not_there(stage: &Stage) {
    let context = json!({ "securityContext": {
        "capabilities": { "drop": ["ALL"], "add": ["NET_BIND_SERVICE"] }, "readOnlyRootFilesystem": true, "allowPrivilegeEscalation": false
    } });
    let script = format!("{STATUS}; status CapEff; status NoNewPrivs; status Seccomp; {PROC}; touch /x 2>&1; touch /tmp/x 2>&1");
    let seen = run(stage, &[], json!({}), context, &script).await;
    // CAP_NET_BIND_SERVICE is bit 10; Seccomp 2 is a filter.
    assert_eq!(seen[..4], ["0000000000000400", "1", "2", "ro"], "and the kernel's parameters cannot be written");
    assert!(seen.len() == 6 && seen[4..].iter().all(|line| line.contains("Read-only file system")), "{seen:?}");
}

async fn rights_that_were_added_are_there(stage: &Stage) {
    let script = format!("{STATUS}; status CapEff; status Seccomp");
    let plain = run(stage, &[], json!({}), json!({}), &script).await;
    let profile = json!({ "type": "Unconfined" });
    let context = json!({ "seccompProfile": profile, "capabilities": { "add": ["SYS_ADMIN", "CAP_SYS_TIME"] } });
    let container = json!({ "name": "open", "securityContext": context });
    let added = run(stage, &["unconfined", "capabilities"], json!({}), container, &script).await;
    // CAP_SYS_ADMIN is bit 21, CAP_SYS_TIME bit 25.
    let both = |text: &str| u64::from_str_radix(text, 16).unwrap() & (1 << 21 | 1 << 25);
    assert_eq!((both(&plain[0]), plain[1].as_str()), (0, "2"));
    assert_eq!((both(&added[0]), added[1].as_str()), (1 << 21 | 1 << 25, "0"));
}

async fn kernel_parameters_are_set(stage: &Stage) {
    let sysctls =
        json!([{ "name": "net.ipv4.tcp_fin_timeout", "value": "31" }, { "name": "kernel.shm_rmid_forced", "value": "1" }]);
    let pod = json!({ "securityContext": { "sysctls": sysctls } });
    let script = "cat /proc/sys/net/ipv4/tcp_fin_timeout /proc/sys/kernel/shm_rmid_forced";
    assert_eq!(run(stage, &[], pod, json!({}), script).await, ["31", "1"]);
}

async fn a_container_has_its_own_user_in_the_pod_of_another(stage: &Stage) {
    let pod = json!({ "securityContext": { "runAsUser": 1000, "runAsGroup": 2000, "runAsNonRoot": true } });
    let own = json!({ "securityContext": { "runAsUser": 0, "runAsGroup": 3000, "runAsNonRoot": false } });
    assert_eq!(run(stage, &[], pod, own, "busybox id -u; busybox id -g").await, ["0", "3000"]);
}

async fn the_groups_that_an_image_gives_its_user_stay(stage: &Stage) {
    let image = whole_image(stage).await;
    let pod = json!({ "securityContext": {
        "runAsNonRoot": true, "supplementalGroups": [3000], "supplementalGroupsPolicy": "Merge"
    } });
    let container = json!({ "name": "of-image", "image": image });
    let groups = format!("{USER} 3000 5000");
    let seen = run(stage, &[], pod, container, "busybox id -u; busybox id -G").await;
    let mut of_program: Vec<&str> = seen[1].split(' ').collect();
    of_program.sort_unstable();
    assert_eq!((seen[0].as_str(), of_program.join(" ")), (USER, groups), "its user is a number, and so not root");
}

async fn a_privileged_program_may_do_what_the_hosts_root_may(stage: &Stage) {
    let script = format!("{STATUS}; status CapEff; status Seccomp; busybox mount -t tmpfs none /tmp && echo mounted; echo end");
    let context = json!({ "securityContext": { "privileged": true } });
    let launch = launch(stage, &["privileged"], json!({}), context, &script);
    let own = std::fs::read_to_string("/proc/self/status").unwrap();
    if !may_everything(&own) {
        // A machine that has not all rights cannot give them, and that is what the Engine then says.
        let error = stage.runtime.start(&launch).await.unwrap_err();
        return assert!(error.to_string().contains("unable to apply caps"), "{error:?}");
    }
    let seen = lines(stage, &launch).await;
    assert_eq!(Some(seen[0].as_str()), bounding(&own), "every capability");
    assert_eq!(seen[1..], ["0", "mounted"]);
}

/// The capabilities that programs of this machine may have, by a `/proc/PID/status`.
fn bounding(status: &str) -> Option<&str> {
    status.lines().find_map(|line| line.strip_prefix("CapBnd:")).map(str::trim)
}

fn may_everything(status: &str) -> bool {
    let last: u32 = std::fs::read_to_string("/proc/sys/kernel/cap_last_cap").unwrap().trim().parse().unwrap();
    let own = bounding(status).and_then(|text| u64::from_str_radix(text, 16).ok());
    own == Some((1 << (last + 1)) - 1)
}

/// A profile of the host that allows everything but to make folders.
const NO_FOLDERS: &str = r#"{ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
    { "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO" }
] }"#;

async fn system_calls_are_those_of_the_profile(stage: &Stage) {
    let profiles = stage.folder.path().join("state/seccomp/shop");
    std::fs::create_dir_all(&profiles).unwrap();
    std::fs::write(profiles.join("no-folders.json"), NO_FOLDERS).unwrap();
    let localhost = json!({ "type": "Localhost", "localhostProfile": "shop/no-folders.json" });
    let script = format!("{STATUS}; status Seccomp; busybox mkdir /tmp/new 2>&1 && echo made");
    let launch = |name: &str, pod: serde_json::Value, own: serde_json::Value| {
        let (pod, own) = (json!({ "securityContext": pod }), json!({ "name": name, "securityContext": own }));
        launch(stage, &["unconfined"], pod, own, &format!("{script}; echo end"))
    };
    let refused = lines(stage, &launch("own", json!({}), json!({ "seccompProfile": localhost }))).await;
    assert!(refused[0] == "2" && refused[1].contains("Operation not permitted"), "{refused:?}");
    let of_pod = lines(stage, &launch("of-pod", json!({ "seccompProfile": localhost }), json!({}))).await;
    assert_eq!(of_pod, refused);
    let default = json!({ "seccompProfile": { "type": "RuntimeDefault" } });
    let won = lines(stage, &launch("won", json!({ "seccompProfile": localhost }), default)).await;
    assert_eq!(won, ["2", "made"], "the container's own profile wins");
    let none = json!({ "seccompProfile": { "type": "Unconfined" } });
    assert_eq!(lines(stage, &launch("none", none, json!({}))).await, ["0", "made"]);
}
