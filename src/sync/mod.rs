//! Everything that passes between us and git.
//!
//! Role: a bare mirror of the watched repository ([`Mirror`]), which says which head counts; what a
//! revision means, of which only what changed is parsed and rendered ([`Loader`]); the audit branch ([`AuditLog`]); and who
//! this cluster is ([`Identity`]). In: an address, a branch, a path; audit records. Out: revisions, files, history.
//!
//! Invariants:
//! - Transport is the `git` program (never a shell, never a prompt, always a limit); objects are read with libgit2, without a work
//!   tree.
//! - Nothing that fails here changes what runs: an error is typed, says what to do, and is tried again.
//! - A head that does not descend from the last one counts only when it is seen twice in a row ([`HeadWatch`]).
//! - No credential reaches a message, a log or an argument list.
//! - The mirror never prunes: an older revision may be what runs.
//!
//! A [`Mirror`] and an [`AuditLog`] each belong to one thread at a time, and their calls block: the controller's shell runs them on
//! threads of their own.

mod address;
mod audit;
mod commits;
mod error;
mod git;
mod head;
mod identity;
mod loader;
mod mirror;
mod paths;
mod render;
mod restore;
mod tree;
mod watch;

pub use address::redact;
pub use audit::{
    AuditError, AuditLog, AuditSpec, AuditState, Claim, HistoryEntry, PushState, SignatureState, audit_branch, audit_tip,
    read_history,
};
pub use commits::CommitInfo;
pub use error::SyncError;
pub use head::{HeadWatch, Sighting};
pub use identity::{Identity, IdentityError};
pub use loader::Loader;
pub use mirror::{Head, Mirror, RepoSpec};
pub use render::{Confinement, RenderSettings, render_jail, try_sandbox};
pub(crate) use render::{DiskSource, Rendering, Viewpoint, renderables};
pub use restore::{Restoration, read_current};
pub use tree::{Contents, LinkEnd, TreeFile, TreeKind};
pub use watch::{RepoWatch, watch_repo};
