//! Text to desired: what the manifests of a revision mean, and everything that is wrong with them.
//!
//! ```text
//! bytes ─yaml─▶ nodes with spans ─check─▶ value that the schema accepts ─typed─▶ draft ─cross, objects─▶ desired
//!                    table ─schema─▶ JSON Schemas        rules, references          load: units, holding, hashes
//! ```
//!
//! Inputs: bytes by path, the policy (`driftless.yaml`), the units' last good files. Outputs: [`Desired`](crate::model::Desired), problems
//! with file, line and column, JSON Schemas, and the report of `driftless validate`.
//!
//! Invariants:
//! - The support table in `schemas/` is the only place that says what becomes of a field.
//! - Every problem of a tree is reported at once; none of them quotes a value of a Secret.
//! - A unit with an error keeps its last good files; an error never takes an object out of desired.
//! - What is read is bounded: file size, depth, what aliases expand to.
//! - A template hash depends on what is written, never on a default of ours (see [`template_hash`]).
//!
//! Deliberately absent: I/O (`sync` reads the tree and runs kustomize and helm), and anything about what runs.

mod chart;
mod check;
mod cross;
mod document;
mod draft;
mod findings;
mod hash;
mod ignore;
mod kustomization;
mod load;
mod names;
mod objects;
mod parallel;
mod policy;
mod reference;
mod references;
mod rendered;
mod report;
mod rules;
mod schema;
mod table;
mod templates;
mod typed;
mod units;
mod verdict;
mod yaml;

pub use chart::{Chart, read_chart};
pub use document::{FILE_BYTES_MAX, ParsedFile, parse, parse_rendered};
pub use hash::{ConfigDigests, DigestKey, config_map_digest, secret_digest, template_hash};
pub use ignore::IgnoreSet;
pub use kustomization::{Kustomization, Mention, is_remote, read_kustomization, read_plugin, secret_texts};
pub use load::{GoodUnit, Loaded, TreeInput, load};
pub use parallel::{StoredFile, parse_all};
pub use policy::read_policy;
pub use reference::reference_markdown;
pub use rendered::{ASK_FOR_ORIGINS, RenderedText, with_sources, without_origins};
pub use report::{DocumentReport, ProblemReport, RenderedFolder, Status, Summary, ValidationReport, validate, validate_rendered};
pub use schema::{json_schema, json_schema_of_all, state_of, supported_kinds};
pub use units::{POLICY_FILE, Renderable, Renderer, entries, folder_of, is_candidate, is_within, rendered_by, unit_of};

#[cfg(test)]
mod tests;
