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
fn an_address_is_a_socket_or_a_host_whose_port_may_be_left_out() {
    let shown = |text: &str| text.parse::<WireAddress>().map(|address| address.to_string());
    for (text, expected) in [
        ("unix:/run/d.sock", "unix:/run/d.sock"),
        ("controller.example", "controller.example:7781"),
        ("10.0.0.1:99", "10.0.0.1:99"),
        ("[::1]", "[::1]:7781"),
        ("[::1]:99", "[::1]:99"),
    ] {
        assert_eq!(shown(text).ok().as_deref(), Some(expected), "{text}");
    }
    for bad in ["", "unix:", "host:", "host:port", ":7781", "https://host:1"] {
        assert!(shown(bad).is_err(), "{bad}");
    }
}
