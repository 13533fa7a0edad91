//! Volumes, as a program finds them.

use super::{launch, lines, run};
use crate::stage::Stage;
use rustix::mount::{MountPropagationFlags, UnmountFlags, mount_bind, mount_change, unmount};
use serde_json::json;

on_docker! {
    files_of_every_source_have_their_modes,
    a_volume_of_what_is_missing_is_empty_where_it_is_optional,
    parts_of_volumes_and_host_folders_are_mounted,
    files_and_devices_of_the_host_are_mounted_by_their_type,
    what_is_mounted_read_only_cannot_be_written,
    a_tmpfs_with_a_size_is_full_when_it_is,
    mounts_made_later_are_seen_on_the_sides_that_the_propagation_says,
}

async fn files_of_every_source_have_their_modes(stage: &Stage) {
    let volumes = json!({ "volumes": [
        { "name": "conf", "configMap": { "name": "settings", "items": [{ "key": "app.conf", "path": "conf.d/app", "mode": 0o600 }] } },
        { "name": "all", "projected": { "defaultMode": 0o444, "sources": [
            { "configMap": { "name": "settings", "items": [{ "key": "colour", "path": "colour" }] } },
            { "secret": { "name": "db", "items": [{ "key": "password", "path": "password", "mode": 0o400 }] } },
            { "configMap": { "name": "absent", "optional": true } },
            { "downwardAPI": { "items": [{ "path": "name", "fieldRef": { "fieldPath": "metadata.labels['tier']" } }] } }
        ] } },
        { "name": "pod", "downwardAPI": { "items": [
            { "path": "labels", "fieldRef": { "fieldPath": "metadata.labels" } },
            { "path": "notes", "fieldRef": { "fieldPath": "metadata.annotations" } },
            { "path": "memory", "resourceFieldRef": { "containerName": "main", "resource": "limits.memory", "divisor": "1Mi" } }
        ] } }
    ] });
    let mount = |name: &str| json!({ "name": name, "mountPath": format!("/{name}") });
    let container = json!({
        "volumeMounts": [mount("conf"), mount("all"), mount("pod")], "resources": { "limits": { "memory": "32Mi" } }
    });
    let script = "for f in /conf/conf.d/app /all/colour /all/password /all/name /pod/labels /pod/notes /pod/memory; do \
                  echo $(stat -L -c %a $f) $f $(cat $f); done; touch /all/x 2>&1";
    let seen = run(stage, &[], volumes, container, script).await;
    let expected = [
        "600 /conf/conf.d/app listen 80",
        "444 /all/colour green",
        "400 /all/password hunter2",
        "444 /all/name front",
        "644 /pod/labels app=\"web\" tier=\"front\"",
        "644 /pod/notes note=\"a \\\"b\\\"\"",
        "644 /pod/memory 32",
    ];
    assert_eq!(seen[..7], expected);
    assert!(seen[7].contains("Read-only file system"), "{seen:?}");
}

async fn parts_of_volumes_and_host_folders_are_mounted(stage: &Stage) {
    let host = std::fs::canonicalize(stage.folder.path()).unwrap().join("host");
    std::fs::create_dir_all(&host).unwrap();
    std::fs::write(host.join("greeting"), "hello").unwrap();
    let pod = json!({ "volumes": [
        { "name": "data", "persistentVolumeClaim": { "claimName": "data" } },
        { "name": "conf", "configMap": { "name": "settings" } },
        { "name": "host", "hostPath": { "path": host, "type": "Directory" } },
        { "name": "made", "hostPath": { "path": host.join("logs/web"), "type": "DirectoryOrCreate" } }
    ] });
    let container = json!({
        "env": [{ "name": "POD", "valueFrom": { "fieldRef": { "fieldPath": "metadata.name" } } }],
        "volumeMounts": [
            { "name": "data", "mountPath": "/data", "subPathExpr": "logs/$(POD)" },
            { "name": "conf", "mountPath": "/etc/app.conf", "subPath": "app.conf" },
            { "name": "host", "mountPath": "/host", "readOnly": true },
            { "name": "made", "mountPath": "/made" }
        ]
    });
    let script =
        "echo kept > /data/x; cat /etc/app.conf; echo; cat /host/greeting; echo; touch /host/x 2>&1; touch /made/y && echo made";
    let grant = format!("host-path={}", host.display());
    let seen = run(stage, &[&grant], pod, container, script).await;
    assert_eq!((&seen[..2], seen[3].as_str()), (&["listen 80".to_owned(), "hello".to_owned()][..], "made"));
    assert!(seen[2].contains("Read-only file system"), "{seen:?}");
    let pod_name = stage.launch("web", "").labels.pod;
    let kept = stage.folder.path().join("state/volumes/shop_data/logs").join(pod_name).join("x");
    assert_eq!(std::fs::read_to_string(kept).unwrap(), "kept\n");
    assert!(host.join("logs/web/y").exists());
}

async fn a_tmpfs_with_a_size_is_full_when_it_is(stage: &Stage) {
    let pod = json!({ "volumes": [{ "name": "fast", "emptyDir": { "medium": "Memory", "sizeLimit": "1Mi" } }] });
    let container = json!({ "volumeMounts": [{ "name": "fast", "mountPath": "/fast" }] });
    let script =
        "busybox dd if=/dev/zero of=/fast/x bs=4096 count=512 2>/dev/null || echo full; stat -c %s /fast/x; stat -f -c %T /fast";
    let launch = launch(stage, &[], pod, container, &format!("{script}; echo end"));
    let seen = lines(stage, &launch).await;
    let folder = launch.mounts[0].source.clone();
    rustix::mount::unmount(&folder, rustix::mount::UnmountFlags::DETACH).unwrap();
    assert_eq!(seen, ["full", "1048576", "tmpfs"]);
}

