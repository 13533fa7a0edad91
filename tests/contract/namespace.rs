//! Network namespaces for tests that touch the kernel's rules or its routes: nothing of it reaches the machine. They take root, and the
//! program `ip`.

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fs::File;
use std::os::fd::AsFd;
use std::process::Command;

/// A network namespace with nothing but a loopback interface; removed with everything in it at the end.
pub(crate) struct Namespace(pub(crate) String);

impl Namespace {
    pub(crate) fn new(name: &str) -> Self {
        let name = format!("driftless-{name}-{}", std::process::id());
        ip(&["netns", "add", &name]);
        let namespace = Self(name);
        ip(&["-n", &namespace.0, "link", "set", "lo", "up"]);
        namespace
    }

    /// Moves this thread into it; what it starts is born there.
    pub(crate) fn enter(&self) {
        let file = File::open(format!("/run/netns/{}", self.0)).expect("the namespace");
        move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).expect("a move, which takes root");
    }

    /// Does something in it, on a thread of its own.
    pub(crate) fn play<T: Send>(&self, act: impl FnOnce() -> T + Send) -> T {
        let play = || {
            self.enter();
            act()
        };
        std::thread::scope(|scope| scope.spawn(play).join()).expect("the test succeeds")
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "delete", &self.0]).output();
    }
}

/// Plays a test within a namespace of its own.
pub(crate) fn within(name: &str, test: impl FnOnce() + Send) {
    Namespace::new(name).play(test);
}

pub(crate) fn ip(args: &[&str]) {
    let output = Command::new("ip").args(args).output().expect("ip runs (package iproute2)");
    assert!(output.status.success(), "ip {args:?}, which takes root: {}", String::from_utf8_lossy(&output.stderr));
}
