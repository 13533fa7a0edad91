//! The cluster in one thread: the controller's core, any number of agents' cores, hosts, a repo, an audit branch, a bus between them
//! and a clock moved by hand. Everything that production does with I/O is a value here, and every fault is a draw from a seeded
//! generator, so that a seed is a whole history.
//!
//! `chaos` runs seeds with faults of every kind and then lets the cluster settle; `scripts` runs text scripts and snapshots what
//! happened; `quiet` counts calls. `DRIFTLESS_SIM_SEED=n cargo test --test sim chaos -- --nocapture` replays one seed with its transcript.

#![expect(unreachable_pub, reason = "a test program's rooms speak to each other")]

mod audit;
mod chaos;
mod faults;
mod hosts;
mod invariants;
mod links;
mod node;
mod player;
mod quiet;
mod repo;
mod repo_text;
mod rng;
mod scripts;
mod world;
