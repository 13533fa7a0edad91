//! Rendering with the real kustomize and helm, and against tools that are up to no good.
//!
//! kubectl (with kustomize 4 or newer inside) and helm are required: `scripts/test` installs them.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is the report")]

mod corpus;
mod hostile;
mod tools;
mod workshop;
