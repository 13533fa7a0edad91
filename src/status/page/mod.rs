//! The page at `/`: server-rendered, whole without scripts, and kept current by a small one.
//!
//! Input: the newest view. Output: one self-contained document. Invariants: everything that comes from a cluster or a repo is escaped
//! by the template; the page loads nothing from elsewhere, and its policy allows its own style and script by their hashes only.
//! What is deliberately absent: controls. What one would click is a commit.

mod bar;
mod content;

use super::refusal::Refusal;
use super::server::Server;
use askama::Template;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use content::Content;
use sha2::{Digest, Sha256};
use std::sync::{Arc, LazyLock};

const STYLE: &str = include_str!("../templates/page.css");
const SCRIPT: &str = include_str!("../templates/page.js");

/// What a browser may do with the page.
static POLICY: LazyLock<String> = LazyLock::new(|| {
    let hash = |text: &str| STANDARD.encode(Sha256::digest(text));
    format!(
        "default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'; connect-src 'self'; img-src data:; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'",
        hash(STYLE),
        hash(SCRIPT),
    )
});

#[derive(Template)]
#[template(path = "page.html")]
struct Page<'a> {
    content: Content<'a>,
    style: &'static str,
    script: &'static str,
    version: &'static str,
}

/// Answers with the page.
pub(super) async fn page(State(server): State<Arc<Server>>) -> Response {
    let view = server.feed.current();
    let content = Content::of(&view, crate::clock::now());
    let page = Page { content, style: STYLE, script: SCRIPT, version: env!("CARGO_PKG_VERSION") };
    match page.render() {
        Ok(html) => {
            let headers = [
                (header::CONTENT_TYPE, "text/html; charset=utf-8"),
                (header::CACHE_CONTROL, "no-store"),
                (header::CONTENT_SECURITY_POLICY, POLICY.as_str()),
            ];
            (headers, html).into_response()
        }
        Err(error) => Refusal::internal(format!("the page cannot be rendered: {error}")).into_response(),
    }
}
