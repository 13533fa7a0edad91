//! The unix socket.

use crate::wire::{WireAddress, WireError, unix};
use std::os::unix::fs::PermissionsExt;

fn mode(path: &std::path::Path) -> u32 {
    std::fs::metadata(path).expect("there").permissions().mode() & 0o777
}

#[tokio::test]
async fn only_this_user_may_use_the_socket_and_it_goes_with_its_guard() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("run/agents.sock");
    let (_incoming, guard) = unix(&path).expect("listens");
    assert_eq!((mode(&path), mode(path.parent().expect("a folder"))), (0o600, 0o700));
    drop(guard);
    assert!(!path.exists());
}

#[tokio::test]
async fn a_socket_that_somebody_listens_on_is_left_alone() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("agents.sock");
    let _first = unix(&path).expect("listens");
    assert!(matches!(unix(&path), Err(WireError::InUse(_))));
    assert!(tokio::net::UnixStream::connect(&path).await.is_ok());
}

#[tokio::test]
async fn a_stale_socket_is_replaced_and_another_file_is_not() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("agents.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).expect("binds"));
    assert!(path.exists(), "it is stale");
    let listening = unix(&path).expect("listens");
    drop(listening);
    std::fs::write(&path, "precious").expect("writes");
    assert!(unix(&path).is_err());
    assert_eq!(std::fs::read_to_string(&path).expect("reads"), "precious");
}

#[test]
fn an_address_beyond_this_machine_is_refused_with_the_reason() {
    let refused = "controller.example:7781".parse::<WireAddress>().expect_err("refused").to_string();
    assert!(refused.contains("certificates") && refused.contains("not have yet"), "{refused}");
    assert_eq!("unix:/run/d.sock".parse::<WireAddress>().expect("read").to_string(), "unix:/run/d.sock");
}