async fn a_volume_of_what_is_missing_is_empty_where_it_is_optional(stage: &Stage) {
    let pod = json!({ "volumes": [
        { "name": "map", "configMap": { "name": "absent", "optional": true } },
        { "name": "secret", "secret": { "secretName": "absent", "optional": true } },
        { "name": "key", "configMap": { "name": "settings", "optional": true, "items": [{ "key": "absent", "path": "x" }] } }
    ] });
    let mount = |name: &str| json!({ "name": name, "mountPath": format!("/{name}") });
    let container = json!({ "volumeMounts": [mount("map"), mount("secret"), mount("key")] });
    assert_eq!(run(stage, &[], pod, container, "ls /map /secret /key").await.join(" "), "/key:  /map:  /secret:");
}

async fn files_and_devices_of_the_host_are_mounted_by_their_type(stage: &Stage) {
    let host = std::fs::canonicalize(stage.folder.path()).unwrap().join("host");
    std::fs::create_dir_all(&host).unwrap();
    std::fs::write(host.join("greeting"), "hello").unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(host.join("socket")).unwrap();
    let volume = |name: &str, path: String, kind: &str| json!({ "name": name, "hostPath": { "path": path, "type": kind } });
    let below = |name: &str| host.join(name).display().to_string();
    let pod = json!({ "volumes": [
        volume("file", below("greeting"), "File"), volume("new", below("new"), "FileOrCreate"), volume("any", below(""), ""),
        volume("socket", below("socket"), "Socket"), volume("null", "/dev/null".to_owned(), "CharDevice")
    ] });
    let mount = |name: &str| json!({ "name": name, "mountPath": format!("/host/{name}") });
    let container = json!({ "volumeMounts": [mount("file"), mount("new"), mount("any"), mount("socket"), mount("null")] });
    let script = "busybox stat -c '%F' /host/file /host/new /host/any /host/socket /host/null; cat /host/file";
    let grants = format!("host-path={}", host.display());
    let seen = run(stage, &[&grants, "host-path=/dev"], pod, container, &format!("{script}; echo")).await;
    let kinds = ["regular file", "regular empty file", "directory", "socket", "character special file"];
    assert_eq!((&seen[..5], seen[5].as_str()), (&kinds.map(str::to_owned)[..], "hello"));
}

async fn what_is_mounted_read_only_cannot_be_written(stage: &Stage) {
    let pod = json!({ "volumes": [
        { "name": "claim", "persistentVolumeClaim": { "claimName": "data", "readOnly": true } },
        { "name": "scratch", "emptyDir": {} }
    ] });
    let container = json!({ "volumeMounts": [
        { "name": "claim", "mountPath": "/claim" }, { "name": "scratch", "mountPath": "/rw" },
        { "name": "scratch", "mountPath": "/ro", "readOnly": true }
    ] });
    let seen = run(stage, &[], pod, container, "for f in /claim /ro /rw; do touch $f/x 2>/dev/null && echo $f; done").await;
    assert_eq!(seen, ["/rw"]);
}

/// A folder of the host that passes mounts on, until it is dropped.
struct Shared(std::path::PathBuf);

impl Shared {
    fn of(folder: &std::path::Path) -> Self {
        let folder = std::fs::canonicalize(folder).unwrap().join("shared");
        std::fs::create_dir_all(folder.join("by-host")).unwrap();
        mount_bind(&folder, &folder).unwrap();
        mount_change(&folder, MountPropagationFlags::SHARED).unwrap();
        Self(folder)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let _ = unmount(&self.0, UnmountFlags::DETACH);
    }
}

async fn mounts_made_later_are_seen_on_the_sides_that_the_propagation_says(stage: &Stage) {
    let shared = Shared::of(stage.folder.path());
    let other = shared.0.with_file_name("other");
    std::fs::create_dir_all(&other).unwrap();
    std::fs::write(other.join("x"), "").unwrap();
    let grants = [&format!("host-path={}", shared.0.display()), "capabilities"];
    let pod = json!({ "volumes": [{ "name": "shared", "hostPath": { "path": shared.0 } }] });
    let mut started = Vec::new();
    for way in ["None", "HostToContainer", "Bidirectional"] {
        let container = json!({
            "name": way.to_lowercase(), "securityContext": { "capabilities": { "add": ["SYS_ADMIN"] } },
            "volumeMounts": [{ "name": "shared", "mountPath": "/shared", "mountPropagation": way }]
        });
        let script = format!(
            "mkdir /shared/{way} && busybox mount -t tmpfs none /shared/{way} && echo up; while true; do ls /shared/by-host; sleep 0.1; done"
        );
        let id = stage.start(&launch(stage, &grants, pod.clone(), container, &script)).await.id;
        stage.says(&id, "up").await;
        started.push((way, id));
    }
    mount_bind(&other, shared.0.join("by-host")).unwrap();
    for (way, id) in &started {
        let is_mount = std::fs::read_to_string("/proc/self/mountinfo").unwrap().contains(&format!("/shared/{way} "));
        assert_eq!(is_mount, *way == "Bidirectional", "the host sees the mounts of {way}");
        if *way != "None" {
            stage.says(id, "x").await;
        }
    }
    // By now the others have seen it.
    assert_eq!(stage.log(&started[0].1, None).await.trim(), "up");
    unmount(shared.0.join("by-host"), UnmountFlags::DETACH).unwrap();
}
