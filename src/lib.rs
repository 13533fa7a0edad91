//! Driftless: push Kubernetes manifests to git, and it runs them on plain Docker hosts.
//!
//! ```text
//!  git remote ──sync──▶ source tree ──manifest──▶ desired ─┐
//!                                                          ├─diff─▶ plan ──apply──▶ assignment per node, endpoints per service
//!  agents ───wire───▶ observed + assigned (a snapshot) ────┘                              │
//!     ▲                                                                                   │ wire
//!     └── report ◀── runtime (docker | process) ◀── converge(assignment, local state) ◀───┘
//!                                        every reconcile ──▶ audit commit ──▶ git remote
//!                                        everything      ──▶ status (read-only HTTP)
//! ```
//!
//! The modules are listed in reading order. `model`, `manifest`, `diff`, `apply` and the cores of `controller` and `agent` are
//! pure: no async, fs, net, process, env, clock or random number. `tests/tidy.rs` enforces it.

pub mod model;

pub mod manifest;

pub mod diff;

pub mod apply;

pub mod controller;

pub mod trust;

pub mod wire;

pub mod agent;

pub mod sync;

pub mod status;

pub mod cli;

pub mod causes;

pub mod clock;

pub mod private_file;

pub mod telemetry;
