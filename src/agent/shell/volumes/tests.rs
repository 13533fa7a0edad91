use super::{prepare, rewrite};
use crate::agent::runtime::*;
use crate::model::SecretBytes;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

/// Prepares a volume, and says where its part `below` is.
fn place(volume: &VolumeContents, below: &str) -> Result<PathBuf, String> {
    let source = if below.is_empty() { volume.folder.clone() } else { volume.folder.join(below) };
    let mounts = vec![Mount { source, ..Mount::default() }];
    let mut launch = ContainerLaunch { volumes: vec![volume.clone()], mounts, ..samples::launch() };
    prepare(&mut launch).map_err(|error| error.to_string())?;
    Ok(launch.mounts[0].source.clone())
}

fn files(folder: &Path, entries: &[(&str, u32, &str)]) -> VolumeContents {
    let file = |mode: u32, text: &str| VolumeFile { mode, bytes: SecretBytes::new(text.as_bytes().to_vec()) };
    let files = entries.iter().map(|(path, mode, text)| ((*path).to_owned(), file(*mode, text))).collect::<BTreeMap<_, _>>();
    VolumeContents { folder: folder.join("files"), kind: VolumeKind::Files(files), group: None }
}

fn scratch(folder: &Path, group: Option<u32>) -> VolumeContents {
    VolumeContents { folder: folder.join("scratch"), kind: VolumeKind::Scratch { tmpfs_bytes: None }, group }
}

fn host(path: &Path, kind: HostPathKind, allowed: &Path) -> VolumeContents {
    let kind = VolumeKind::Host { kind, allowed: vec![allowed.to_owned()] };
    VolumeContents { folder: path.to_owned(), kind, group: None }
}

fn mode(path: impl AsRef<Path>) -> u32 {
    fs::metadata(path).expect("there").permissions().mode() & 0o7777
}

#[test]
fn files_have_their_modes_and_lie_behind_links_as_in_kubernetes() {
    let at = tempfile::tempdir().expect("a folder");
    let folder = place(&files(at.path(), &[("a", 0o640, "1"), ("conf.d/b", 0o400, "2")]), "").expect("made");
    assert_eq!(fs::read_to_string(folder.join("conf.d/b")).expect("read"), "2");
    assert_eq!((mode(folder.join("a")), mode(folder.join("conf.d/b")), mode(&folder)), (0o640, 0o400, 0o755));
    assert_eq!(fs::read_link(folder.join("a")).expect("a link"), Path::new("..data/a"));
    assert_eq!(fs::read_link(folder.join("conf.d")).expect("a link"), Path::new("..data/conf.d"));
}

#[test]
fn a_change_replaces_all_files_and_takes_away_what_is_gone() {
    let at = tempfile::tempdir().expect("a folder");
    let folder = place(&files(at.path(), &[("a", 0o644, "1"), ("b", 0o644, "1")]), "").expect("made");
    let open = fs::canonicalize(folder.join("a")).expect("a file");
    rewrite(&[files(at.path(), &[("a", 0o600, "2"), ("c", 0o644, "2")])]).expect("written");
    let mut names: Vec<String> = fs::read_dir(&folder)
        .expect("a folder")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into())
        .collect();
    names.sort();
    assert_eq!(fs::read_to_string(folder.join("a")).expect("read") + &fs::read_to_string(folder.join("c")).expect("read"), "22");
    assert_eq!(mode(folder.join("a")), 0o600);
    assert!(names.len() == 4 && names.iter().any(|name| name == "..data"), "the links, ..data and what it leads to: {names:?}");
    assert!(!folder.join("b").exists() && !open.exists(), "{names:?}");
}

#[test]
fn what_is_right_already_is_left_alone() {
    let at = tempfile::tempdir().expect("a folder");
    let volume = files(at.path(), &[("a", 0o644, "1")]);
    let folder = place(&volume, "").expect("made");
    let before = fs::metadata(folder.join("a")).expect("there").ino();
    rewrite(&[volume]).expect("written");
    assert_eq!(fs::metadata(folder.join("a")).expect("there").ino(), before);
}

#[test]
fn a_part_of_our_files_is_the_file_itself_and_one_that_is_missing_is_refused() {
    let at = tempfile::tempdir().expect("a folder");
    let volume = files(at.path(), &[("a", 0o644, "1")]);
    let found = place(&volume, "a").expect("found");
    assert!(!found.is_symlink() && fs::read_to_string(&found).expect("read") == "1", "{found:?}");
    assert_eq!(place(&volume, "b"), Err("subPath b: the volume has no such file".to_owned()));
}

