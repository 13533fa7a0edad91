//! The nouns that every other room speaks of.
//!
//! Role: types and their invariants. Inputs and outputs: values only. What is deliberately absent: I/O, clocks,
//! randomness, and every decision; those live in `diff`, `apply`, `controller` and `agent`.
//!
//! Types that Kubernetes has a shape for (`pod`, `workload`, `service`) read and print that shape with serde, so
//! that a manifest, the wire, the audit branch and the status API share one spelling of a field.

mod affinity;
mod assignment;
mod autoscaler;
mod claim;
mod cluster;
mod cron;
mod current;
mod drain;
mod env;
mod grant;
mod ids;
mod ingress;
mod job;
mod lease;
mod logs;
mod network;
mod node;
mod object;
mod observed;
mod plan;
mod pod;
mod probe;
mod problem;
mod quantity;
mod record;
mod routing;
mod secret;
mod security;
mod service;
mod time;
mod trust;
mod units;
mod view;
mod volume;
mod workload;

pub use affinity::*;
pub use assignment::*;
pub use autoscaler::*;
pub use claim::*;
pub use cluster::*;
pub use cron::*;
pub use current::*;
pub use drain::*;
pub use env::*;
pub use grant::*;
pub use ids::*;
pub use ingress::*;
pub use job::*;
pub use lease::*;
pub use logs::*;
pub use network::*;
pub use node::*;
pub use object::*;
pub use observed::*;
pub use plan::*;
pub use pod::*;
pub use probe::*;
pub use problem::*;
pub use quantity::*;
pub use record::*;
pub use routing::*;
pub use secret::*;
pub use security::*;
pub use service::*;
pub use time::*;
pub use trust::*;
pub use units::*;
pub use view::*;
pub use volume::*;
pub use workload::*;
