//! Compares what was with what is wanted, and says what that means.
//!
//! Role: [`intent()`] turns two states of git into a [`crate::model::Plan`]; [`estimate()`] refines its effects by what is observed to
//! run; [`render`] shows it to people and programs.
//!
//! Inputs: two [`crate::model::Desired`] values, and for an estimate the pods that run. Outputs: a plan and its texts.
//!
//! Invariants:
//! - The intent and its digest are a function of the two trees alone, so that a reviewer's CI and the controller agree on them.
//!   Nothing in the digest depends on a revision's id, on a key of the cluster, or on anything observed.
//! - A Secret's value is compared in memory and never becomes part of a plan: its keys are shown, its values are `<redacted>`. Nor
//!   is a template hash ever rendered: in CI it is not keyed, and a short secret could be guessed from it.
//! - An object of a held unit is the one it was, so it is unchanged here without a rule of its own.
//!
//! Deliberately absent: whether a deletion may go out (`apply::prune`), and how a change is carried out (`apply::rollout`).

mod digest;
mod effect;
mod estimate;
mod fields;
mod intent;
pub mod render;
mod sets;

pub use estimate::{Observed, ObservedPods, estimate};
pub use intent::intent;

/// What stands in place of every value of a Secret.
pub const REDACTED: &str = "<redacted>";

#[cfg(test)]
mod tests;