#[test]
fn a_part_of_an_empty_dir_is_made_and_may_not_leave_it_by_a_link() {
    let at = tempfile::tempdir().expect("a folder");
    let volume = scratch(at.path(), None);
    let made = place(&volume, "x/y").expect("made");
    assert_eq!((mode(&volume.folder), mode(&made)), (0o777, 0o777));
    symlink("/etc", volume.folder.join("out")).expect("a link");
    symlink("x", volume.folder.join("in")).expect("a link");
    assert_eq!(place(&volume, "in/y").expect("within"), made);
    for path in ["out", "out/ssl", "x/../../out/new"] {
        let refused = place(&volume, path).expect_err("refused");
        assert!(refused.contains("leaves its volume by a symbolic link"), "{path}: {refused}");
    }
}

#[test]
fn the_group_of_a_pod_owns_its_volumes_and_what_is_new_in_them() {
    if !rustix::process::geteuid().is_root() {
        // Only root can give files away; what is refused then is the next test's.
        return assert!(place(&scratch(tempfile::tempdir().expect("a folder").path(), Some(4321)), "").is_err());
    }
    let at = tempfile::tempdir().expect("a folder");
    let folder = place(&scratch(at.path(), Some(4321)), "").expect("made");
    assert_eq!((fs::metadata(&folder).expect("there").gid(), mode(&folder)), (4321, 0o2777));
    let secret = VolumeContents { group: Some(4321), ..files(at.path(), &[("key", 0o400, "1")]) };
    let key = place(&secret, "key").expect("made");
    assert_eq!((fs::metadata(&key).expect("there").gid(), mode(&key)), (4321, 0o440), "the group may read, as in Kubernetes");
    let claim = VolumeContents { folder: at.path().join("claim"), kind: VolumeKind::Claim, group: Some(4321) };
    fs::create_dir(&claim.folder).expect("made");
    fs::write(claim.folder.join("old"), "").expect("written");
    symlink("/etc/passwd", claim.folder.join("link")).expect("a link");
    let passwd = fs::metadata("/etc/passwd").expect("there").gid();
    let old = place(&claim, "").expect("made").join("old");
    assert_eq!((fs::metadata(&old).expect("there").gid(), mode(&old) & 0o060), (4321, 0o060));
    assert_eq!(fs::metadata("/etc/passwd").expect("there").gid(), passwd, "a link is not followed");
}

#[test]
fn a_host_path_is_what_its_type_says_or_is_made() {
    let at = tempfile::tempdir().expect("a folder");
    let root = fs::canonicalize(at.path()).expect("real");
    fs::write(root.join("file"), "").expect("written");
    let judge = |name: &str, kind| place(&host(&root.join(name), kind, &root), "").map(|_| ());
    let cases = [
        ("file", HostPathKind::File, ""),
        ("file", HostPathKind::Any, ""),
        ("file", HostPathKind::Directory, "is not a directory"),
        ("file", HostPathKind::Socket, "is not a socket"),
        ("none", HostPathKind::Any, "does not exist"),
        ("none", HostPathKind::Directory, "does not exist"),
        ("a/b", HostPathKind::DirectoryOrCreate, ""),
        ("a/b/new", HostPathKind::FileOrCreate, ""),
    ];
    for (name, kind, expected) in cases {
        let outcome = judge(name, kind).err().unwrap_or_default();
        assert!(outcome.contains(expected) && outcome.is_empty() == expected.is_empty(), "{name} {kind:?}: {outcome}");
    }
    assert_eq!((mode(root.join("a/b")), mode(root.join("a/b/new"))), (0o755, 0o644));
}

#[test]
fn a_link_does_not_lead_a_host_path_out_of_what_is_allowed() {
    let at = tempfile::tempdir().expect("a folder");
    let root = fs::canonicalize(at.path()).expect("real").join("allowed");
    fs::create_dir_all(root.join("real")).expect("made");
    symlink("/etc", root.join("out")).expect("a link");
    symlink(root.join("real"), root.join("in")).expect("a link");
    assert_eq!(place(&host(&root.join("in"), HostPathKind::Any, &root), "").expect("within"), root.join("real"));
    for name in ["out", "out/ssl"] {
        let refused = place(&host(&root.join(name), HostPathKind::Any, &root), "").expect_err("refused");
        assert!(refused.contains("which --allow host-path does not name"), "{refused}");
    }
    let refused =
        place(&host(&root.join("out/driftless-test"), HostPathKind::DirectoryOrCreate, &root), "").expect_err("refused");
    assert!(refused.contains("by a symbolic link") && !Path::new("/etc/driftless-test").exists(), "{refused}");
    // A part of it is held to the same.
    let refused = place(&host(&root, HostPathKind::Any, &root), "out/ssl").expect_err("refused");
    assert!(refused.contains("leaves its volume"), "{refused}");
}
