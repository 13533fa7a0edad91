//! The nouns that every other room speaks of.
//!
//! Role: types and their invariants. Inputs and outputs: values only. What is deliberately absent: I/O, clocks,
//! randomness, and every decision; those live in `diff`, `apply`, `controller` and `agent`.
//!
//! Types that Kubernetes has a shape for (`pod`, `workload`, `service`) read and print that shape with serde, so
//! that a manifest, the wire, the audit branch and the status API share one spelling of a field.

mod assignment;
mod current;
mod ids;
mod node;
mod object;
mod observed;
mod plan;
mod pod;
mod problem;
mod quantity;
mod record;
mod secret;
mod service;
mod time;
mod units;
mod view;
mod workload;

pub use assignment::*;
pub use current::*;
pub use ids::*;
pub use node::*;
pub use object::*;
pub use observed::*;
pub use plan::*;
pub use pod::*;
pub use problem::*;
pub use quantity::*;
pub use record::*;
pub use secret::*;
pub use service::*;
pub use time::*;
pub use units::*;
pub use view::*;
pub use workload::*;
