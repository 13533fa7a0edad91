//! The main job on the real thing: `driftless up` as its users run it, driven by real git pushes, looked at over HTTP.

#![expect(unreachable_pub, reason = "the harness is one room of a test program")]
#![expect(clippy::disallowed_methods, reason = "tests poll real processes against a real deadline")]

mod bad_input;
mod claims;
mod docker;
mod edge;
mod engine;
mod engine_faults;
mod fleet;
mod harness;
mod hosts;
mod ingress;
mod jobs;
mod join;
mod journal;
mod kinds;
mod lifecycle;
mod listeners;
mod main_job;
mod manifests;
mod names;
#[path = "../contract/namespace.rs"]
mod namespace;
mod probes;
mod promises;
mod scale;
mod services;
mod two_engines;
